"""One watched stack for all tests that need a running one."""

import os
from collections.abc import Iterator

import pytest
from debian import require_programs
from deploy.monitoring.programs import PACKAGES
from deploy.monitoring.watching import Watched, watching

collect_ignore = [] if os.environ.get("LONG") == "1" else ["test_provoked.py"]
"""Provoking every alert takes a quarter of an hour: `make test-alerts`."""


@pytest.fixture(scope="session")
def programs_installed() -> None:
    require_programs(PACKAGES)


@pytest.fixture(scope="session")
def watched(programs_installed, tmp_path_factory) -> Iterator[Watched]:
    with watching(tmp_path_factory.mktemp("watched")) as running:
        yield running
