"""Compares our readers with others over a folder of real documents: `make bench-extraction`.

For every reader and every file of `SLUICE_CORPUS` that it is for: CPU time, failures (an exception, the death of the
process, or 180 s without an answer), the memory of the process at its largest, and the words that came out. A reader
runs in one process of its own, all pinned to one core; they take turns at each file, in three rounds, and the best
time for a file counts, because other work on the machine only ever adds to it. The slow readers are asked in the first
round only.

What pdftotext finds in a PDF is the measure for words; for the other formats there is none, so that two readers are
held against each other: what one finds and the other misses is a question to both.

    SLUICE_CORPUS=/path/to/documents make bench-extraction
    .venv/bin/python benchmarks/extraction/compare.py --only .pdf --readers sluice,pypdfium2,pdftotext --rounds 5
"""

import argparse
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from readers import READERS, Reader
from scores import Agreement, trigrams_of, words_of

HERE = Path(__file__).parent
OTHERS_PYTHON = HERE.parents[1] / "build" / "readers" / "bin" / "python"
LONGEST_S = 180
LARGE_PAGES = 20
REFERENCE = "pdftotext"


@dataclass(frozen=True)
class Outcome:
    """What one reader made of one file."""

    cpu_s: float
    pages: int
    error: str | None
    rss_mb: float
    words: tuple[str, ...]


class Worker:
    """The process of one reader; a new one takes over when it dies."""

    def __init__(self, name: str, out: Path) -> None:
        out.mkdir()
        self._out = out
        self._command = [_python_of(READERS[name]), str(HERE / "worker.py"), name, str(out)]
        self._process: subprocess.Popen[str] | None = None

    def outcome_of(self, number: int, path: Path) -> Outcome:
        """What the reader makes of one file, the n-th."""
        answer = self._ask(number, path)
        written = self._out / f"{number}.txt"
        text = written.read_text(encoding="utf-8") if written.exists() else ""
        return Outcome(words=tuple(words_of(text)), **answer)  # type: ignore[arg-type]  # the worker's fields

    def _ask(self, number: int, path: Path) -> dict[str, object]:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{number}\t{path}\n")
        self._process.stdin.flush()
        is_there = select.select([self._process.stdout], [], [], LONGEST_S)[0]
        line = self._process.stdout.readline() if is_there else ""
        if line:
            return dict(json.loads(line))
        error = "death" if is_there else "timeout"
        self.close()
        return {"cpu_s": 0.0, "pages": 0, "error": error, "rss_mb": 0.0}

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


Outcomes = dict[str, dict[Path, Outcome]]
"""By reader and file."""


def read_all(files: list[Path], names: list[str]) -> Outcomes:
    """One round: every reader reads a file before the next file's turn comes."""
    outcomes: Outcomes = {name: {} for name in names}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        workers = {name: Worker(name, Path(folder, name)) for name in names}
        for worker in workers.values():
            stack.callback(worker.close)
        for number, path in enumerate(files):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                if path.suffix.lower() in READERS[name].suffixes:
                    outcomes[name][path] = workers[name].outcome_of(number, path)
    return outcomes


def _python_of(reader: Reader) -> str:
    return sys.executable if reader.is_ours else str(OTHERS_PYTHON)


def table_of_pdfs(title: str, files: list[Path], rounds: list[Outcomes]) -> Iterator[str]:
    """Markdown; readers by their speed."""
    yield f"### {title}\n"
    yield "| Reader | pages per CPU second | relative | failures | empty | word F1 | trigram F1 | memory |"
    yield "|---|---|---|---|---|---|---|---|"
    first = rounds[0]
    common = [path for path in files if all(not first[name][path].error for name in ("sluice", "pypdfium2"))]
    paces = {name: _pace(name, common, rounds) for name in first if common and common[0] in first[name]}
    for name, pace in sorted(paces.items(), key=lambda item: -item[1]):
        own = [first[name][path] for path in files]
        words, trigrams = agreement_of(first, name, REFERENCE, files)
        failures = sum(bool(outcome.error) for outcome in own)
        yield (
            f"| {name} | {pace:.0f} | {pace / paces['pypdfium2']:.2f} | {failures} | {_empty(first, name, files)} "
            f"| {words.f1:.3f} | {trigrams.f1:.3f} | {max(outcome.rss_mb for outcome in own):.0f} MB |"
        )
    yield ""


