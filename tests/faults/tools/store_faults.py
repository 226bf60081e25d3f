"""What can happen to the points in the vector store, done past the proxies and behind everybody's back."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import psycopg

PUBLISHED = (
    "SELECT k.point_id FROM chunks k JOIN documents d ON d.published_run = k.run_id "
    "WHERE d.lifecycle = 'active' ORDER BY random() LIMIT %s"
)


class StoreFaults:
    """Losses of the vector store at *url*; each is silent when it is just away."""

    def __init__(self, url: str, api_key: str, database_url: str) -> None:
        self._url = url
        self._api_key = api_key
        self._database_url = database_url

    def lose_points(self, count: int) -> int:
        """Remove points of published runs; returns how many were asked for."""
        points = self._published(count)
        with self._client() as client:
            for name in _collections(client):
                answer = client.post(f"/collections/{name}/points/delete?wait=true", json={"points": points})
                answer.raise_for_status()
        return len(points)

    def drop_collections(self) -> bool:
        """Remove every index, whole; whether there was one."""
        names: list[str] = []
        with self._client() as client:
            names = _collections(client)
            for name in names:
                client.delete(f"/collections/{name}").raise_for_status()
        return bool(names)

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


def _collections(client: httpx.Client) -> list[str]:
    answer = client.get("/collections").raise_for_status()
    return [entry["name"] for entry in answer.json()["result"]["collections"]]
