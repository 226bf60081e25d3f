"""The enrichment that has the figures of a document described by a model that sees."""

import hashlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BytesIO

import structlog
from PIL import Image

from sluice_common.errors import RateLimited, VisionRejected, VisionUnavailable
from sluice_common.ports import VisionProvider
from sluice_common.settings import VisionSettings
from sluice_common.transcripts import Transcripts
from sluice_extractor.enriching import Findings, pause
from sluice_extractor.metrics import ExtractionMetrics
from sluice_extractor.parsing.cleaning import clean_line
from sluice_extractor.parsing.media import Picture
from sluice_extractor.parsing.page import Page, Remark
from sluice_extractor.seeing.blocks import with_blocks

log = structlog.get_logger(__name__)

_LEAST_SIDE, _LEAST_PIXELS = 100, 40_000
"""What is smaller is a sign or a logo."""
_LONGEST_SIDE = 1_536
"""Models see no more than that; what is larger is sent smaller."""
_PAGES_AHEAD = 32
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 16.0
_HOPELESS = frozenset({"vision_refused_credentials", "vision_unknown_model"})
_NO_ANSWER, _REFUSED = "the provider did not answer", "the provider refused"
_SCANS = "image/tiff"


class Description:
    """An `Enrichment`: the text of a page gets a block `[Figure: …]` at the place of each figure that is described.

    Pictures stay on their pages, for those who recognise text. A page that is a picture has its description in
    `Findings.page_descriptions`, because its text is recognised first. A provider that is away is asked again while
    the patience of the document lasts; then its figures stay undescribed, which is a remark and never a failure.
    """

    def __init__(
        self, provider: VisionProvider, kept: Transcripts, metrics: ExtractionMetrics, settings: VisionSettings
    ) -> None:
        self.provider = provider
        self.settings = settings
        self._kept = kept
        self._metrics = metrics

    def enriched(self, pages: Iterator[Page], findings: Findings) -> Iterator[Page]:
        ending = threading.Event()
        pool = ThreadPoolExecutor(self.settings.max_in_flight, thread_name_prefix="description")
        try:
            yield from _Line(self, pool, findings, ending).pages(pages)
        finally:
            ending.set()  # who is asked still need not answer
            pool.shutdown(cancel_futures=True)

    def described(self, picture: Picture, patience: "_Patience", findings: Findings) -> str:
        """What the picture shows, from what was kept or from the provider."""
        key = hashlib.sha256(_fingerprint(picture) + self.provider.asked_as.encode()).digest()
        if findings.document_id is not None:
            kept = self._kept.find(findings.document_id, key)
            if kept is not None:
                return str(kept["description"])
        description = patience.asked(self.provider, _png_of(picture))
        self._metrics.count_described()
        if findings.document_id is not None:
            self._kept.keep(findings.document_id, key, {"description": description})
        return description


class PageDescriptions:
    """An `Enrichment`: pages that are pictures get their descriptions, below what was recognised on them."""

    def enriched(self, pages: Iterator[Page], findings: Findings) -> Iterator[Page]:
        for page in pages:
            description = findings.page_descriptions.pop(page.number, "") if page.number is not None else ""
            if not description:
                yield page
                continue
            gap = "\n\n" if page.text and not page.text.isspace() else ""
            yield replace(page, text=f"{page.text.rstrip()}{gap}{description}", failed=False)


