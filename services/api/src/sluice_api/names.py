"""What a document is called, out of what multipart clients really send."""

import re
import unicodedata
from collections.abc import Mapping
from email.errors import HeaderParseError
from email.header import decode_header
from urllib.parse import unquote, unquote_to_bytes

MAX_LENGTH = 255
_MAX_EXTENSION = 32

_PARAMETER = re.compile(
    rb';[ \t]*(?P<name>[^\s=;"]+)[ \t]*=[ \t]*(?:"(?P<quoted>(?:\\"|[^"])*)"|(?P<token>[^;]*))', re.DOTALL
)
_BROWSER_ESCAPES = re.compile(r"%(22|0D|0A)", re.IGNORECASE)
_ENCODED_WORD = re.compile(r"=\?[^?\s]+\?[bBqQ]\?[^?]*\?=")
# Marks that reorder the text around them ("exe.txt" for "txt.exe"), line ends, and the byte order mark.
_INVISIBLE = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]")
_DROPPED_CATEGORIES = frozenset({"Cc", "Cs", "Co", "Cn"})


def parameters_of(disposition: bytes) -> dict[str, bytes]:
    """The parameters of a Content-Disposition header as sent, by lower-case name; the first of each counts."""
    parameters: dict[str, bytes] = {}
    for found in _PARAMETER.finditer(disposition):
        quoted = found["quoted"]
        # Only \" is an escape: browsers send \ as it is, and a Windows path is full of them.
        value = found["token"].strip() if quoted is None else quoted.replace(b'\\"', b'"')
        parameters.setdefault(found["name"].decode("latin-1").lower(), value)
    return parameters


def file_name_of(parameters: Mapping[str, bytes]) -> str | None:
    """The name to show for a file: never a path, NFC, at most 255 characters, without control or bidi characters.

    Returns:
        The empty string when nothing is left of the name; None when the part has none, so is no file.
    """
    extended = _extended_name(parameters.get("filename*"))
    if extended is not None:
        return clean_name(extended)
    plain = parameters.get("filename")
    return None if plain is None else clean_name(_without_escapes(_decoded(plain)))


def clean_name(name: str) -> str:
    """The base name of *name* as it may be shown; empty when nothing is left."""
    normal = unicodedata.normalize("NFC", name)
    visible = "".join(
        character
        for character in _INVISIBLE.sub("", normal)
        if unicodedata.category(character) not in _DROPPED_CATEGORIES
    )
    base = re.split(r"[/\\]", visible)[-1].strip()
    return "" if base in {".", ".."} else _shortened(base)


def _extended_name(value: bytes | None) -> str | None:
    """The name in a `filename*` (RFC 8187), None when it is missing or broken."""
    if value is None:
        return None
    charset, _, rest = value.partition(b"'")
    _, quote, encoded = rest.partition(b"'")
    try:
        return unquote_to_bytes(encoded).decode(charset.decode("ascii")) if quote else None
    except (LookupError, UnicodeError, ValueError):
        return None


def _decoded(name: bytes) -> str:
    for encoding in ("utf-8", "cp949"):
        try:
            return name.decode(encoding)
        except UnicodeDecodeError:
            continue
    return name.decode("latin-1")


def _without_escapes(name: str) -> str:
    unfolded = _words_decoded(name) if _ENCODED_WORD.search(name) else name
    return _BROWSER_ESCAPES.sub(lambda escape: unquote(escape[0]), unfolded)


def _words_decoded(name: str) -> str:
    try:
        words = decode_header(name)
        return "".join(word if isinstance(word, str) else word.decode(charset or "latin-1") for word, charset in words)
    except (HeaderParseError, LookupError, UnicodeError, ValueError):
        return name


def _shortened(name: str) -> str:
    if len(name) <= MAX_LENGTH:
        return name
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension) > _MAX_EXTENSION:
        return name[:MAX_LENGTH].rstrip()
    return stem[: MAX_LENGTH - len(dot + extension)].rstrip() + dot + extension
