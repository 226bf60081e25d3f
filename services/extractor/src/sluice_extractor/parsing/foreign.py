"""Recognises formats that have no reader yet, so that the refusal can name them."""

import re

import orjson

from sluice_extractor.parsing.original import Original

_MAGIC = (
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ\x00", "an xz archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"II*\x00", "a TIFF image"),
    (0, b"MM\x00*", "a TIFF image"),
    (8, b"WEBP", "a WebP image"),
    (8, b"WAVE", "a WAV recording"),
    (8, b"AVI ", "an AVI video"),
    (0, b"ID3", "an MP3 recording"),
    (0, b"\xff\xfb", "an MP3 recording"),
    (0, b"\xff\xf3", "an MP3 recording"),
    (0, b"OggS", "an Ogg recording"),
    (0, b"fLaC", "a FLAC recording"),
    (4, b"ftyp", "an MPEG-4 recording"),
    (0, b"\x1aE\xdf\xa3", "a Matroska video"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ\x90", "a program"),
    (0, b"\xcf\xfa\xed\xfe", "a program"),
    (0, b"SQLite format 3\x00", "an SQLite database"),
    (0, b"PAR1", "a Parquet table"),
    (0, b"HWP Document File", "an HWP 3 document"),
    (0, b"{\\rtf", "an RTF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"AC10", "a DWG drawing"),
)
_IN_OLE = (
    ("HwpSummaryInformation", "an HWP document"),
    ("WordDocument", "a Word document (DOC)"),
    ("PowerPoint Document", "a PowerPoint presentation (PPT)"),
    ("__substg1.0_", "an Outlook message (MSG)"),
)
_MAIL_HEADER = re.compile(
    rb"^(?:from|to|subject|date|message-id|mime-version|received|return-path|content-type):",
    re.IGNORECASE | re.MULTILINE,
)
_HEAD_BYTES = 4096
_MAIL_HEADERS_AT_LEAST = 2


def foreign_format(original: Original) -> str | None:
    """What the document is, when it is one of the formats that we know and do not read."""
    return _by_magic(original.content) or _by_structure(original)


def _by_magic(content: bytes) -> str | None:
    for offset, magic, kind in _MAGIC:
        if content.startswith(magic, offset):
            return kind
    if content.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return next((kind for mark, kind in _IN_OLE if mark.encode("utf-16-le") in content), "an OLE container")
    return None


def _by_structure(original: Original) -> str | None:
    """Texts whose markup would be noise: they wait for their reader instead of being read as plain text."""
    head = original.content[:_HEAD_BYTES].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    if head[:1] in {b"{", b"["} and _is_json(original):
        return "a Jupyter notebook" if original.suffix == ".ipynb" else "a JSON document"
    if head.startswith(b"<?xml") or (head[:1] == b"<" and original.suffix in {".xml", ".svg", ".nxml"}):
        return "an XML document"
    if _is_mail(original, head):
        return "an e-mail (EML)"
    return None


def _is_json(original: Original) -> bool:
    if original.suffix in {".json", ".ipynb"}:
        return True
    try:
        return isinstance(orjson.loads(original.content), dict | list)
    except orjson.JSONDecodeError:
        return False


def _is_mail(original: Original, head: bytes) -> bool:
    """A mail that was saved as text is read as text; only one that comes as a mail waits for its reader."""
    says_so = original.suffix in {".eml", ".mht", ".mhtml"} or original.hinted_type == "message/rfc822"
    return says_so and len(_MAIL_HEADER.findall(head)) >= _MAIL_HEADERS_AT_LEAST
