"""Every move, in any order, by anybody who ever had the right to it: no order breaks what must always hold."""

import os
import sys
import time
from collections.abc import Iterator
from uuid import UUID

import hypothesis
import pytest
from faults.protocol.world import World
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sluice_common.database import open_database
from sluice_common.documents import Setback
from sluice_common.settings import DatabaseSettings

SEED = int(os.environ.get("SEED", "20261120"))
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
EXAMPLES, STEPS = {"ci": (200, 40), "planted": (60, 40), "long": (2000, 60)}[PROFILE]

SETTINGS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    database=None,  # the seed repeats a run, and nothing else is to
    phases=[Phase.generate] if PROFILE == "planted" else [Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)

SOMETIMES = {
    "accept: replaced", "accept: retried", "cancel: yes", "delete: yes", "reprocess: yes", "embed_again: yes",
    "heartbeat: stale", "forward: yes", "forward: stale", "finish extraction: verifying", "finish extraction: stale",
    "fail extraction: queued", "fail extraction: failed", "finish batch: verify", "finish batch: stale",
    "defer batch: stale", "fail batch: yes", "publish: published", "publish: reopened", "publish: stale",
    "publish by count: published", "repair: reopened", "collected", "purged",
}  # fmt: skip
"""What must have happened in some example of a long run, else the examples try too little."""

TENANTS = st.integers(0, 1)
STARTS = ["queued", "extracting", "embedding", "verifying", "completed", "repairing"]
WISHES = ["cancel", "delete", "reprocess", "reprocess", "embed_again", "look"]
SETBACKS = st.sampled_from(
    [Setback("corrupt", is_permanent=True), Setback("extractor_crashed", costs_a_try=True), Setback("released")]
)


