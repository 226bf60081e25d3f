"""Waiting for a dependency."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_common.errors import DatabaseUnavailable
from sluice_common.patience import full_jitter, until_database_answers


@given(st.integers(0, 10_000))
def test_a_pause_is_never_longer_than_asked(tries):
    pause = full_jitter(tries, base=timedelta(seconds=1), longest=timedelta(seconds=60))

    assert timedelta(0) <= pause <= timedelta(seconds=60)


def test_a_move_is_repeated_until_the_database_answers():
    answers = [DatabaseUnavailable("away"), DatabaseUnavailable("away"), "moved"]

    def move() -> str:
        answer = answers.pop(0)
        if isinstance(answer, DatabaseUnavailable):
            raise answer
        return answer

    assert until_database_answers(move, patience=timedelta(seconds=30)) == "moved"


def test_patience_ends():
    def move() -> None:
        raise DatabaseUnavailable("away")

    with pytest.raises(DatabaseUnavailable):
        until_database_answers(move, patience=timedelta(0))
