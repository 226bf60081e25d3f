"""Hands the chunks of one run to the embedder, batch by batch, while its document is still being read."""

from collections.abc import Mapping, Sequence
from typing import Any

from sluice_common.batches import Batches, Extraction, NewBatch, NewChunk
from sluice_common.contract import EmbedBatch, VerifyRun
from sluice_common.documents import ExtractionClaim
from sluice_common.errors import DocumentTooLarge, LeaseLost
from sluice_common.failpoints import reach
from sluice_common.hints import Hints
from sluice_common.status import State
from sluice_extractor.chunking import Chunk
from sluice_extractor.parsing.page import Remark


class Forwarder:
    """Collects chunks into batches; a full batch goes out at once."""

    def __init__(
        self, claim: ExtractionClaim, batches: Batches, hints: Hints, *, batch_chunks: int, max_chunks: int
    ) -> None:
        self._claim = claim
        self._batches = batches
        self._hints = hints
        self._batch_chunks = batch_chunks
        self._max_chunks = max_chunks
        self._waiting: list[NewChunk] = []
        self._last: list[NewBatch] | None = None
        self._n_batches = 0
        self.n_chunks = 0

    def take(self, chunks: Sequence[Chunk]) -> None:
        """Add *chunks*, and forward every batch that is full, but for the last one: `finish` takes that.

        Raises:
            DocumentTooLarge: more chunks than a document may have.
            LeaseLost: the run is no longer the document's active one.
        """
        reach("extractor.page_read")
        for chunk in chunks:
            self._waiting.append(_numbered(chunk, self.n_chunks))
            self.n_chunks += 1
        if self.n_chunks > self._max_chunks:
            raise DocumentTooLarge(f"more than {self._max_chunks} chunks", detail_code="too_many_chunks")
        while len(self._waiting) > self._batch_chunks:
            self._forward(self._next_batch())

    def finish(
        self,
        *,
        media_type: str,
        pages_done: int,
        pages_total: int | None,
        remarks: Sequence[Remark],
        analysis: Mapping[str, Any] | None = None,
    ) -> None:
        """Store what is left and close the run; may be repeated when the outcome is unknown.

        Raises:
            LeaseLost: the run is no longer the document's active one.
        """
        if self._last is None:
            self._last = [self._next_batch()] if self._waiting else []
        extraction = Extraction(
            n_chunks=self.n_chunks,
            n_batches=self._n_batches,
            media_type=media_type,
            pages_done=pages_done,
            pages_total=pages_total,
            warnings=[_shown(remark) for remark in remarks],
            analysis=analysis,
        )
        state = self._batches.finish_extraction(self._claim.document_id, self._claim.run_id, self._last, extraction)
        if state is None:
            raise LeaseLost("finish extraction")
        if state is State.VERIFYING:
            self._hints.send([VerifyRun(document_id=self._claim.document_id, run_id=self._claim.run_id)])
        else:
            self._hints.send([EmbedBatch(run_id=self._claim.run_id, batch_no=batch.batch_no) for batch in self._last])

    def _forward(self, batch: NewBatch) -> None:
        if not self._batches.forward(self._claim.document_id, self._claim.run_id, [batch]):
            raise LeaseLost("forward a batch")
        self._hints.send([EmbedBatch(run_id=self._claim.run_id, batch_no=batch.batch_no)])

    def _next_batch(self) -> NewBatch:
        chunks, self._waiting = self._waiting[: self._batch_chunks], self._waiting[self._batch_chunks :]
        batch = NewBatch(self._n_batches, chunks)
        self._n_batches += 1
        return batch


def _shown(remark: Remark) -> dict[str, str | int]:
    page = {} if remark.page is None else {"page": remark.page}
    return {"code": remark.code, "detail": remark.detail, **page}


def _numbered(chunk: Chunk, chunk_no: int) -> NewChunk:
    return NewChunk(
        chunk_no=chunk_no,
        text=chunk.text,
        char_start=chunk.char_start,
        char_end=chunk.char_end,
        tokens=chunk.tokens,
        page_start=chunk.page_start,
        page_end=chunk.page_end,
        section=chunk.section,
        sheet=chunk.place.sheet,
        slide=chunk.place.slide,
        time_start=chunk.place.time_start,
        time_end=chunk.place.time_end,
        boxes=[boxes.as_fields() for boxes in chunk.boxes] or None,
    )
