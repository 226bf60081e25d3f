"""Turns what pages hold besides text into text, while they pass."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from uuid import UUID

from sluice_common.errors import OCR_NOT_INSTALLED, PICTURES_NOT_READ, LeaseLost, NoText, OcrRequired, PermanentError
from sluice_extractor.parsing.page import IMAGES_NOT_READ, PAGE_NOT_READ, TEXT_GARBLED, Page, Remark

_MOST_NAMED_PAGES = 1000
_LOOK_S = 0.2


@dataclass
class Findings:
    """What is found out about a document as a whole; complete when the pages are exhausted."""

    remarks: list[Remark] = field(default_factory=list)
    analysis: dict[str, Any] | None = None  # JSON
    """What was found out about a recording."""
    document_id: UUID | None = None
    """Whose findings these are; None where nobody keeps anything for it."""
    is_stopped: Callable[[], bool] = lambda: False
    """Whether nobody waits for the pages any more; who waits for others asks it several times a second."""
    unread_pages: list[Remark] = field(default_factory=list)
    """Pages that are pictures and that nobody has read."""
    unread_pictures: Counter[str] = field(default_factory=Counter)
    """How many other pictures nobody has read, by the reason."""
    cannot_read_pictures: str | None = None
    """What is missing here, where no picture can be read at all."""
    media_type: str = ""
    """Of the document."""
    page_descriptions: dict[int, str] = field(default_factory=dict)
    """What pages that are pictures show, by their numbers, until it is put below what is recognised on them."""

    def page_unread(self, number: int | None, reason: str) -> None:
        """A page is a picture that could not be read."""
        if len(self.unread_pages) < _MOST_NAMED_PAGES:
            self.unread_pages.append(
                Remark(PAGE_NOT_READ, f"The page is a picture that was not read: {reason}.", number)
            )

    def page_garbled(self, number: int | None) -> None:
        """The text of a page is not what it shows, and what it shows could not be read either."""
        if len(self.remarks) < _MOST_NAMED_PAGES:
            self.remarks.append(replace(TEXT_GARBLED, page=number))

    def picture_unread(self, reason: str) -> None:
        """A picture within the text could not be read."""
        self.unread_pictures[reason] += 1

    def all_remarks(self) -> list[Remark]:
        """Every remark, with one for all pictures that are no pages."""
        reasons = "; ".join(f"{count}: {reason}" for reason, count in self.unread_pictures.most_common())
        pictures = [Remark(IMAGES_NOT_READ, f"Images that were not read, {reasons}.")] if reasons else []
        return [*self.remarks, *self.unread_pages, *pictures]

    def why_no_text(self) -> PermanentError:
        """The failure of a document in which there is no text: whether there were pictures that nobody has read."""
        unread = [remark for remark in self.all_remarks() if remark.code in {PAGE_NOT_READ, IMAGES_NOT_READ}]
        if not unread:
            return NoText("nothing but white space")  # the readers tell apart what they can; this is the last line
        if self.cannot_read_pictures:
            return OcrRequired(self.cannot_read_pictures, detail_code=OCR_NOT_INSTALLED)
        return OcrRequired(unread[0].detail, detail_code=PICTURES_NOT_READ)


class Enrichment(Protocol):
    """One way of turning media into text, such as the recognition of characters."""

    def enriched(self, pages: Iterator[Page], findings: Findings) -> Iterator[Page]:
        """The same pages in the same order, with what was found in those media that this way is for.

        Media that it is not for stay on their page. What could not be read is a remark, not an error.
        """


def enriched(
    pages: Iterator[Page], enrichments: Sequence[Enrichment], findings: Findings
) -> Generator[Page, None, None]:
    """The pages after each of *enrichments*, one behind the other; closing it ends all of them at once."""
    for enrichment in enrichments:
        pages = enrichment.enriched(pages, findings)
    yield from pages


def pause(seconds: float, is_stopped: Callable[[], bool]) -> None:
    """Wait before a provider is asked again.

    Raises:
        LeaseLost: *is_stopped*, which is asked several times a second, said that nobody waits any more.
    """
    until = time.monotonic() + seconds
    nothing = threading.Event()
    while (left_s := until - time.monotonic()) > 0:
        if is_stopped():
            raise LeaseLost("nobody waits for the document any more")
        nothing.wait(min(left_s, _LOOK_S))