def _pace(name: str, files: list[Path], rounds: list[Outcomes]) -> float:
    """Pages of all files by CPU time."""
    pages = sum(rounds[0]["pypdfium2"][path].pages for path in files)
    return pages / max(_spent(name, files, rounds), 1e-9)


def _empty(outcomes: Outcomes, name: str, files: list[Path]) -> int:
    """Files without a word in which another reader finds some."""
    found = [
        path for path in files if any(path in outcomes[other] and outcomes[other][path].words for other in outcomes)
    ]
    return sum(not outcomes[name][path].words for path in found)


def agreement_of(outcomes: Outcomes, name: str, other: str, files: list[Path]) -> tuple[Agreement, Agreement]:
    """Words and trigrams of *name* held against *other*'s, over the files that both could read."""
    words, trigrams = Agreement(), Agreement()
    for path in files:
        own, others = outcomes[name][path], outcomes[other][path]
        if not own.error and not others.error:
            words.add(own.words, others.words)
            trigrams.add(trigrams_of(own.words), trigrams_of(others.words))
    return words, trigrams


def table_of_others(files: list[Path], rounds: list[Outcomes]) -> Iterator[str]:
    """Markdown: every other format, ours against each of the others."""
    yield "### Other formats\n"
    yield "| Format | files | against | word F1 | they only | we only | their CPU by ours | our and their failures |"
    yield "|---|---|---|---|---|---|---|---|"
    first = rounds[0]
    for suffix in sorted({path.suffix.lower() for path in files}):
        own = [path for path in files if path.suffix.lower() == suffix]
        for name in sorted(name for name in first if name != "sluice" and own[0] in first[name]):
            words, _ = agreement_of(first, "sluice", name, own)
            turned, _ = agreement_of(first, name, "sluice", own)
            spent = [_spent(who, own, rounds) for who in (name, "sluice")]
            failures = [sum(bool(first[who][path].error) for path in own) for who in ("sluice", name)]
            yield (
                f"| {suffix[1:]} | {len(own)} | {name} | {words.f1:.3f} | {words.missing:.1%} | {turned.missing:.1%} "
                f"| {spent[0] / max(spent[1], 1e-9):.1f} | {failures[0]}, {failures[1]} |"
            )
    yield ""


def _spent(name: str, files: list[Path], rounds: list[Outcomes]) -> float:
    """CPU seconds for all files, of each its best."""
    return sum(min(one[name][path].cpu_s for one in rounds if name in one) for path in files)


def main() -> None:
    """Read everything in rounds, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="one suffix, such as .pdf")
    parser.add_argument("--readers", help="some of them, such as sluice,pypdfium2,pdftotext")
    chosen = parser.parse_args()
    corpus = Path(os.environ.get("SLUICE_CORPUS") or sys.exit("SLUICE_CORPUS names no folder of real documents"))
    suffixes = READERS["sluice"].suffixes if chosen.only is None else {chosen.only}
    files = sorted(path for path in corpus.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    chosen_readers = set(chosen.readers.split(",")) if chosen.readers else set(READERS)
    names = [name for name, reader in READERS.items() if reader.suffixes & suffixes and name in chosen_readers]
    if not OTHERS_PYTHON.exists() or not shutil.which("pdftotext"):
        sys.exit("make bench-extraction makes the environment of the other readers; pdftotext is in poppler-utils")
    rounds = []
    for number in range(chosen.rounds):
        print(f"round {number + 1}", file=sys.stderr)
        asked = [name for name in names if number == 0 or not READERS[name].is_slow]
        rounds.append(read_all(files, asked))
    for line in report(files, rounds):
        print(line)


def report(files: list[Path], rounds: list[Outcomes]) -> Iterator[str]:
    """All tables for which there are files."""
    pdfs = [path for path in files if path.suffix.lower() == ".pdf"]
    if pdfs:
        first = rounds[0]
        with_text = [path for path in pdfs if first[REFERENCE][path].words]
        large = [path for path in with_text if first["pypdfium2"][path].pages >= LARGE_PAGES]
        small = [path for path in with_text if path not in set(large)]
        pages = [sum(first["pypdfium2"][path].pages for path in some) for some in (large, small)]
        yield from table_of_pdfs(f"{len(large)} PDFs of {LARGE_PAGES} pages and more, {pages[0]} pages", large, rounds)
        yield from table_of_pdfs(f"{len(small)} smaller PDFs with text, {pages[1]} pages", small, rounds)
    others = [path for path in files if path.suffix.lower() != ".pdf"]
    if others:
        yield from table_of_others(others, rounds)


if __name__ == "__main__":
    main()
