"""Collects the text of a document block by block, and hands it on in parts while more is being found."""

from collections.abc import Iterator, Sequence

from sluice_common.errors import DocumentTooLarge
from sluice_extractor.parsing.cleaning import clean_line, clean_text
from sluice_extractor.parsing.media import Figure, FigureSource
from sluice_extractor.parsing.page import NOWHERE, PART_CHARS, TITLE_CHARS, Heading, Page, Place

_HEADER_EVERY_CHARS = 450  # about half of a chunk of ordinary size, so that each chunk of a table shows its header
_LONGEST_HEADER = 600


class Flow:
    """The text of one document, or of one page, sheet or slide of it."""

    def __init__(self, most_chars: int, place: Place = NOWHERE) -> None:
        self.place = place
        self.length = 0
        self.most_chars = most_chars
        self._pieces: list[str] = []
        self._headings: list[Heading] = []
        self._figures: list[Figure] = []
        self._part_start = 0

    def paragraph(self, text: str) -> None:
        """A block of its own, with an empty line before it."""
        self._write(clean_text(text).strip(), "\n\n")

    def line(self, text: str) -> None:
        """A line directly below what was written last."""
        self._write(clean_text(text).strip(), "\n")

    def heading(self, level: int, text: str) -> None:
        """A block that is the title of what follows; level 1 is the outermost."""
        title = " ".join(clean_line(text).split())
        if title:
            self._write(title, "\n\n")
            start = self.length - len(title) - self._part_start
            self._headings.append(Heading(start, level, title[:TITLE_CHARS]))

    def figure(self, source: FigureSource) -> None:
        """A picture that stands below what was written last."""
        self._figures.append(Figure(self.length - self._part_start, source))

    def parts(self) -> Iterator[Page]:
        """What has been written since the last call, once it is long enough to be handed on."""
        if self.length - self._part_start >= PART_CHARS:
            yield self.part()

    def part(self, number: int | None = None) -> Page:
        """All that has been written since the last part."""
        text, headings, figures = "".join(self._pieces), tuple(self._headings), tuple(self._figures)
        page = Page(number, text, headings=headings, place=self.place, figures=figures)
        self._pieces, self._headings, self._figures, self._part_start = [], [], [], self.length
        return page

    def end(self) -> Page:
        """The last part, with what keeps it apart from another flow behind it."""
        if self.length:
            self._append("\n\n")
        return self.part()

    def _write(self, text: str, separator: str) -> None:
        if not text:
            return
        if self.length:
            self._append(separator)
        self._append(text)

    def _append(self, text: str) -> None:
        self._pieces.append(text)
        self.length += len(text)
        if self.length > self.most_chars:
            raise DocumentTooLarge(f"more than {self.most_chars} characters of text")


class Table:
    """Writes the rows of one table as lines, and its header again and again, so that a row far below is understood."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._header = ""
        self._since_header = 0
        self._stands_apart = True
        self._seeks_header = True

    def row(self, cells: Sequence[str], *, may_be_header: bool = True) -> None:
        """Write a row; the first one that may be a header and has two cells with text is the table's header."""
        line = line_of(cells)
        if not line:
            return
        if self._seeks_header and _is_wide(cells):
            self._seeks_header = False
            if may_be_header and len(line) <= _LONGEST_HEADER:
                self._header, self._since_header = line, 0
        elif self._header and self._since_header > max(_HEADER_EVERY_CHARS, len(self._header)):
            self._flow.paragraph(self._header)
            self._since_header, self._stands_apart = 0, False
        (self._flow.paragraph if self._stands_apart else self._flow.line)(line)
        self._stands_apart = False
        self._since_header += len(line)

    def turn(self) -> None:
        """The rows that follow stand apart: they may have a header of their own, else the one before holds."""
        self._stands_apart = self._seeks_header = True


def line_of(cells: Sequence[str]) -> str:
    """The cells side by side; empty ones at the end are left out."""
    words = [" ".join(cell.split()) for cell in cells]
    while words and not words[-1]:
        words.pop()
    return " | ".join(words)


def _is_wide(cells: Sequence[str]) -> bool:
    return sum(1 for cell in cells if cell and not cell.isspace()) > 1
