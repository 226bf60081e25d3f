"""Opens the text of HWP documents made for distribution, as every viewer of the format does.

Their lock is against editing, copying and printing; the key stands in the file and there is no password, as with a
PDF that only its owner may change. After Hancom's "HWP Document File Format 5.0", revision 1.3.
"""

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from sluice_common.errors import CorruptDocument

_TAG = 28
_HEADER_BYTES, _KEY_RECORD_BYTES = 4, 256
_SEED_BYTES = 4
_KEY_BYTES, _BLOCK_BYTES = 16, 16


def unlocked(stream: bytes) -> bytes:
    """The records of a section (still deflated where the document is) from a stream of `ViewText`.

    Raises:
        CorruptDocument: the record with the key is missing.
    """
    end = _HEADER_BYTES + _KEY_RECORD_BYTES
    if len(stream) < end or int.from_bytes(stream[:_HEADER_BYTES], "little") & 0x3FF != _TAG:
        raise CorruptDocument("a locked section has no key")
    locked = stream[end : len(stream) - (len(stream) - end) % _BLOCK_BYTES]
    # The format's own mode; nothing is protected by it here.
    opening = Cipher(AES(_key_in(stream[_HEADER_BYTES:end])), ECB()).decryptor()  # noqa: S305 - see the line above
    return opening.update(locked) + opening.finalize()


def _key_in(record: bytes) -> bytes:
    """The key, from between bytes that a generator of random numbers covers; the seed stands before them."""
    seed = int.from_bytes(record[:_SEED_BYTES], "little")
    bare = bytes(covered ^ cover for covered, cover in zip(record, _covers(seed), strict=True))
    start = _SEED_BYTES + (seed & 0xF)
    return bare[start : start + _KEY_BYTES]


def _covers(seed: int) -> list[int]:
    covers: list[int] = []
    while len(covers) < _KEY_RECORD_BYTES:
        seed, cover = _next_random(seed)
        seed, repeated = _next_random(seed)
        covers += [cover & 0xFF] * ((repeated & 0xF) + 1)
    return covers[:_KEY_RECORD_BYTES]


def _next_random(seed: int) -> tuple[int, int]:
    """The generator of Microsoft's C library: its next state and number."""
    seed = (seed * 214013 + 2531011) & 0xFFFFFFFF
    return seed, seed >> 16 & 0x7FFF
