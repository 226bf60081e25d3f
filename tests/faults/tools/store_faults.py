"""What can happen to the points in the vector store, done past the proxies and behind everybody's back."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psycopg
from faults.tools import processes

from sluice_local.stack import LocalStack

PUBLISHED = (
    "SELECT k.point_id FROM chunks k JOIN documents d ON d.published_run = k.run_id "
    "WHERE d.lifecycle = 'active' ORDER BY random() LIMIT %s"
)


class StoreFaults:
    """Losses of the vector store at *url*; each says whether it hit, which it cannot when the store is just away."""

    def __init__(self, stack: LocalStack, url: str, api_key: str, database_url: str) -> None:
        self._stack = stack
        self._folder = stack.home / "qdrant"
        self._url = url
        self._api_key = api_key
        self._database_url = database_url

    def lose_points(self, count: int) -> int:
        """Remove points of published runs; returns how many were there and are no more."""
        points, lost = self._published(count), 0
        with self._client() as client:
            for name in _collections(client) if points else []:
                here = _there(client, name, points)
                answer = client.post(f"/collections/{name}/points/delete?wait=true", json={"points": points})
                answer.raise_for_status()
                lost += here
        return lost

    def drop_collections(self) -> bool:
        """Remove every index, whole; whether there was one."""
        dropped = 0
        with self._client() as client:
            for name in _collections(client):
                client.delete(f"/collections/{name}").raise_for_status()
                dropped += 1
        return dropped > 0

    def fall_back(self, seconds: float) -> bool:
        """Die after *seconds*, and come back with the points of now."""
        with suppress(OSError):
            with self.falling_back():
                time.sleep(seconds)
            return True
        return False  # another fault changed the folder while it was copied

    @contextmanager
    def falling_back(self) -> Iterator[None]:
        """Come back after the `with` as it was before: later points are gone, and deleted ones are there again."""
        with tempfile.TemporaryDirectory(prefix="older-", dir=self._stack.home) as kept:
            older = Path(kept) / "data"
            with processes.stopped(self._stack, "qdrant"):
                shutil.copytree(self._folder, older)
            yield
            with processes.stopped(self._stack, "qdrant"):
                # by two renames, for another fault may start it again at this moment
                self._folder.rename(Path(kept) / "newer")
                older.rename(self._folder)
                processes.kill(self._stack, "qdrant")

    def _published(self, count: int) -> list[str]:
        with (
            suppress(psycopg.Error),
            psycopg.connect(self._database_url, autocommit=True, connect_timeout=3) as connection,
        ):
            return [str(row[0]) for row in connection.execute(PUBLISHED, [count])]
        return []

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        with (
            suppress(httpx.HTTPError),
            httpx.Client(base_url=self._url, headers={"api-key": self._api_key}, timeout=10) as client,
        ):
            yield client


def _there(client: httpx.Client, collection: str, points: list[str]) -> int:
    answer = client.post(f"/collections/{collection}/points", json={"ids": points}).raise_for_status()
    return len(answer.json()["result"])


def _collections(client: httpx.Client) -> list[str]:
    answer = client.get("/collections").raise_for_status()
    return [entry["name"] for entry in answer.json()["result"]["collections"]]
