"""Everything breaks while documents go through: nothing is lost, stuck, double, foreign or left over."""

import os
import signal
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import system
from faults.driver import ENDLESS, SETTINGS, FaultRun, Outcome, Size, keep_story
from faults.provider import FaultyProvider
from faults.tools import processes
from faults.tools.rig import LEASE_S, Rig
from faults.tools.tally import Tally
from oracle import Oracle, wait_until

from sluice_client import SluiceClient
from sluice_extractor.isolation import LOSSES_BEFORE_ALONE
from sluice_local.stack import LocalStack

SEED = int(os.environ.get("SEED", "20261120"))
FAULTS = int(os.environ.get("FAULTS", "0"))
"""Each kind strikes at least once, however few faults are asked for."""
IS_LONG = FAULTS >= 1000
DOCUMENTS = int(os.environ.get("DOCUMENTS", "100"))
SIZE = Size(FAULTS, DOCUMENTS, clients=8, is_by_family=True, chances=20) if IS_LONG else Size(FAULTS, DOCUMENTS)
MAX_TRIES = 3
MAX_LOSSES = 4
STORIES = Path(__file__).parents[2] / "build"
FEWEST_SEEN = {
    "documents read": 50,
    "searches that found something": 50,
    "answers compared with what is published": 50,
    "searches for what is deleted": 5,
    "deleted documents asked for": 10,
    "lists": 10,
    "answers of errors": 50,
    "lines of metrics": 500,
    "served documents searched for at the end": 20,
    "deleted documents searched for at the end": 5,
    **({"failed or cancelled with an older version": 10, "late work that was refused": 10} if IS_LONG else {}),
}
"""So often a run must have judged each: a gateway that refuses or forgets everything would break no other promise."""
MOST_NEVER_HIT = 0.1
"""Of all kinds: in a short run some find nothing each time, as a child to kill."""


@pytest.fixture
def rig(tmp_path) -> Iterator[Rig]:
    with FaultyProvider() as provider, Rig(tmp_path, seed=SEED, provider=provider, environment=SETTINGS) as rig:
        yield rig


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[LocalStack]:
    """One of each service, with short leases, so that what is lost comes back within seconds."""
    environment = system(
        SLUICE_TIMES__LEASE_S=str(LEASE_S),
        SLUICE_TIMES__MAX_TRIES=str(MAX_TRIES),
        SLUICE_TIMES__MAX_LOSSES=str(MAX_LOSSES),
    )
    with LocalStack(tmp_path_factory.mktemp("faults"), environment=environment) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture
def client(stack) -> Iterator[SluiceClient]:
    with SluiceClient(stack.url, stack.api_key) as client:
        yield client


