"""Cursors: ours only, and for their own list only."""

from types import SimpleNamespace
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from sluice_api.cursors import Cursors
from sluice_api.problems import Problem

TENANT = uuid4()


def cursors(secret: str = "one") -> Cursors:
    http = SimpleNamespace(cursor_secret=SecretStr(secret))
    return Cursors(SimpleNamespace(settings=SimpleNamespace(http=http)))


def refused(*, by: Cursors, tenant=TENANT, what: object = "documents", cursor: str) -> str:
    with pytest.raises(Problem) as problem:
        by.position_of(tenant, what, cursor)
    return problem.value.code


def test_a_cursor_leads_back_to_its_position():
    cursor = cursors().after(TENANT, {"status": "ready"}, ["2026-11-20T11:48:10Z", 7])

    assert cursors().position_of(TENANT, {"status": "ready"}, cursor) == ["2026-11-20T11:48:10Z", 7]


def test_a_cursor_is_good_for_nobody_and_nothing_else():
    cursor = cursors().after(TENANT, "documents", [1])

    assert refused(by=cursors(), tenant=uuid4(), cursor=cursor) == "invalid_cursor"
    assert refused(by=cursors(), what="chunks", cursor=cursor) == "invalid_cursor"
    assert refused(by=cursors("two"), cursor=cursor) == "invalid_cursor"


@given(st.text(max_size=60))
def test_what_we_did_not_sign_is_refused(cursor):
    assert refused(by=cursors(), cursor=cursor) == "invalid_cursor"


def test_one_changed_character_is_enough():
    cursor = cursors().after(TENANT, "documents", [1])
    changed = ("B" if cursor[0] == "A" else "A") + cursor[1:]

    assert refused(by=cursors(), cursor=changed) == "invalid_cursor"
