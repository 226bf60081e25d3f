"""Compares, when everything is quiet, what clients were told with what there is: every violation names its promise."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from faults.contents import Content, generations_in, numbers_in
from faults.history import Cancelled, History, Told, Violation
from faults.samplers import LastLook, Searcher
from oracle import CLEAN, Findings, Oracle


@dataclass(frozen=True)
class Row:
    """A document as the table has it at the end, with its newest original."""

    document_id: UUID
    tenant: str
    lifecycle: str
    state: str
    error_code: str | None
    error_detail_code: str | None
    published_run: int | None
    last_published: int | None
    """The newest of its runs that was ever published."""
    storage_key: str
    sha256: str

    @property
    def shown_id(self) -> str:
        return f"doc_{self.document_id.hex}"


PREVIOUS_SERVED = "previous_version_served"

_ROWS = """
    SELECT d.id, t.name, d.lifecycle, d.state, d.error_code, d.error_detail_code, d.published_run,
           (SELECT max(r.id) FROM runs r WHERE r.document_id = d.id AND r.published_at IS NOT NULL),
           o.storage_key, o.sha256
    FROM documents d JOIN tenants t ON t.id = d.tenant_id JOIN LATERAL (
        SELECT storage_key, sha256 FROM originals WHERE document_id = d.id ORDER BY request_no DESC LIMIT 1) o ON true
"""
_TEXTS = """
    SELECT string_agg(k.text, E'\\n' ORDER BY k.chunk_no) FROM chunks k WHERE k.run_id = %s
