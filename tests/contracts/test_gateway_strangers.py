"""What belongs to somebody else does not exist, on every path that names a thing: the OpenAPI document says which."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import uuid4

import httpx
import pytest

from sluice_api.app import create_app
from sluice_common import ids
from sluice_common.keys import Scope

pytest_plugins = ("contracts.vector_fixtures", "contracts.gateway_parts")

BODIES = {("PATCH", "/v1/collections/{name}"): {"chunking": {"max_chars": 500}}}
"""What a request must hold to be understood at all."""

PLACES = {"number": "1", "chunk_no": "0"}
"""Parts of a path that stand within the thing that is named before them."""

DETAILS = {
    "document_id": "There is no such document.",
    "job_id": "There is no such job.",
    "key_id": "There is no such key.",
    "name": "There is no such collection.",
}
"""By the part of the path that names a thing: what is said whenever there is none for who asks."""


@dataclass(frozen=True)
class Operation:
    """A method on a path that names a thing of a tenant."""

    method: str
    path: str

    @property
    def names(self) -> str:
        """The part of the path that names the thing."""
        (named,) = set(re.findall(r"{(\w+)}", self.path)) - PLACES.keys()
        return named

    def asked(self, client: httpx.Client, name: str) -> httpx.Response:
        path = self.path.format_map({**PLACES, self.names: name})
        return client.request(self.method, path, json=BODIES.get((self.method, self.path)))


@pytest.fixture
def operations(gateway) -> list[Operation]:
    """All there are, from what the application says of itself: a new one cannot be forgotten here."""
    described = create_app(gateway.deps).openapi()["paths"]
    named = [path for path in described if "{" in path]
    found = [Operation(method.upper(), path) for path in named for method in described[path]]
    found += [Operation("HEAD", "/v1/documents/{document_id}/content")]  # the one that the document leaves out
    assert {operation.names for operation in found} == DETAILS.keys(), "say what stands in the path of a new route"
    return found


@dataclass(frozen=True)
class Things:
    """One of each that a path can name, and what its owner sees of them."""

    owner: httpx.Client
    name_of: Mapping[str, str]

    def seen(self) -> list[object]:
        """Whatever a change would change."""
        document, collection = self.name_of["document_id"], self.name_of["name"]
        paths = (f"/v1/documents/{document}", f"/v1/jobs/{self.name_of['job_id']}", f"/v1/collections/{collection}")
        keys = self.owner.get("/v1/admin/keys").json()["data"]
        return [self.owner.get(path).json() for path in paths] + [(key["id"], key["revoked_at"]) for key in keys]


@pytest.fixture
def things(gateway) -> Things:
    owner = gateway.client()
    document = gateway.ready(["apple pie"], collection="recipes")
    key = gateway.deps.keys.create(gateway.tenant_id, name="another", scopes=[Scope.READ])
    shown = ids.shown("doc", document)
    job = owner.get(f"/v1/documents/{shown}").json()["job_id"]
    name_of = {"document_id": shown, "job_id": job, "key_id": ids.shown("key", key.key.id), "name": "recipes"}
    return Things(owner, name_of)


def unlike_what_is_not_there(
    operations: Iterable[Operation], client: httpx.Client, name_of: Mapping[str, str]
) -> dict[str, object]:
    """The operations whose answer differs from that about a thing that there never was, or tells anything."""
    wrong: dict[str, object] = {}
    for operation in operations:
        kind = name_of[operation.names].partition("_")[0]
        unknown = "nowhere" if operation.names == "name" else ids.shown(kind, uuid4())
        answers = [operation.asked(client, name) for name in (name_of[operation.names], unknown, f"{kind}_x")]
        said = [(answer.status_code, operation.method != "HEAD" and answer.json()["detail"]) for answer in answers]
        if set(said) != {(404, operation.method != "HEAD" and DETAILS[operation.names])}:
            wrong[f"{operation.method} {operation.path}"] = said
    return wrong


def test_what_another_tenant_has_does_not_exist_on_any_route(gateway, operations, things):
    before = things.seen()
    stranger = gateway.client(tenant_id=gateway.other_tenant())

    assert unlike_what_is_not_there(operations, stranger, things.name_of) == {}
    assert things.seen() == before


def test_what_a_key_of_other_collections_may_not_see_does_not_exist_on_any_route(gateway, operations, things):
    before = things.seen()
    limited = gateway.client(collections=["letters"])

    of_collections = [operation for operation in operations if operation.names != "key_id"]
    assert unlike_what_is_not_there(of_collections, limited, things.name_of) == {}
    assert things.seen()[:3] == before[:3]


def test_the_owner_is_not_told_that_the_things_do_not_exist(operations, things):
    reads = [operation for operation in operations if operation.method == "GET" and "events" not in operation.path]

    details = [operation.asked(things.owner, things.name_of[operation.names]).text for operation in reads]

    assert [said for said in details if any(detail in said for detail in DETAILS.values())] == []