class _Patience:
    """How long one document still waits for a provider that is away; several threads share it."""

    def __init__(self, left_s: float, is_stopped: Callable[[], bool]) -> None:
        self.is_used_up = False
        self._left_s = left_s
        self._is_stopped = is_stopped
        self._lock = threading.Lock()

    def asked(self, provider: VisionProvider, png: bytes) -> str:
        """What *provider* says, asked again and again.

        Raises:
            VisionUnavailable, RateLimited: for longer than the patience lasts.
            VisionRejected, LeaseLost: as the provider does.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            if self.is_used_up:
                raise VisionUnavailable("the provider was away a moment ago")
            started = time.monotonic()
            try:
                return provider.describe(png, is_stopped=self._is_stopped)
            except (RateLimited, VisionUnavailable) as error:
                asked_s = error.retry_after_s if isinstance(error, RateLimited) else None
                wait_s = pause_s if asked_s is None else asked_s
                if error.detail_code in _HOPELESS or not self._lasts_for(time.monotonic() - started + wait_s):
                    self.is_used_up = True
                    raise
                pause(wait_s, self._is_stopped)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _lasts_for(self, seconds: float) -> bool:
        with self._lock:
            self._left_s -= seconds
            return self._left_s >= 0


@dataclass(frozen=True)
class _Pending:
    """A page, and the answers to come by the place of their picture in its media."""

    page: Page
    answers: dict[int, Future[str]]

    @property
    def is_ready(self) -> bool:
        return all(answer.done() for answer in self.answers.values())


class _Line:
    """The pages of one document, in their order, with figures under way."""

    def __init__(
        self, description: Description, pool: ThreadPoolExecutor, findings: Findings, ending: threading.Event
    ) -> None:
        self._description = description
        self._pool = pool
        self._findings = findings
        self._patience = _Patience(description.settings.patience_s, lambda: ending.is_set() or findings.is_stopped())
        self._most = description.settings.max_figures
        self._seen: set[bytes] = set()
        self._sent = 0
        self._left_out: Counter[str] = Counter()

    def pages(self, pages: Iterator[Page]) -> Iterator[Page]:
        waiting: deque[_Pending] = deque()
        for page in pages:
            waiting.append(self._begun(page))
            while waiting and (waiting[0].is_ready or self._are_enough(waiting)):
                yield from self._finished(waiting.popleft())
        while waiting:
            yield from self._finished(waiting.popleft())
        if self._left_out:
            counts = ", ".join(f"{count} ({reason})" for reason, count in self._left_out.items())
            self._findings.remarks.append(
                Remark("figures_not_described", f"Figures that were not described: {counts}.")
            )

    def _are_enough(self, waiting: deque[_Pending]) -> bool:
        under_way = sum(len(pending.answers) for pending in waiting)
        return under_way >= 2 * self._description.settings.max_in_flight or len(waiting) >= _PAGES_AHEAD

    def _begun(self, page: Page) -> _Pending:
        answers = {}
        for place, media in enumerate(page.media):
            if isinstance(media, Picture) and self._is_wanted(media):
                answers[place] = self._pool.submit(self._description.described, media, self._patience, self._findings)
        return _Pending(page, answers)

    def _is_wanted(self, picture: Picture) -> bool:
        """Whether it is a figure, large enough, that was not seen before, and one of the first ones."""
        is_small = min(picture.width, picture.height) < _LEAST_SIDE or picture.width * picture.height < _LEAST_PIXELS
        if is_small or (picture.is_whole_page and not self._is_of_pictures):
            return False
        fingerprint = _fingerprint(picture)
        if fingerprint in self._seen:
            return False
        self._seen.add(fingerprint)
        self._sent += 1
        if self._sent > self._most:
            self._left_out[f"a document may have {self._most}"] += 1
        return self._sent <= self._most

    @property
    def _is_of_pictures(self) -> bool:
        """Whether its pages are pictures because the document is one, and not because somebody scanned it."""
        media_type = self._findings.media_type
        return media_type.startswith("image/") and media_type != _SCANS

    def _finished(self, pending: _Pending) -> Iterator[Page]:
        blocks: dict[int, str] = {}
        for place, answer in pending.answers.items():
            words = self._words_of(answer)
            if words:
                blocks[place] = f"[Figure: {words}]"
        page = pending.page
        for place in [place for place in blocks if _is_whole_page(page, place)]:
            block = blocks.pop(place)
            if page.number is not None:
                self._findings.page_descriptions[page.number] = block
        yield with_blocks(page, blocks) if blocks else page

    def _words_of(self, answer: Future[str]) -> str:
        """What was answered, as one line without the brackets that end a block; nothing where nobody answered."""
        try:
            words = answer.result()
        except VisionRejected as error:
            log.warning("figure_refused", detail=error.detail)
            self._left_out[_REFUSED] += 1
            return ""
        except (RateLimited, VisionUnavailable) as error:
            if not self._left_out[_NO_ANSWER]:
                log.warning("vision_unavailable", detail=error.detail, detail_code=error.detail_code)
            self._left_out[_NO_ANSWER] += 1
            return ""
        return " ".join(clean_line(words).split()).replace("[", "(").replace("]", ")")


def _is_whole_page(page: Page, place: int) -> bool:
    media = page.media[place]
    return isinstance(media, Picture) and media.is_whole_page


def _fingerprint(picture: Picture) -> bytes:
    shape = f"{picture.width} {picture.height} {picture.channels}"
    return hashlib.blake2b(picture.pixels, digest_size=32, key=shape.encode()).digest()


def _png_of(picture: Picture) -> bytes:
    image = Image.frombuffer("L" if picture.channels == 1 else "RGB", (picture.width, picture.height), picture.pixels)
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    written = BytesIO()
    image.save(written, "PNG")
    return written.getvalue()
