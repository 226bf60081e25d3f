"""One protection after the other is taken away; the tests that are said to notice must notice."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from faults.planted.bugs import BUGS, ORDERS, Bug
from faults.planted.garden import VERDICTS, Garden
from faults.planted.planting import NAME, SERVER, TEMPLATE

IS_WHOLE = os.environ.get("PLANTED") in {"all", "first"}
THOROUGH = os.environ.get("PLANTED") == "all"
"""Every detector of every bug instead of the first one that notices."""

THIRD = int(os.environ.get("SEED", "0")) % 3
TRIED = {name: bug for at, (name, bug) in enumerate(BUGS.items()) if IS_WHOLE or at % 3 == THIRD}
"""A third of the bugs, which the seed chooses, unless all are wanted."""

pytestmark = [pytest.mark.planted, pytest.mark.timeout(1800)]


@pytest.fixture(scope="session")
def garden(new_database_url, tmp_path_factory, request) -> Iterator[Garden]:
    """Tries out every bug that is asked for in this run."""
    server, _, template = new_database_url().rpartition("/")
    surroundings = {name: value for name, value in os.environ.items() if name != NAME}
    known = {"HYPOTHESIS_PROFILE": "planted", SERVER: f"{server}/postgres", TEMPLATE: template}
    garden = Garden(tmp_path_factory.mktemp("planted"), surroundings | known, is_thorough=THOROUGH)
    request.config.stash[VERDICTS] = garden.verdicts
    asked_for = [item.callspec.params["bug"] for item in request.session.items if garden_is_used_by(item)]
    garden.plant([(bug, chosen(bug)) for bug in asked_for])
    yield garden
    garden.close()


def garden_is_used_by(item) -> bool:
    return "garden" in item.fixturenames and hasattr(item, "callspec")


def chosen(bug: Bug) -> tuple[str, ...]:
    """Its detectors; without the long one where a quick one is there, unless all are wanted."""
    quick = tuple(detector for detector in bug.detectors if detector != ORDERS)
    return bug.detectors if THOROUGH else quick or bug.detectors


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
def test_every_planted_bug_fits_the_code(bug):
    spec = find_spec(bug.module)
    assert spec is not None
    assert spec.origin is not None

    planted = bug.planted_in(Path(spec.origin).read_text(encoding="utf-8"))

    compile(planted, spec.origin, "exec")


def test_every_detector_is_content_while_nothing_is_planted(garden):
    detectors = sorted({detector for bug in BUGS.values() for detector in chosen(bug)})

    ended = garden.run(detectors)

    assert ended.status == 0, ended.output[-5000:]


@pytest.mark.parametrize("bug", TRIED.values(), ids=TRIED)
def test_every_planted_bug_is_found(garden, bug):
    verdicts = garden.verdicts_on(bug)

    assert any(verdict.is_found for verdict in verdicts), f"nobody notices, though it holds no longer: {bug.removes}"
    asleep = [verdict.detector for verdict in verdicts if not verdict.is_found and verdict.detector != ORDERS]
    assert asleep == [] or not THOROUGH, "a test that is said to notice does not"