class EveryOrder(RuleBasedStateMachine):
    """Rules are moves; what was handed out once stays in its bundle for ever, however stale."""

    documents = Bundle("documents")
    runs = Bundle("runs")
    claims = Bundle("claims")
    sights = Bundle("sights")
    pages = Bundle("pages")

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        world.begin()

    def moved(self, *documents: UUID) -> None:
        """Look at everything; nobody's rows but these documents' may have changed."""
        self.world.check(frozenset(documents))

    def moved_any(self) -> None:
        self.world.check(None)

    @initialize(target=documents, starts=st.tuples(st.sampled_from(STARTS), st.sampled_from(STARTS)))
    def two_documents_of_two_tenants(self, starts):
        owned = []
        for tenant, start in enumerate(starts):
            owned.append(self.world.accept(tenant, 0, "a", "return"))
            self.moved_any()
            self.world.bring(owned[-1].document_id, start)
            self.moved_any()
        return multiple(*owned)

    # users

    @rule(
        target=documents,
        tenant=TENANTS,
        content=st.integers(0, 2),
        external_id=st.sampled_from(["a", None]),
        on_duplicate=st.sampled_from(["replace", "return"]),
    )
    def accept(self, tenant, content, external_id, on_duplicate):
        owned = self.world.accept(tenant, content, external_id, on_duplicate)
        if owned is None:
            self.moved()
            return multiple()
        self.moved(owned.document_id)
        return owned

    @rule(owned=documents, by=TENANTS, wish=st.sampled_from(WISHES))
    def ask(self, owned, by, wish):
        getattr(self.world, wish)(owned, by)
        self.moved(*[owned.document_id] * (by == owned.tenant))

    # extractors

    @rule(target=runs, owned=documents)
    def claim_extraction(self, owned):
        token = self.world.claim_extraction(owned.document_id)
        self.moved(owned.document_id)
        return multiple() if token is None else token

    @rule(token=runs, owned=documents, is_its_own=st.booleans(), pages=st.integers(0, 4))
    def heartbeat(self, token, owned, is_its_own, pages):
        document_id = token.document_id if is_its_own else owned.document_id
        self.world.heartbeat(document_id, token.run_id, pages)
        self.moved(document_id)

    @rule(token=runs, size=st.integers(1, 2))
    def forward(self, token, size):
        self.world.forward(token, size)
        self.moved(token.document_id)

    @rule(token=runs, sizes=st.lists(st.integers(1, 2), max_size=2))
    def finish_extraction(self, token, sizes):
        self.world.finish_extraction(token, sizes)
        self.moved(token.document_id)

    @rule(token=runs, setback=SETBACKS)
    def fail_extraction(self, token, setback):
        self.world.fail_extraction(token, setback)
        self.moved(token.document_id)

    # embedders

    @rule(target=runs, owned=documents)
    def hear_of_runs(self, owned):
        return multiple(*self.world.runs_of(owned.document_id))

    @rule(target=claims, token=runs)
    def claim_batches(self, token):
        claims = self.world.claim_batches(token.run_id)
        self.moved(token.document_id)
        return multiple(*claims)

    @rule(claim=claims)
    def upsert(self, claim):
        self.world.upsert(claim)

    @rule(claim=claims, is_stored=st.booleans())
    def finish_batch(self, claim, is_stored):
        if is_stored:
            self.world.upsert(claim)
        self.world.finish_batch(claim)
        self.moved(claim.document_id)

    @rule(claim=claims, how=st.sampled_from(["defer", "defer", "give back", "fail"]))
    def give_up_batch(self, claim, how):
        if how == "fail":
            self.world.fail_batch(claim)
        else:
            self.world.defer_batch(claim, costs_a_try=how == "defer")
        self.moved(claim.document_id)

    @rule(target=sights, token=runs)
    def look_at_points(self, token):
        return self.world.look_at_points(token)

    @rule(sight=sights)
    def publish(self, sight):
        self.world.publish(sight)
        self.moved(sight.document_id)

    @rule(token=runs)
    def verify(self, token):
        self.world.verify(token)
        self.moved(token.document_id)

    @rule()
    def work_honestly(self):
        self.world.work_honestly()
        self.moved_any()

    # the reconciler

    @rule(which=st.sampled_from(["reap", "fail_exhausted", "fail_overdue", "dispatch", "extend_deadlines", "audit"]))
    def reconcile(self, which):
        getattr(self.world, which)()
        self.moved_any()

    @rule(run=st.sampled_from(["one", "two"]), seq=st.integers(0, 3))
    def notice_epoch(self, run, seq):
        self.world.anyone.reconciling.notice_epoch(lambda: (run, seq))
        self.moved_any()

    @rule(which=st.sampled_from(["collect", "purge"]))
    def collect(self, which):
        getattr(self.world, which)(lambda: None)
        self.moved_any()

    @rule(
        which=st.sampled_from(["collect", "purge"]),
        claim=claims,
        sight=sights,
        then=st.sampled_from(["upsert", "finish", "publish"]),
    )
    def collect_while_others_go_on(self, which, claim, sight, then):
        self.world.let_timers_pass()
        getattr(self.world, which)(lambda: self._meanwhile(then, claim, sight))
        self.moved_any()

    @rule(target=pages)
    def read_page(self):
        return self.world.points.page_of_points()[0]

    @rule(page=pages)
    def remove_orphans(self, page):
        self.world.remove_orphans(page)
        self.moved()

    @rule(sight=sights)
    def repair(self, sight):
        self.world.repair(sight)
        self.moved(sight.document_id)

    # fate

    @rule(which=st.sampled_from(["let_leases_expire", "let_leases_jump", "let_timers_pass"]))
    def time_passes(self, which):
        getattr(self.world, which)()
        self.moved_any()

    @rule(owned=documents)
    def deadline_passes(self, owned):
        self.world.let_deadline_pass(owned.document_id)
        self.moved(owned.document_id)

    @precondition(lambda self: self.world.points.run_of)
    @rule(number=st.integers(0, 9))
    def points_are_lost(self, number):
        if number == 0:
            self.world.lose_all_points()
        else:
            self.world.lose_point(number)

    def teardown(self):
        if sys.exception() is None:  # else it would hide what was found
            self.world.settle()

    def _meanwhile(self, then, claim, sight) -> None:
        batches = self.world.anyone.batches
        if then == "upsert":
            self.world.upsert(claim)
        elif then == "finish":
            batches.finish(claim)
        else:
            batches.publish(sight.document_id, sight.run_id, model="m", dimensions=8, present=sight.present)


@pytest.fixture(scope="module")
def world(new_database_url) -> Iterator[World]:
    url = new_database_url()
    database = open_database(DatabaseSettings(url=url), application="every-order")
    world = World(database, url)
    yield world
    world.close()
    database.close()


@pytest.mark.timeout(7200)
def test_no_order_of_moves_breaks_what_must_always_hold_and_all_comes_to_rest(world, figures):
    print(f"seed {SEED}, {EXAMPLES} examples of at most {STEPS} moves")  # noqa: T201 - shown when it fails
    began = time.monotonic()

    run_state_machine_as_test(hypothesis.seed(SEED)(lambda: EveryOrder(world)), settings=SETTINGS)

    refused = sum(count for outcome, count in world.happened.items() if outcome.endswith("stale"))
    assert PROFILE != "long" or set(+world.happened) >= SOMETIMES, SOMETIMES - set(+world.happened)
    figures.note(
        2,
        f"{EXAMPLES} random orders of up to {STEPS} moves in {time.monotonic() - began:.0f} s (seed {SEED}): nothing "
        f"broken, {refused} moves with a lost token without effect, all came to rest",
    )
