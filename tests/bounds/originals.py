"""Documents of any size, made while they are sent or written."""

import zlib
from collections.abc import Iterator

_WORDS = ("river", "valve", "pressure", "survey", "bridge", "harbour", "ledger", "invoice", "margin", "clause",
          "garden", "orchard", "engine", "turbine", "copper", "signal", "archive", "museum", "painter", "canvas",
          "violin", "chorus", "rehearsal")  # fmt: skip
_LINES_OF_PAGE = 40
_WORDS_OF_LINE = 11


def words(start: int, count: int) -> str:
    """The same *count* words for the same *start*; neighbours differ."""
    return " ".join(f"{_WORDS[(start * 7 + i * i) % len(_WORDS)]}{(start + i) % 97}" for i in range(count))


def mark_of(page: int) -> str:
    """A word that stands on this page and on no other."""
    return f"landmark{page:05d}"


def pdf_of(pages: int, *, lines: int = _LINES_OF_PAGE) -> bytes:
    """A PDF with so many lines of text on each page, and the page's mark on its first."""
    return b"".join(_pdf_pieces(pages, lines))


def _pdf_pieces(pages: int, lines: int) -> Iterator[bytes]:
    places: list[int] = []
    at = 0
    for piece in _pdf_objects(pages, lines):
        if piece[:1].isdigit():
            places.append(at)
        at += len(piece)
        yield piece
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    yield b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(places) + 1, table)
    yield b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(places) + 1, at)


def _pdf_objects(pages: int, lines: int) -> Iterator[bytes]:
    """Objects 1 to 3 are the catalogue, the font and the tree; then two for each page."""
    yield b"%PDF-1.4\n"
    yield b"1 0 obj\n<< /Type /Catalog /Pages 3 0 R >>\nendobj\n"
    yield b"2 0 obj\n<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>\nendobj\n"
    kids = b" ".join(b"%d 0 R" % (4 + 2 * page) for page in range(pages))
    yield b"3 0 obj\n<< /Type /Pages /Count %d /Kids [%s] >>\nendobj\n" % (pages, kids)
    for page in range(pages):
        yield (
            b"%d 0 obj\n<< /Type /Page /Parent 3 0 R /MediaBox [0 0 595 842] /Contents %d 0 R "
            b"/Resources << /Font << /F1 2 0 R >> >> >>\nendobj\n" % (4 + 2 * page, 5 + 2 * page)
        )
        content = zlib.compress(_page_content(page, lines), 1)
        yield b"%d 0 obj\n<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream\nendobj\n" % (
            5 + 2 * page,
            len(content),
            content,
        )


def _page_content(page: int, lines: int) -> bytes:
    step = min(18.0, 760 / max(lines, 1))
    shown = [f"{mark_of(page)} begins page {page + 1}."]
    shown += [f"{words(page * lines + line, _WORDS_OF_LINE)}." for line in range(lines - 1)]
    body = "".join(f"({line}) Tj 0 -{step:.2f} Td\n" for line in shown)
    return f"BT /F1 {min(10.0, step * 0.8):.2f} Tf 36 800 Td\n{body}ET\n".encode()


def text_of(size_bytes: int, *, piece_bytes: int = 2**20, seed: int = 0) -> Iterator[bytes]:
    """ASCII text of exactly this size, piece by piece; every line is another one."""
    block = b""
    number = seed
    while len(block) < piece_bytes:
        block += words(number, 12).encode() + b".\n"
        number += 1
    block = block[:piece_bytes]
    left = size_bytes
    number = 0
    while left > 0:
        head = b"part %012d of %d. " % (number, seed)
        piece = (head + block)[: min(left, piece_bytes)]
        left -= len(piece)
        number += 1
        yield piece
