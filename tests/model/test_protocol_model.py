"""The protocol as a state model: every interleaving for one document keeps the promises, and each protection counts."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from model.checker import Exploration, explore
from model.protections import ONLY_SAVE_WORK, Protection
from model.rules import Rules, Step
from model.scenarios import ONLY_SAVED_WORK, PLANTS, SMALL, Plant
from model.world import World

from sluice_common import batches, collections, documents, hits, reconciling
from sluice_common.status import BATCH_MOVES, MOVES, RUN_MOVES

pytestmark = pytest.mark.timeout(1800)  # half a minute on an idle core, and many times that on a busy one

TABLES = {"document": MOVES, "run": RUN_MOVES, "batch": BATCH_MOVES}


@pytest.fixture(scope="module")
def explored() -> list[Exploration]:
    return [explore(rules) for rules in SMALL]


def test_no_interleaving_of_a_small_world_breaks_a_promise(explored):
    for exploration in explored:
        assert exploration.broken is None, exploration.story()


def test_the_model_makes_exactly_the_moves_of_the_status_tables(explored):
    for table, allowed in TABLES.items():
        assert _made(explored, table) == {(old, new) for old, news in allowed.items() for new in news}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.rules.name)
def test_a_protection_that_is_left_out_is_missed(plant: Plant):
    exploration = explore(plant.rules)

    assert exploration.broken is not None, f"the model does not miss: {plant.protection.value}"
    assert exploration.broken.startswith(plant.broken), exploration.story()


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.rules.name)
def test_the_same_world_keeps_its_promises_with_the_protection(plant: Plant):
    with_it = replace(plant.rules, without=plant.rules.without - {plant.protection})

    exploration = explore(with_it)

    assert exploration.broken is None, exploration.story()


def test_every_statement_that_the_model_names_is_there():
    assert _named() <= set(_statements())


def test_every_statement_that_moves_a_state_is_in_the_model():
    moving = {
        name for name, text in _statements().items() if re.search(r"SET (state|lifecycle) =|lifecycle = CASE", text)
    }

    assert moving <= _named()


def test_every_protection_is_left_out_once():
    assert {plant.protection for plant in PLANTS} == frozenset(Protection) - ONLY_SAVE_WORK


def test_what_only_saves_work_can_be_left_out():
    exploration = explore(replace(ONLY_SAVED_WORK, without=ONLY_SAVE_WORK))

    assert exploration.broken is None, exploration.story()


def test_a_broken_promise_is_told_by_its_moves():
    plant = next(plant for plant in PLANTS if plant.protection is Protection.SECOND_COLLECTION)

    story = explore(plant.rules).story()

    assert story.splitlines()[0].startswith("BROKEN: the store has the points of batch 0 of run 1")
    assert "  1. claim extraction: run 1" in story


def test_work_that_goes_round_for_ever_is_told(monkeypatch):
    def turn(world: World, _rules):
        yield Step("turn", world.with_document(content=3 - world.document.content))

    monkeypatch.setattr("model.checker.SERVICES", (turn,))

    assert explore(Rules("round")).broken == "the work goes round for ever"


def _made(explored: list[Exploration], table: str) -> set[tuple[str, str]]:
    return set().union(*(exploration.moves[table] for exploration in explored))


def _statements() -> dict[str, str]:
    found: dict[str, str] = {}
    for module in (batches, collections, documents, hits, reconciling):
        for name, value in vars(module).items():
            if isinstance(value, sa.TextClause | str) and re.fullmatch(r"_[A-Z][A-Z_]+", name):
                found[name] = found.get(name, "") + str(value)
    return found


def _named() -> set[str]:
    modules = Path(__file__).parent.glob("*.py")
    return {name for module in modules for name in re.findall(r"`(_[A-Z_]+)`", module.read_text(encoding="utf-8"))}
