"""Decodes the headers of mails: encoded words (RFC 2047) and bytes that nobody declared."""

import base64
import binascii
import codecs
import quopri
import re
from contextlib import suppress

from sluice_common.errors import DecodeFailed
from sluice_extractor.parsing.cleaning import clean_line
from sluice_extractor.parsing.encodings import decode

_WORD = re.compile(r"=\?([^?\s]{1,64})\?([bBqQ])\?([^?]*)\?=")
_BETWEEN_WORDS = re.compile(r"(?<=\?=)\s+(?==\?)")
_FOLDING = re.compile(r"\r?\n[ \t]*")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
_LONGEST = 50_000
_ALIASES = {"ks_c_5601": "cp949", "ks_c_5601-1987": "cp949", "ksc5601": "cp949", "x-windows-949": "cp949"}


def decoded_header(raw: str, charset: str | None = None) -> str:
    """The header as people read it, in one line; *charset* is that of the mail, for bytes that declare none."""
    unfolded = _BETWEEN_WORDS.sub("", _FOLDING.sub(" ", raw[:_LONGEST]))
    pieces: list[str] = []
    at = 0
    held, held_charset = b"", ""  # words of one charset may share a character between them
    for found in _WORD.finditer(unfolded):
        between = unfolded[at : found.start()]
        if between or found[1].lower() != held_charset:
            pieces += [_text_of(held, held_charset), _undeclared(between, charset)]
            held, held_charset = b"", found[1].lower()
        held += _bytes_of(found[2], found[3])
        at = found.end()
    pieces += [_text_of(held, held_charset), _undeclared(unfolded[at:], charset)]
    return clean_line("".join(pieces)).strip()


def readable_charset(declared: str | None) -> str | None:
    """The name of a codec for a charset that a mail names; None where it is none, or says nothing."""
    name = (declared or "").partition("*")[0].strip("\"' ").lower()
    name = _ALIASES.get(name, name)
    try:
        return None if name in {"", "us-ascii", "ascii"} else codecs.lookup(name).name
    except (LookupError, ValueError):
        return None


def _bytes_of(encoding: str, encoded: str) -> bytes:
    written = encoded.encode("ascii", "ignore")
    if encoding in "qQ":
        return quopri.decodestring(written, header=True)
    kept = _NOT_BASE64.sub(b"", written)
    try:
        return base64.b64decode(kept[: len(kept) - (len(kept) % 4 == 1)] + b"==")
    except binascii.Error:
        return b""


def _text_of(content: bytes, charset: str | None) -> str:
    try:
        return decode(content, declared=readable_charset(charset)).text if content else ""
    except DecodeFailed:
        return content.decode("utf-8", "replace")


def _undeclared(written: str, charset: str | None) -> str:
    if written.isascii():
        return written
    raw = written.encode("utf-8", "surrogateescape")
    for codec in ("utf-8", readable_charset(charset)):  # a name is too short to tell one encoding from another
        with suppress(UnicodeError, LookupError):
            return raw.decode(codec or "ascii")
    return _text_of(raw, charset)
