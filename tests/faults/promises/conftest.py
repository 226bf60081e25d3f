"""One stack for the proofs of this folder: two of each service, short leases, each process with its own fail points."""

from collections.abc import Iterator

import httpx
import pytest
from conftest import system
from faults.armed import Armed
from faults.promises.parts import KINDS, LEASE_S, PROCESSES, Site
from faults.promises.provider import Provider
from oracle import Oracle

from sluice_local.embedding_server import DIMENSIONS, MODEL
from sluice_local.stack import LocalStack


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture(scope="session")
def running_site(tmp_path_factory, provider) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("promises")
    points = {name: Armed(folder / "points" / name) for name in PROCESSES}
    environment = system(
        SLUICE_TIMES__LEASE_S=str(LEASE_S),
        SLUICE_TIMES__MAX_LOSSES="100",
        SLUICE_RECONCILER__AUDIT_INTERVAL_S="2",
        SLUICE_RECONCILER__JANITOR_INTERVAL_S="1",
        SLUICE_RECONCILER__ORIGINALS_GRACE_S="5",
        SLUICE_EXTRACTION__BATCH_CHUNKS="4",
        SLUICE_EXTRACTION__CHILDREN="3",  # whatever the machine has
        SLUICE_EMBEDDINGS__BASE_URL=provider.url,
        SLUICE_EMBEDDINGS__MODEL=MODEL,
        SLUICE_EMBEDDINGS__DIMENSIONS=str(DIMENSIONS),
    )
    extra = {name: {"SLUICE_FAILPOINTS": str(armed.folder)} for name, armed in points.items()}
    with LocalStack(folder / "home", environment=environment, scale=dict.fromkeys(KINDS, 2), extra=extra) as stack:
        stack.wait_until_ready()
        yield Site(stack, Oracle(stack), points)


@pytest.fixture
def site(running_site) -> Iterator[Site]:
    """The stack with nothing armed, before and after, and every process up."""
    running_site.stack.wait_until_ready()
    running_site.forget_hits()
    yield running_site
    for armed in running_site.points.values():
        armed.disarm()


@pytest.fixture
def client(site) -> Iterator[httpx.Client]:
    """A client of the first gateway."""
    with site.client() as client:
        yield client
