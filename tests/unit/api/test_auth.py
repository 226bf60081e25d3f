"""Who is let in, before a byte of the body is read."""

import asyncio
from uuid import uuid4

import pytest

from sluice_api import auth
from sluice_api.auth import Credentials, Guard, is_open, needs
from sluice_api.problems import Problem
from sluice_common.keys import Principal, Scope

SECRET = "sk_" + "a" * 43


class OneKey:
    """A fake of Keys that knows one secret and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_revoked = False

    def principal_of(self, secret: str) -> Principal | None:
        self.asked += 1
        if secret != SECRET or self.is_revoked:
            return None
        return Principal(uuid4(), uuid4(), frozenset({Scope.READ}), None)


def request(path: str, **headers: str) -> dict:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "path": path, "headers": sent}


async def nothing_is_read():
    pytest.fail("the body was read")


def passes(scope: dict, keys: OneKey) -> dict:
    """The scope as the application behind the guard gets it."""
    seen: dict = {}

    async def app(scope, receive, send):
        seen.update(scope)

    asyncio.run(Guard(app, keys=keys, max_document_bytes=5 * 2**20)(scope, nothing_is_read, nothing_is_read))
    return seen


def refusal(scope: dict) -> Problem:
    with pytest.raises(Problem) as refused:
        passes(scope, OneKey())
    return refused.value


def test_a_good_key_brings_its_principal():
    seen = passes(request("/v1/documents", authorization=f"Bearer {SECRET}"), OneKey())

    assert seen["state"]["principal"].scopes == {Scope.READ}


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", f"Basic {SECRET}", SECRET, f"Bearer {SECRET}x", "Bearer a b", "Bearer " + "x" * 5000],
)
def test_every_other_key_is_refused_alike(authorization):
    refused = refusal(request("/v1/documents", authorization=authorization))

    assert (refused.status, refused.code) == (401, "unauthenticated")


def test_a_key_in_the_address_is_no_key():
    scope = request("/v1/documents") | {"query_string": f"api_key={SECRET}".encode()}

    assert refusal(scope).status == 401


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/openapi.json", "/docs", "/assets/page.js"])
def test_some_paths_are_open(path):
    assert is_open(path)
    assert "state" not in passes(request(path), OneKey())


@pytest.mark.parametrize("path", ["/v1/documents", "/assets", "/livez/", "//", "/nowhere", "/v1/../livez"])
def test_all_others_are_not(path):
    assert refusal(request(path)).status == 401


@pytest.mark.parametrize(
    ("path", "length", "limit"),
    [("/v1/documents", 60 * 2**20, 5 * 2**20), ("/v1/search", 2 * 2**20, 2**20), ("/v1/documents", 10**30, 5 * 2**20)],
)
def test_an_announced_length_past_the_limit_is_refused(path, length, limit):
    refused = refusal(request(path, authorization=f"Bearer {SECRET}", content_length=str(length)))

    assert (refused.status, refused.code) == (413, "file_too_large")
    assert str(limit) in refused.detail


def test_a_good_key_is_remembered_for_a_moment_only(monkeypatch):
    keys = OneKey()
    credentials = Credentials(keys)
    now = 100.0
    monkeypatch.setattr(auth.time, "monotonic", lambda: now)

    for _ in range(3):
        asyncio.run(credentials.principal_of(f"Bearer {SECRET}"))
    assert keys.asked == 1

    keys.is_revoked = True
    now += 5
    with pytest.raises(Problem):
        asyncio.run(credentials.principal_of(f"Bearer {SECRET}"))


def test_a_scope_that_the_key_lacks_is_forbidden():
    principal = Principal(uuid4(), uuid4(), frozenset({Scope.READ}), None)

    class Request:
        class state:  # noqa: N801 - as Starlette calls it
            pass

    Request.state.principal = principal
    assert asyncio.run(needs(Scope.READ)(Request)) is principal
    with pytest.raises(Problem) as refused:
        asyncio.run(needs(Scope.WRITE)(Request))
    assert refused.value.status == 403
