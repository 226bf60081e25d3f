"""What the scaling rules make of a backlog: one that was recorded, and one that the replicas themselves work off."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from deploy.kubernetes.manifests import of_kind
from deploy.kubernetes.scaling import SYNC_S, Autoscaler
from pages import table_of

RECORDED = Path(__file__).parent / "backlog.tsv"
COLUMNS_OF = {
    "sluice-extractor": ("documents_waiting", "oldest_waiting_s"),
    "sluice-embedder": ("chunks_waiting", "oldest_embedding_s"),
}


BURSTS = [("sluice-extractor", 1000, 1), ("sluice-embedder", 100_000, 60)]
"""What comes at once, and how much of it one replica does in a second."""

HEADING_OF = {
    "sluice-extractor": "1,000 documents at once, one a second each",
    "sluice-embedder": "100,000 chunks at once, sixty a second each",
}


@pytest.fixture(params=COLUMNS_OF)
def scaled(request) -> str:
    return request.param


def autoscaler_of(name: str) -> Autoscaler:
    manifests = {manifest["metadata"]["name"]: manifest for manifest in of_kind("production", "ScaledObject")}
    return Autoscaler.of(manifests[name])


def recorded() -> list[dict[str, int]]:
    header, *lines = RECORDED.read_text("utf-8").splitlines()
    return [dict(zip(header.split("\t"), map(int, line.split("\t")), strict=True)) for line in lines]


@dataclass(frozen=True)
class Moment:
    second: int
    numbers: Sequence[float]
    replicas: int


def show(name: str, moments: Sequence[Moment]) -> None:
    """`pytest -s` prints how the replicas follow."""
    lines = [f"{name}", f"{'second':>8}{'waiting':>10}{'oldest s':>10}{'replicas':>10}"]
    lines += [
        f"{moment.second:>8}{moment.numbers[0]:>10.0f}{moment.numbers[1]:>10.0f}{moment.replicas:>10}"
        for moment in moments
    ]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


def follow(name: str, rows: list[dict[str, int]]) -> list[Moment]:
    """The replicas that a recorded backlog would have had; after its end nothing waits."""
    scaler, moments = autoscaler_of(name), []
    for second in range(0, len(rows) + 900, SYNC_S):
        numbers = [rows[second][column] if second < len(rows) else 0 for column in COLUMNS_OF[name]]
        moments.append(Moment(second, numbers, scaler.decide(second, numbers)))
    show(name, moments)
    return moments


def test_replicas_follow_a_recorded_backlog_and_come_back_to_one(scaled):
    moments = follow(scaled, recorded())

    assert moments[-1].replicas == 1
    if max(numbers[0] for numbers in (moment.numbers for moment in moments)) > autoscaler_of(scaled).thresholds[0] * 2:
        assert max(moment.replicas for moment in moments) > 1


def test_what_was_added_for_a_recorded_backlog_stays_for_the_next_burst_of_it(scaled):
    replicas = [moment.replicas for moment in follow(scaled, recorded()) if moment.second < len(recorded())]

    assert replicas == sorted(replicas)


def work_off(name: str, *, burst: int, per_replica_per_s: float, arriving_per_s: float = 0) -> list[Moment]:
    """A burst that the replicas themselves work off, first come, first served."""
    scaler, waiting, moments, oldest_s = autoscaler_of(name), float(burst), [], 0.0
    for second in range(0, 3600, SYNC_S):
        done = scaler.replicas * per_replica_per_s * SYNC_S
        waiting = max(waiting + arriving_per_s * SYNC_S - done, 0)
        oldest_s = (
            oldest_s + SYNC_S if waiting and second < 60 else waiting / max(scaler.replicas * per_replica_per_s, 1e-9)
        )
        moments.append(Moment(second, (waiting, oldest_s), scaler.decide(second, (waiting, oldest_s))))
    show(name, moments[:60])
    return moments


@pytest.mark.parametrize(("name", "burst", "rate"), BURSTS)
def test_a_burst_is_met_by_all_that_are_allowed_and_by_one_when_it_is_over(name, burst, rate):
    moments = work_off(name, burst=burst, per_replica_per_s=rate)
    replicas = [moment.replicas for moment in moments]

    assert max(replicas) == autoscaler_of(name).most
    assert moments[-1].numbers[0] == 0
    assert replicas[-1] == 1


@pytest.mark.parametrize(("name", "burst", "rate"), BURSTS)
def test_replicas_go_up_once_and_down_once(name, burst, rate):
    replicas = [moment.replicas for moment in work_off(name, burst=burst, per_replica_per_s=rate)]
    peak = replicas.index(max(replicas))

    assert replicas[: peak + 1] == sorted(replicas[: peak + 1])
    assert replicas[peak:] == sorted(replicas[peak:], reverse=True)


@pytest.mark.parametrize(("name", "burst", "rate"), BURSTS)
def test_no_replica_is_taken_away_that_what_waits_still_needs(name, burst, rate):
    threshold = autoscaler_of(name).thresholds[0]
    moments = [*work_off(name, burst=burst, per_replica_per_s=rate), *follow(name, recorded())]

    for before, after in pairwise(moments):
        if after.replicas < before.replicas:
            assert after.replicas * threshold >= after.numbers[0], after


@pytest.mark.parametrize(("name", "burst", "rate"), BURSTS)
def test_the_page_shows_what_the_rules_make_of_a_burst(name, burst, rate):
    moments = work_off(name, burst=burst, per_replica_per_s=rate)
    shown = [moment for moment in moments if moment.second % 60 == 0]
    last = next(at for at, moment in enumerate(shown) if moment.second > 0 and moment.replicas == 1)

    assert table_of("docs/howto/run-on-kubernetes.md", HEADING_OF[name]) == [
        (f"{moment.second // 60} min", f"{moment.numbers[0]:,.0f}", str(moment.replicas))
        for moment in shown[: last + 1]
    ]


def test_few_documents_that_take_long_are_noticed_by_their_age():
    scaler = autoscaler_of("sluice-extractor")
    for second in range(0, 300, SYNC_S):
        replicas = scaler.decide(second, (3, second))

    assert replicas >= 5


def test_nothing_is_added_for_a_moment_of_waiting(scaled):
    scaler = autoscaler_of(scaled)

    assert {scaler.decide(second, (1, 2)) for second in range(0, 300, SYNC_S)} == {1}
