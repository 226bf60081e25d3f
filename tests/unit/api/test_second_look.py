from datetime import timedelta

import pytest

from sluice_api.second_look import SecondLook

PAUSE = timedelta(minutes=10)


class Table:
    """Says which originals have no row; may take its time."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.takes_s = 0.0
        self.with_row: set[str] = set()

    def clock(self) -> float:
        return self.now_s

    def without_row(self, keys) -> set[str]:
        answer = set(keys) - self.with_row
        self.now_s += self.takes_s
        return answer


class Janitor:
    """One process, and its sweeps over what is in the store."""

    def __init__(self, *, at_most: int) -> None:
        self.table = Table()
        self.second_look = SecondLook(at_most=at_most, clock=self.table.clock)

    def sweep(self, *pages: str) -> set[str]:
        """What a sweep would remove; each page is a word, and each of its letters a key."""
        with self.second_look.sweep():
            return {key for page in pages for key in self.look_at(page)}

    def look_at(self, page: str) -> set[str]:
        return self.second_look.confirmed(set(page), self.table.without_row, apart=PAUSE)

    def sweep_later(self, *pages: str) -> set[str]:
        self.table.now_s += PAUSE.total_seconds()
        return self.sweep(*pages)


@pytest.fixture
def janitor() -> Janitor:
    return Janitor(at_most=3)


def test_only_what_had_no_row_at_two_looks_a_pause_apart_is_confirmed(janitor):
    assert janitor.sweep("abc") == set()
    assert janitor.sweep("abc") == set()
    janitor.table.with_row = {"b"}
    assert janitor.sweep_later("abc") == {"a", "c"}


def test_without_any_pause_two_looks_are_needed_still(janitor):
    assert janitor.second_look.confirmed({"a"}, janitor.table.without_row, apart=timedelta(0)) == set()
    assert janitor.second_look.confirmed({"a"}, janitor.table.without_row, apart=timedelta(0)) == {"a"}


def test_an_answer_that_comes_late_makes_its_question_no_younger(janitor):
    janitor.sweep("a")
    janitor.table.takes_s = PAUSE.total_seconds()

    assert janitor.sweep("a") == set()


def test_an_answer_that_comes_late_begins_the_pause_when_it_is_there(janitor):
    janitor.table.takes_s = PAUSE.total_seconds()
    janitor.sweep("a")

    assert janitor.sweep("a") == set()
    assert janitor.sweep("a") == {"a"}


def test_no_more_is_remembered_than_there_is_room_for_and_the_oldest_keep_it(janitor):
    for _ in range(2):
        janitor.sweep("abc", "defgh")
        assert len(janitor.second_look) == 3

    assert janitor.sweep_later("abc", "defgh") == set("abc")


def test_what_found_no_room_has_its_turn_when_the_others_are_gone(janitor):
    janitor.sweep("abc", "de")
    for key in janitor.sweep_later("abc", "de"):
        janitor.second_look.forget(key)
    janitor.sweep("de")

    assert janitor.sweep_later("de") == {"d", "e"}


def test_what_has_a_row_by_now_or_is_gone_takes_no_room(janitor):
    janitor.sweep("abc")
    janitor.table.with_row = {"a"}

    janitor.sweep("ab")

    assert len(janitor.second_look) == 1


def test_a_sweep_that_was_cut_short_forgets_nothing(janitor):
    janitor.sweep("abc")
    with pytest.raises(OSError, match="away"), janitor.second_look.sweep():
        raise OSError("away")

    assert janitor.sweep_later("abc") == set("abc")
