"""The rig as a whole: everything goes through the proxies, every fault hits what it names, and the stack comes back."""

import random
import threading
import time
from collections.abc import Iterator

import psutil
import psycopg
import pytest
from faults.kinds import DROP, Kind, kinds
from faults.tools import processes
from faults.tools.proxy_server import Weather
from faults.tools.rig import Rig
from faults.tools.store_faults import StoreFaults
from faults.tools.tally import UNSEEN, Tally
from oracle import CLEAN, Oracle, wait_until

from sluice_client import SluiceClient

SEED = 20261120
ONE_OF_EACH = {"embedder": 2}


@pytest.fixture(scope="module")
def rig(tmp_path_factory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig"), seed=SEED, scale=ONE_OF_EACH) as running:
        yield running


@pytest.fixture(scope="module")
def oracle(rig) -> Oracle:
    return Oracle(rig)


@pytest.fixture(scope="module")
def all_kinds(rig) -> dict[str, Kind]:
    return {kind.name: kind for kind in kinds(rig, random.Random(SEED))}


@pytest.fixture(scope="module")
def published(rig, oracle) -> list[str]:
    """Some documents that are ready."""
    with SluiceClient(rig.urls[0], rig.stack.api_key) as client:
        ids = [client.upload(f"Document {number} of the rig.".encode(), name=f"{number}.txt").id for number in range(8)]
    wait_until(lambda: not oracle.unfinished(), seconds=120, message="the documents do not get ready")
    return ids


def test_every_service_talks_to_every_part_through_a_proxy(rig, published):
    pieces = {name: count["pieces"] for name, count in rig.proxies.named().counts().items()}

    silent = [name for name, count in pieces.items() if not count]
    assert not [name for name in silent if name.endswith((":postgres", ":redis"))]
    # of two embedders, one may have had all the work
    assert any(count for name, count in pieces.items() if name.startswith("embedder") and name.endswith(":qdrant"))
    assert any(count for name, count in pieces.items() if name.startswith("embedder") and name.endswith(":embeddings"))


def test_what_looks_past_the_proxies_does_not_feel_the_weather(rig, oracle, published):
    with rig.proxies.named().weather(Weather(refuse=True)):
        rig.proxies.named().cut()
        assert oracle.query("SELECT 1") == [(1,)]
        assert oracle.points()

    rig.stack.wait_until_ready()


def test_a_frozen_service_stands_still_and_goes_on_as_the_same_process(rig):
    pid = rig.stack.pid_of("embedder")
    striking = threading.Thread(target=processes.freeze, args=(rig.stack, "embedder", 1))
    striking.start()
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, seconds=10, message="it is not frozen")
    striking.join()

    assert rig.stack.pid_of("embedder") == pid
    assert psutil.Process(pid).status() != psutil.STATUS_STOPPED


def test_a_killed_fork_server_is_replaced_and_its_extractor_lives_on(rig, oracle):
    extractor, before = rig.stack.pid_of("extractor"), processes.fork_server_of(rig.stack, "extractor")

    assert processes.kill_fork_server(rig.stack, "extractor")
    with SluiceClient(rig.urls[0], rig.stack.api_key) as client:
        client.upload(b"Read by the next one.", name="next.txt")

    wait_until(lambda: not oracle.unfinished(), seconds=120, message="nobody reads the document")
    assert rig.stack.pid_of("extractor") == extractor
    assert processes.fork_server_of(rig.stack, "extractor").pid != before.pid


def test_there_is_no_child_to_kill_where_nothing_is_read(rig, oracle):
    wait_until(lambda: not oracle.unfinished(), seconds=120, message="something is still read")

    assert not processes.kill_child(rig.stack, "extractor", random.Random(1))


def test_lost_points_are_gone_and_the_audit_brings_them_back(rig, oracle, published):
    assert rig.store.lose_points(3) == 3

    assert oracle.settle(seconds=120) == CLEAN


def test_a_dropped_collection_is_made_again_and_filled_from_the_table(rig, oracle, published):
    assert rig.store.drop_collections()
    wait_until(lambda: len(oracle.points()) < len(oracle.chunks()), seconds=10, message="nothing is missing")

    assert oracle.settle(seconds=120) == CLEAN


def test_every_clock_of_the_rig_can_be_set_and_a_calm_one_is_right(rig):
    for name, clock in rig.clocks.items():
        clock.set(3600)
        assert name in {"postgres", "embedder2"}
    seen = now_of(rig)
    rig.calm()

    assert 3500 < seen - time.time() < 3700
    assert abs(now_of(rig) - time.time()) < 60


def test_kinds_have_names_of_their_own_and_enough_of_them(rig, all_kinds):
    made = kinds(rig, random.Random(SEED))

    assert len(all_kinds) == len(made) >= 60
    assert {"kill the postmaster", "wipe redis", "partition postgres", DROP, "kill a child"} <= set(all_kinds)


def test_a_strike_is_counted_with_the_states_of_the_documents_it_met(rig, all_kinds, published):
    all_kinds["cut redis clients"].strike()

    assert rig.tally.hits["cut redis clients"] == 1
    assert rig.tally.met["cut redis clients", "completed"] == 1
    assert rig.tally.met_in("completed") >= 1
    assert "cut redis clients: 1 hit, completed 1" in rig.tally.lines()


def test_a_strike_that_finds_nothing_is_no_hit_and_has_met_no_document(rig, all_kinds, oracle):
    wait_until(lambda: not oracle.unfinished(), seconds=120, message="something is still read")

    assert not all_kinds["kill a child"].strike()

    assert (rig.tally.hits["kill a child"], rig.tally.missed["kill a child"]) == (0, 1)
    assert not [state for kind, state in rig.tally.met if kind == "kill a child"]
    assert "kill a child: 0 hit (1 found nothing)" in rig.tally.lines()


def test_what_the_store_refused_to_lose_is_not_lost(rig, published):
    store, database = rig.settings["SLUICE_QDRANT__URL"], rig.settings["SLUICE_DATABASE__URL"]
    refused = StoreFaults(rig.stack, store, "a wrong key", database)

    assert (refused.lose_points(3), refused.drop_collections()) == (0, False)


def test_a_strike_while_the_database_is_away_is_counted_too():
    tally = Tally("postgresql://nobody@127.0.0.1:1/nothing")

    tally.note("kill api", tally.states(), is_hit=True)

    assert tally.met["kill api", UNSEEN] == 1


def test_the_states_that_were_met_are_told_apart_by_kind():
    tally = Tally("postgresql://nobody@127.0.0.1:1/nothing")

    tally.note("kill api", ["queued"], is_hit=True)
    tally.note("wipe redis", ["queued", "embedding"], is_hit=True)
    tally.note("wipe redis", ["verifying"], is_hit=False)

    assert (tally.met_in("queued"), tally.met_in("verifying")) == (2, 0)
    assert (tally.met_in("embedding", ["kill api"]), tally.met_in("embedding", ["wipe redis"])) == (0, 1)


def test_the_stack_is_whole_at_the_end(rig, oracle):
    rig.stack.wait_until_ready()

    assert oracle.settle(seconds=120) == CLEAN


def now_of(rig: Rig) -> float:
    with psycopg.connect(rig.settings["SLUICE_DATABASE__URL"], autocommit=True) as connection:
        return connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()[0]
