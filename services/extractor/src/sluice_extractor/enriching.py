"""Turns what pages hold besides text into text, while they pass."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from sluice_extractor.parsing.page import Page, Remark


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
    media_type: str = ""
    """Of the document."""
    page_descriptions: dict[int, str] = field(default_factory=dict)
    """What pages that are pictures show, by their numbers, until it is put below what is recognised on them."""


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
