"""Writes small OLE compound files, because no library that we have does."""

import struct
from collections.abc import Mapping

_SECTOR = 512
_LEAST_STREAM = 4096  # shorter streams would go into a stream of their own; zeros at the end harm none of our formats
_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
_STORAGE, _STREAM, _ROOT = 1, 2, 5

Tree = Mapping[str, "bytes | Tree"]


def compound_file(tree: Tree) -> bytes:
    """A compound file with the streams (bytes) and storages (mappings) of *tree*."""
    entries: list[list[object]] = []
    streams: list[bytes] = []
    _add("Root Entry", tree, entries, streams)
    directory_sectors = -(-len(entries) * 128 // _SECTOR)
    starts, at = [], directory_sectors
    for content in streams:
        starts.append(at)
        at += -(-len(content) // _SECTOR)
    fat_sectors = 1
    while fat_sectors * (_SECTOR // 4) < at + fat_sectors:
        fat_sectors += 1
    fat = [*_chain(0, directory_sectors)]
    for start, content in zip(starts, streams, strict=True):
        fat += _chain(start, -(-len(content) // _SECTOR))
    fat += [_FAT] * fat_sectors
    fat += [_FREE] * (fat_sectors * (_SECTOR // 4) - len(fat))
    directory = b"".join(_entry(entry, starts) for entry in entries)
    body = _padded(directory) + b"".join(map(_padded, streams)) + struct.pack(f"<{len(fat)}I", *fat)
    return _header(at, fat_sectors) + body


def _add(name: str, node: "bytes | Tree", entries: list[list[object]], streams: list[bytes]) -> int:
    number = len(entries)
    if isinstance(node, bytes):
        content = node.ljust(_LEAST_STREAM, b"\0")
        entries.append([name, _STREAM, _FREE, _FREE, len(streams), len(content)])
        streams.append(content)
        return number
    entry: list[object] = [name, _STORAGE if number else _ROOT, _FREE, _FREE, None, 0]
    entries.append(entry)
    previous = _FREE
    for inner_name in sorted(node, key=lambda key: (len(key), key.upper()), reverse=True):
        inner = _add(inner_name, node[inner_name], entries, streams)
        entries[inner][2] = previous  # a chain of right neighbours is a tree, too
        previous = inner
    entry[3] = previous
    return number


def _entry(entry: list[object], starts: list[int]) -> bytes:
    name, kind, right, child, stream, size = entry
    encoded = f"{name}\0".encode("utf-16-le")
    start = starts[stream] if isinstance(stream, int) else (_END if kind == _ROOT else 0)
    head = encoded.ljust(64, b"\0") + struct.pack("<HBBIII", len(encoded), kind, 1, _FREE, right, child)
    return head + bytes(36) + struct.pack("<IQ", start, size)


def _chain(start: int, sectors: int) -> list[int]:
    return [*range(start + 1, start + sectors), _END]


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % _SECTOR)


def _header(fat_start: int, fat_sectors: int) -> bytes:
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    counts = struct.pack("<IIIIIIIII", 0, fat_sectors, 0, 0, _LEAST_STREAM, _END, 0, _END, 0)
    table = [fat_start + n for n in range(fat_sectors)] + [_FREE] * (109 - fat_sectors)
    return head + counts + struct.pack("<109I", *table)
