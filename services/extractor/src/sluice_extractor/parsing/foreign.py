"""Recognises formats that have no reader yet, so that the refusal can name them."""

from sluice_extractor.parsing.original import Original

_MAGIC = (
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ\x00", "an xz archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (8, b"AVI ", "an AVI video"),
    (4, b"ftyp", "a HEIF image"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ\x90", "a program"),
    (0, b"\xcf\xfa\xed\xfe", "a program"),
    (0, b"SQLite format 3\x00", "an SQLite database"),
    (0, b"PAR1", "a Parquet table"),
    (0, b"HWP Document File", "an HWP 3 document (save it as HWP 5, HWPX or PDF)"),
    (0, b"\x78\x9f\x3e\x22", "a container of Outlook's (winmail.dat)"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"AC10", "a DWG drawing"),
)
_IN_OLE = (
    ("WordDocument", "a Word document of before 2007 (DOC; save it as DOCX)"),
    ("PowerPoint Document", "a presentation of before 2007 (PPT; save it as PPTX)"),
)


def foreign_format(original: Original) -> str | None:
    """What the document is, when it is one of the formats that we know and do not read."""
    content = original.content
    for offset, magic, kind in _MAGIC:
        if content.startswith(magic, offset):
            return kind
    if content.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return next((kind for mark, kind in _IN_OLE if mark.encode("utf-16-le") in content), "an OLE container")
    return None
