"""What the probes promise, over the real gateway and parts that can be taken away."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from sluice_api import checks
from sluice_api.checks import KEPT_S, Check, Readiness
from sluice_common.errors import DatabaseUnavailable, VectorStoreUnavailable

pytest_plugins = ("contracts.vector_fixtures", "contracts.gateway_parts")


def away(error: Exception):
    def ping() -> None:
        raise error

    return ping


def fine() -> None:
    pass


def report_of(*parts: Check):
    return asyncio.run(Readiness(parts).report())


def ready_answer(gateway, status: str) -> httpx.Response:
    """What `/readyz` says once the answer it keeps is forgotten."""
    deadline = time.monotonic() + 10 * KEPT_S
    while True:
        answer = httpx.get(f"{gateway.url}/readyz", trust_env=False, timeout=60)
        if answer.json()["status"] == status:
            return answer
        assert time.monotonic() < deadline, answer.text


def test_liveness_asks_nobody_and_needs_no_key(gateway):
    answer = httpx.get(f"{gateway.url}/livez", trust_env=False, timeout=60)

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_readiness_names_every_part_and_needs_no_key(gateway):
    answer = ready_answer(gateway, "ok")

    assert answer.status_code == 200
    assert answer.json()["checks"] == {
        name: {"ok": True, "detail": "ok"} for name in ("database", "objects", "vectors", "queue")
    }


def test_without_the_queue_it_is_degraded_and_ready(gateway):
    gateway.queue.is_away = True

    answer = ready_answer(gateway, "degraded")

    assert answer.status_code == 200
    assert answer.json()["checks"]["queue"] == {"ok": False, "detail": "unavailable"}


@pytest.mark.parametrize("name", ["database", "objects", "vectors"])
def test_without_a_part_it_needs_it_is_not_ready(name):
    names = ("database", "objects", "vectors")
    parts = [Check(one, away(VectorStoreUnavailable("10.0.0.7:6333")) if one == name else fine) for one in names]

    report = report_of(*parts, Check("queue", fine, is_needed=False))

    assert (report.status, report.is_ready) == ("unavailable", False)
    assert [one for one, found in report.findings.items() if not found.is_ok] == [name]


def test_a_detail_never_tells_an_address_or_an_exceptions_text(monkeypatch):
    monkeypatch.setattr(checks, "TIMEOUT_S", 30)

    report = report_of(
        Check("database", away(DatabaseUnavailable("postgresql://user:secret@10.0.0.7"))),
        Check("objects", away(RuntimeError("secret"))),
    )

    assert [found.detail for found in report.findings.values()] == ["store_unavailable", "internal"]


def test_a_part_that_hangs_is_given_up_and_not_asked_once_more(monkeypatch):
    monkeypatch.setattr(checks, "TIMEOUT_S", 0.3)
    released, asked = threading.Event(), []

    def hang() -> None:
        asked.append(1)
        released.wait(30)

    async def ask_twice() -> list[str]:
        readiness = Readiness([Check("vectors", hang), Check("database", fine)])
        first = await readiness.report()
        readiness._reported_at = 0.0
        second = await readiness.report()
        released.set()
        return [report.findings[name].detail for report in (first, second) for name in ("vectors", "database")]

    assert asyncio.run(ask_twice()) == ["no_answer", "ok", "no_answer", "ok"]
    assert len(asked) == 1


def test_many_probes_ask_the_parts_once():
    asked = []

    async def ask_often() -> None:
        readiness = Readiness([Check("database", lambda: asked.append(1))])
        await asyncio.gather(*(readiness.report() for _ in range(50)))

    asyncio.run(ask_often())

    assert len(asked) == 1


def test_metrics_are_not_served_here(gateway):
    with ThreadPoolExecutor(4) as pool:
        statuses = set(
            pool.map(lambda _: httpx.get(f"{gateway.url}/metrics", trust_env=False, timeout=60).status_code, range(4))
        )

    assert statuses == {401}