@pytest.mark.timeout(6 * 3600 if IS_LONG else 900)
def test_every_part_may_break_at_any_moment_and_every_promise_is_kept(rig, figures, capsys):
    def say(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    say(f"\nseed {SEED}")
    for reason in rig.left_out:
        say(f"left out: {reason}")
    outcome = FaultRun(rig, SIZE, say=say).run()

    for line in [*rig.tally.lines(), *_lines_of(outcome)]:
        say(line)
    _note(outcome, rig.tally, figures)
    if outcome.violations:
        pytest.fail(
            f"a promise was broken; the whole story: {keep_story(outcome, SEED, STORIES)}\n{outcome.story}",
            pytrace=False,
        )
    too_few = {what: outcome.seen[what] for what, least in FEWEST_SEEN.items() if outcome.seen[what] < least}
    assert too_few == {}, "promises were kept where nobody looked"
    never_hit = [kind.name for kind in outcome.kinds if not rig.tally.hits[kind.name]]
    assert len(never_hit) <= (0 if IS_LONG else MOST_NEVER_HIT * len(outcome.kinds)), never_hit
    assert outcome.unmet == []


@pytest.mark.timeout(600)
def test_a_document_that_crashes_its_reader_costs_its_own_tries_and_nobody_elses(stack, client, figures):
    oracle = Oracle(stack)
    extractor = stack.pid_of("extractor")

    good = _upload_good(client, 25)
    bomb = client.upload(inflating_pdf(), name="bomb.pdf").id
    good += _upload_good(client, 25)
    ended = client.wait(bomb, timeout_s=90)
    wait_until(lambda: not oracle.unfinished(), seconds=60, message="the bomb keeps something unfinished")

    assert (ended.status, ended.tries) == ("failed", MAX_TRIES)
    assert ended.error.code in ("extractor_crashed", "extractor_out_of_memory", "extraction_timeout")
    assert {client.get(document_id).status for document_id in good} == {"ready"}
    assert stack.pid_of("extractor") == extractor, "the worker was restarted"
    seconds = (ended.finished_at - ended.created_at).total_seconds()
    figures.note(
        5,
        f"a document that kills its child: {ended.error.code} after {ended.tries} tries and {seconds:.1f} s; 50 ready",
    )


@pytest.mark.timeout(600)
def test_a_document_at_which_the_whole_worker_dies_each_time_is_given_up_after_its_losses(stack, client, figures):
    oracle = Oracle(stack)
    poison = client.upload(long_text(), name="poison.txt").id
    good = _upload_good(client, 20)
    killed = 0

    def has_ended() -> bool:
        nonlocal killed
        ((state, losses),) = oracle.query("SELECT state, losses FROM documents WHERE id = %s", _uuid_of(poison))
        if state == "extracting" and losses == killed:  # not before the last loss was noticed
            processes.kill(stack, "extractor")
            killed += 1
        return state in ("failed", "completed")

    wait_until(has_ended, seconds=240, message=lambda: f"killed {killed} times: {oracle.unfinished()}")
    wait_until(lambda: not oracle.unfinished(), seconds=60, message="something is still unfinished")

    ended = client.get(poison)
    assert (ended.status, ended.error and ended.error.code) == ("failed", "extractor_crashed")
    ((losses, tries),) = oracle.query("SELECT losses, tries FROM documents WHERE id = %s", _uuid_of(poison))
    assert (losses, tries, killed) == (MAX_LOSSES, 0, MAX_LOSSES)
    assert [document for document in map(client.get, good) if document.status != "ready"] == []
    ((most,),) = oracle.query("SELECT max(losses) FROM documents WHERE id <> %s", _uuid_of(poison))
    assert most <= LOSSES_BEFORE_ALONE, "it was read beside others still"
    seconds = (ended.finished_at - ended.created_at).total_seconds()
    figures.note(
        5,
        f"a document whose whole worker dies each time: given up after {losses} losses and {seconds:.1f} s; 20 ready",
    )


def test_a_worker_that_is_told_to_stop_hands_its_work_back_without_a_try_or_a_loss(stack, client):
    oracle = Oracle(stack)
    sent = _upload_good(client, 5)
    for name in ("extractor", "embedder", "reconciler"):
        stopped = stack.pid_of(name)
        sent += _upload_good(client, 10)
        stack.kill(name, signal.SIGTERM)
        sent += _upload_good(client, 10)
        wait_until(lambda: stack.pid_of(name) != stopped, seconds=60, message=f"{name} does not stop")  # noqa: B023 - called at once
    wait_until(lambda: not oracle.unfinished(), seconds=60, message=lambda: f"still unfinished: {oracle.unfinished()}")

    numbers = [_uuid_of(document_id) for document_id in sent]
    rows = oracle.query("SELECT max(tries), sum(losses) FROM documents WHERE id = ANY(%s::uuid[])", numbers)
    assert rows == [(1, 0)]


def _note(outcome: Outcome, tally: Tally, figures) -> None:
    scope = f"{outcome.hits} faults of {len(tally.hits)} kinds, {outcome.documents} documents"
    lost, stuck = outcome.number("nothing accepted is lost"), outcome.number("nothing is stuck")
    late = outcome.number(ENDLESS)
    missing, orphans = outcome.number("missing_points is zero"), outcome.number("orphan_points is zero")
    figures.note(1, f"{scope}: lost {lost}")
    figures.note(
        2, f"{scope}: stuck {stuck}, unfinished {late}; terminal {outcome.terminal_s:.1f} s after the last fault"
    )
    figures.note(
        3, f"{scope}: missing {missing}, orphans {orphans}; all agreed {outcome.clean_s:.1f} s after the last fault"
    )


def _lines_of(outcome: Outcome) -> list[str]:
    return [
        *(f"{what}: {count}" for what, count in sorted(outcome.counts.items())),
        *(f"seen: {what}: {count}" for what, count in sorted(outcome.seen.items())),
    ]


def _upload_good(client: SluiceClient, count: int) -> list[str]:
    return [client.upload(f"Good neighbour {os.urandom(8).hex()}.".encode(), name="good.txt").id for _ in range(count)]


def _uuid_of(document_id: str) -> str:
    return document_id.removeprefix("doc_")


def long_text() -> bytes:
    """Takes a second or so to read, so that there is time to kill who reads it."""
    return b"".join(b"The barge %d passes the lock at dusk.\n\n" % number for number in range(250_000))


def inflating_pdf() -> bytes:
    """One page whose content inflates to a gibibyte."""
    packer = zlib.compressobj(9)
    block = b"BT /F1 12 Tf (x) Tj ET\n" * 45_000
    stream = b"".join(packer.compress(block) for _ in range(1024)) + packer.flush()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 100 100]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    body, offsets = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj%s endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % len(body)
    return body + b"xref\n0 6\n0000000000 65535 f \n" + table + trailer
