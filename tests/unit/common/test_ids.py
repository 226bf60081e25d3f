"""Ids: opaque, prefixed, in order of time; points belong to runs."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_common import ids


def test_an_id_that_is_shown_can_be_parsed_again():
    value = ids.new_id()

    assert ids.parse("doc", ids.shown("doc", value)) == value


@given(st.text())
def test_whatever_a_client_sends_is_an_id_or_a_named_error(text):
    with contextlib.suppress(ids.MalformedId):
        assert ids.shown("doc", ids.parse("doc", text)) == text


def test_an_id_of_another_kind_is_refused():
    with pytest.raises(ids.MalformedId):
        ids.parse("doc", ids.shown("job", ids.new_id()))


def test_later_ids_sort_behind_earlier_ones():
    made = [ids.new_id() for _ in range(1000)]

    assert made == sorted(made)
    assert len(set(made)) == 1000


def test_the_points_of_two_runs_never_meet():
    assert ids.point_id(1, 23) != ids.point_id(12, 3)
    assert len({ids.point_id(run, chunk) for run in range(50) for chunk in range(50)}) == 2500
