"""Compares what the table says, what the store holds and what bytes are kept: all differences must be empty."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg

from sluice_local.stack import LocalStack


def wait_until(condition: Callable[[], bool], *, seconds: float, message: str | Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(message if isinstance(message, str) else message())
        time.sleep(0.05)


@dataclass(frozen=True)
class Findings:
    """What is wrong; every one must be empty or zero."""

    unfinished: list[str]
    stuck: int
    missing_points: int
    orphan_points: int
    wrong_counters: int
    originals_missing: int


class Oracle:
    """Looks behind a running stack."""

    def __init__(self, stack: LocalStack) -> None:
        settings = stack.environment_of("reconciler")
        self._database = settings["SLUICE_DATABASE__URL"]
        self._originals = Path(settings["SLUICE_OBJECTS__ROOT"])
        self._vectors = httpx.Client(
            base_url=settings["SLUICE_QDRANT__URL"],
            headers={"api-key": settings.get("SLUICE_QDRANT__API_KEY", "")},
            timeout=30,
        )

    def query(self, statement: str, *values: object) -> list[tuple]:
        limits = {"connect_timeout": 10, "options": "-c statement_timeout=30000"}
        with psycopg.connect(self._database, autocommit=True, **limits) as connection:
            return connection.execute(statement, values or None).fetchall()

    def unfinished(self) -> list[str]:
        rows = self.query(
            "SELECT id, state, error_code FROM documents WHERE lifecycle = 'active' "
            "AND state IN ('queued', 'extracting', 'embedding', 'verifying')"
        )
        return [f"{row[0]} {row[1]} {row[2]}" for row in rows]

    def points(self) -> set[tuple[str, int]]:
        """Every point in the store, with its run."""
        found = set()
        for collection in self._vectors.get("/collections").json()["result"]["collections"]:
            offset = None
            while True:
                body = {"limit": 5000, "with_payload": ["run"], "with_vector": False, "offset": offset}
                page = self._vectors.post(f"/collections/{collection['name']}/points/scroll", json=body).json()[
                    "result"
                ]
                found |= {(str(point["id"]), point["payload"]["run"]) for point in page["points"]}
                offset = page.get("next_page_offset")
                if offset is None:
                    break
        return found

    def chunks(self) -> set[tuple[str, int]]:
        """Every chunk of a published run, by the id of its point."""
        rows = self.query("SELECT k.point_id, k.run_id FROM chunks k JOIN documents d ON d.published_run = k.run_id")
        return {(str(row[0]), row[1]) for row in rows}

    def being_purged(self) -> int:
        """How many deleted documents still wait for one of their two purges."""
        return self.query("SELECT count(*) FROM documents WHERE lifecycle = 'deleting'")[0][0]

    def remains_of_deleted(self) -> list[str]:
        """What is left of deleted documents in the tables and among the originals; points are found as orphans."""
        chunks = self.query(
            "SELECT d.id, count(*) FROM documents d JOIN runs r ON r.document_id = d.id "
            "JOIN chunks k ON k.run_id = r.id WHERE d.lifecycle <> 'active' GROUP BY 1"
        )
        originals = self.query(
            "SELECT d.id, o.storage_key, o.name, o.sha256 FROM documents d JOIN originals o ON o.document_id = d.id "
            "WHERE d.lifecycle <> 'active'"
        )
        left = [f"{row[0]} has {row[1]} chunks" for row in chunks]
        left += [f"{row[0]} has its original" for row in originals if (self._originals / row[1]).exists()]
        return left + [f"{row[0]} has its name or digest" for row in originals if row[2] or row[3]]

    def originals_without_row(self) -> list[str]:
        """Files in the store that no document names."""
        known = {key for (key,) in self.query("SELECT storage_key FROM originals")}
        return [key for key in self._kept_files() if not key.startswith(".tmp/") and key not in known]

    def unfinished_uploads(self) -> list[str]:
        """Temporary files in the store."""
        return [key for key in self._kept_files() if key.startswith(".tmp/")]

    def original(self, storage_key: str) -> bytes | None:
        """The bytes of an original; None when they are not there."""
        path = self._originals / storage_key
        return path.read_bytes() if path.is_file() else None

    def _kept_files(self) -> list[str]:
        return [str(path.relative_to(self._originals)) for path in self._originals.rglob("*") if path.is_file()]

    def findings(self) -> Findings:
        points, chunks = self.points(), self.chunks()
        return Findings(
            unfinished=self.unfinished(),
            stuck=self.query(
                "SELECT count(*) FROM documents d WHERE lifecycle = 'active' AND state = 'embedding' AND NOT EXISTS ("
                "SELECT 1 FROM batches b WHERE b.run_id = d.active_run AND b.state IN ('pending', 'running'))"
            )[0][0],
            missing_points=len(chunks - points),
            orphan_points=len(points - chunks),
            wrong_counters=self.query(
                "SELECT count(*) FROM runs r WHERE r.state IN ('embedding', 'published') AND r.n_done <> ("
                "SELECT count(*) FROM batches b WHERE b.run_id = r.id AND b.state = 'done')"
            )[0][0],
            originals_missing=sum(
                not (self._originals / key).is_file()
                for (key,) in self.query(
                    "SELECT o.storage_key FROM originals o JOIN documents d ON d.id = o.document_id "
                    "WHERE d.lifecycle = 'active'"
                )
            ),
        )

    def settle(self, *, seconds: float) -> Findings:
        """Wait until nothing is wrong, or until the time is up; returns what is left."""
        deadline = time.monotonic() + seconds
        while True:
            findings = self.findings()
            if findings == CLEAN or time.monotonic() > deadline:
                return findings
            time.sleep(0.5)


CLEAN = Findings([], 0, 0, 0, 0, 0)