"""


class Verdict:
    """What is wrong at the end of a run; empty when every promise was kept."""

    def __init__(self, oracle: Oracle, history: History, searcher: Searcher, last_look: LastLook) -> None:
        self._oracle = oracle
        self._history = history
        self._searcher = searcher
        self._last_look = last_look
        self._rows = {row.shown_id: row for row in (Row(*values) for values in oracle.query(_ROWS))}

    def violations(self) -> list[Violation]:
        """Everything, the samplers' included."""
        found = [
            *self._lost(),
            *self._wrongly_ended(),
            *self._not_served(),
            *self._wrong_contents(),
            *self._wrongly_shown(),
            *self._wrongly_found(),
            *self._duplicates(),
            *self._differences(),
            *self._left_over(),
        ]
        return [*self._history.violations, *found]

    def _lost(self) -> Iterator[Violation]:
        for told in self._history.told.values():
            row = self._rows.get(told.id)
            if row is None:
                yield Violation("nothing accepted is lost", "it has no row", told.id)
            elif told.deleted_at is not None and row.lifecycle != "deleted":
                yield Violation("deleted is deleted", f"it is {row.lifecycle}", told.id)
            elif told.is_alive and row.lifecycle != "active":
                yield Violation("only its owner deletes it", f"it is {row.lifecycle}", told.id)

    def _wrongly_ended(self) -> Iterator[Violation]:
        for row in self._active_rows():
            content = self._history.sent.get(row.sha256)
            if content is None:
                yield Violation("the original is what was sent", f"nobody sent {row.sha256}", row.shown_id)
            elif fault := _wrong_end(row, content, self._history.told.get(row.shown_id)):
                yield Violation(*fault, document_id=row.shown_id)

    def _not_served(self) -> Iterator[Violation]:
        """What was ready once is served until something newer is, and a failed or cancelled request says so."""
        for row in self._active_rows():
            if row.published_run != row.last_published:
                detail = f"run {row.last_published} was ready, {row.published_run} is served ({row.state})"
                yield Violation("what was ready is served until a newer version is", detail, row.shown_id)
            if row.state in ("failed", "cancelled"):
                warns = PREVIOUS_SERVED in self._last_look.warnings(row.tenant, row.shown_id)
                self._history.see("failed or cancelled with an older version" if row.published_run else "without one")
                if warns != (row.published_run is not None):
                    detail = f"the warning is {'' if warns else 'not '}there, and run {row.published_run} is served"
                    yield Violation("an older version that is served is named", detail, row.shown_id)

    def _wrong_contents(self) -> Iterator[Violation]:
        for row in self._active_rows():
            kept = self._oracle.original(row.storage_key)
            told = self._history.told.get(row.shown_id)
            if kept is None or hashlib.sha256(kept).hexdigest() != row.sha256:
                yield Violation("the original is what was sent", "its bytes are gone or others", row.shown_id)
            if told is not None and row.sha256 not in {content.sha256 for content in told.contents}:
                yield Violation("the newest content counts", f"{row.sha256} is not it", row.shown_id)
            if row.state == "completed":
                yield from self._wrong_text(row)

    def _wrong_text(self, row: Row) -> Iterator[Violation]:
        content = self._history.sent.get(row.sha256)
        text = self._text_of(row)
        if content is None or content.lines is None:
            return
        expected = (content.marker, content.generation)
        if generations_in(text) != {expected}:
            detail = f"it shows {generations_in(text)} and should show {expected}"
            yield Violation("ready shows the newest content", detail, row.shown_id)
        elif missing := set(range(1, content.lines + 1)) - numbers_in(text):
            yield Violation("ready shows all of it", f"lines {sorted(missing)[:5]} are missing", row.shown_id)

    def _wrongly_shown(self) -> Iterator[Violation]:
        published = {
            run_id: f"doc_{document_id.hex}"
            for run_id, document_id in self._oracle.query(
                "SELECT id, document_id FROM runs WHERE published_at IS NOT NULL"
            )
        }
        for run_id, (document_id, generation) in self._searcher.shown.items():
            if published.get(run_id) != document_id:
                detail = f"run {run_id} (generation {generation}) was shown"
                yield Violation("search shows published runs only", detail, document_id)

    def _wrongly_found(self) -> Iterator[Violation]:
        """A search for the word that stands in one document alone finds that, if it is served, and nothing else."""
        served = {row.shown_id: row for row in self._active_rows() if row.published_run is not None}
        for row in served.values():
            for marker, _ in generations_in(self._text_of(row)):
                self._history.see("served documents searched for at the end")
                if (found := self._last_look.found(row.tenant, marker)) != {row.shown_id: {row.published_run}}:
                    yield Violation(
                        "what is served is found, and it alone", f"{marker} finds {dict(found)}", row.shown_id
                    )
        for told in self._history.told.values():
            if told.deleted_at is not None:
                self._history.see("deleted documents searched for at the end")
                if found := self._last_look.found(told.tenant, told.content.marker):
                    yield Violation("search shows nothing deleted", f"at the end: {dict(found)}", told.id)

    def _text_of(self, row: Row) -> str:
        return self._oracle.query(_TEXTS, row.published_run)[0][0] or ""

    def _duplicates(self) -> Iterator[Violation]:
        for key, ids in self._history.ids_of_key.items():
            if len(ids) > 1:
                yield Violation("one key, one document", f"{key} made {sorted(ids)}", min(ids))
        first_of: dict[str, str] = {}
        for row in self._active_rows():
            if other := first_of.get(row.sha256):
                yield Violation("the same bytes, one document", f"as {other}", row.shown_id)
            first_of[row.sha256] = row.shown_id

    def _differences(self) -> Iterator[Violation]:
        findings = self._oracle.findings()
        for field in fields(Findings):
            if (found := getattr(findings, field.name)) != getattr(CLEAN, field.name):
                yield Violation(f"{field.name} is zero", str(found)[:500])

    def _left_over(self) -> Iterator[Violation]:
        for remains in self._oracle.remains_of_deleted():
            yield Violation("deleted is deleted", remains, f"doc_{UUID(remains.split()[0]).hex}")
        for key in self._oracle.originals_without_row():
            yield Violation("no original without a row", key)
        for key in self._oracle.unfinished_uploads():
            yield Violation("no unfinished upload is left", key)

    def _active_rows(self) -> list[Row]:
        return [row for row in self._rows.values() if row.lifecycle == "active"]


def _wrong_end(row: Row, content: Content, told: Told | None) -> tuple[str, str] | None:
    """Which promise the end of a document breaks, and how; None when it ended as it should."""
    cancelled = told.cancelled if told is not None else Cancelled.NO
    if row.state == "cancelled":
        return ("only its owner cancels it", content.kind) if cancelled is Cancelled.NO else None
    if cancelled is Cancelled.YES and row.state in ("completed", "failed"):
        return "cancelled stays cancelled", f"it is {row.state}"
    if row.state == "failed" and row.error_code not in content.codes:
        return "healthy documents never fail", f"{content.kind}: {row.error_code} ({row.error_detail_code})"
    if row.state == "completed" and not content.is_healthy:
        return "bad documents are never ready", content.kind
    return None  # one that is unfinished is found by all the others


def counts_of(violations: list[Violation]) -> dict[str, Any]:
    """How many of each promise, most first."""
    promises = [violation.promise for violation in violations]
    return dict(sorted(((promise, promises.count(promise)) for promise in set(promises)), key=lambda pair: -pair[1]))
