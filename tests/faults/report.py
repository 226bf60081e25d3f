"""Tells the whole story of a document when something went wrong with it."""

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psycopg
from faults.history import History, Violation
from oracle import Oracle

SHOWN_IN_FULL = 3
"""So many documents are told about in full; the others are named."""
MOST_LINES = 120
_ERRORS = ("[error", "request_cut_off", '"level": "error', "Exception in")

_TABLES = {
    "document": "SELECT to_jsonb(d) FROM documents d WHERE id = %s",
    "originals": "SELECT to_jsonb(o) FROM originals o WHERE document_id = %s ORDER BY request_no",
    "runs": "SELECT to_jsonb(r) FROM runs r WHERE document_id = %s ORDER BY id",
    "batches": "SELECT to_jsonb(b) FROM batches b WHERE document_id = %s ORDER BY run_id, batch_no",
    "events": "SELECT to_jsonb(e) FROM document_events e WHERE document_id = %s ORDER BY id",
}


def story_of(violations: Sequence[Violation], seed: int, *, oracle: Oracle, history: History, home: Path) -> str:
    """Every violation in a line, then the first documents concerned: rows, events, answers, faults and log lines.

    What concerns no document is told by the last errors of all services.
    """
    named = list(dict.fromkeys(one.document_id for one in violations if one.document_id is not None))
    told = [_document_story(document_id, oracle, history, home) for document_id in named[:SHOWN_IN_FULL]]
    if any(one.document_id is None for one in violations):
        told += ["--- errors", *log_lines(home, _ERRORS)[-MOST_LINES:]]
    return "\n".join([f"seed {seed}: {len(violations)} violations", *map(str, violations[:100]), *told])


def _document_story(document_id: str, oracle: Oracle, history: History, home: Path) -> str:
    number = UUID(document_id.removeprefix("doc_"))
    notes = history.notes_of(document_id)
    rows = [f"  {line}" for title in _TABLES for line in _rows(oracle, title, number)]
    strikes = []
    if notes:
        first, last = notes[0].at - timedelta(seconds=5), notes[-1].at + timedelta(seconds=60)
        strikes = [strike for strike in history.strikes if first <= strike.began <= last]
    runs = [row[0] for row in _query(oracle, "SELECT id FROM runs WHERE document_id = %s", number)]
    sections = {
        "rows": rows,
        "clients": map(str, notes),
        "faults": map(str, strikes),
        "logs": log_lines(home, [str(number), number.hex, *(f"run_id={run}" for run in runs)]),
    }
    lines = [f"--- {document_id}"]
    for title, section in sections.items():
        lines += [f"{title}:", *(f"  {line}" for line in _at_most(section))]
    return "\n".join(lines)


def log_lines(home: Path, words: Iterable[str]) -> list[str]:
    """The lines of all logs that have one of the words, by the time that stands in them."""
    wanted = re.compile("|".join(rf"{re.escape(word)}\b" for word in words))
    found = [
        f"{log.stem}: {line}"
        for log in sorted((home / "logs").glob("*.log*"))
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
        if wanted.search(line)
    ]
    return sorted(found, key=lambda line: line.partition(": ")[2])


def _rows(oracle: Oracle, title: str, number: UUID) -> list[str]:
    return [f"{title}: {row[0]}" for row in _query(oracle, _TABLES[title], number)]


def _query(oracle: Oracle, statement: str, number: UUID) -> list[tuple]:
    try:
        return oracle.query(statement, number)
    except psycopg.Error as error:
        return [(f"not known: {type(error).__name__}",)]


def _at_most(lines: Iterable[str]) -> list[str]:
    every = list(lines)
    if len(every) <= MOST_LINES:
        return every
    half = MOST_LINES // 2
    return [*every[:half], f"... {len(every) - MOST_LINES} more ...", *every[-half:]]
