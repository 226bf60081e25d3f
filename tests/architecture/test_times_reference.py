"""The page of times says what the code derives from the lease."""

from datetime import timedelta
from types import SimpleNamespace

from pages import section_of, table_of, word

from sluice_api.loops import SECOND_LOOK, Loops
from sluice_api.reconciler import _schedule
from sluice_api.second_look import REMEMBERED
from sluice_common.settings import ReconcilerSettings, TimesSettings
from sluice_common.times import Times, times_of

PAGE = "docs/reference/times.md"
SIXTY = times_of(TimesSettings(lease_s=60))


def shown(time: timedelta) -> str:
    return f"{time.total_seconds():g} s"


def test_every_derived_time_stands_on_the_page_with_its_value():
    derived = {name for name, found in vars(Times).items() if isinstance(found, property)}

    assert {name: value for name, _, value, _ in table_of(PAGE, "What follows from the lease")} == {
        word(name): shown(getattr(SIXTY, name)) for name in derived
    }


def test_every_loop_of_the_reconciler_stands_on_the_page_with_its_pause():
    loops = SimpleNamespace(times=SIXTY, **{name: None for name in vars(Loops) if not name.startswith("_")})
    schedule = _schedule(loops, SimpleNamespace(reconciler=ReconcilerSettings()))

    assert {name: pause for name, pause, _ in table_of(PAGE, "The reconciler's loops")} == {
        word(loop.name): shown(loop.pause) for loop in schedule
    }


def test_the_page_says_how_far_apart_two_looks_at_an_original_without_a_row_are_and_how_many_are_remembered():
    page = section_of(PAGE, "The reconciler's loops")

    assert f"**{SECOND_LOOK.total_seconds() / 60:g} min** apart" in page
    assert f"{REMEMBERED:,} originals at most" in page
