"""Fail points stand around every call to a store, and the list names exactly those that the code has."""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from sluice_common.adapters.ensured import EnsuredVectorStore
from sluice_common.adapters.filesystem import FilesystemObjectStore
from sluice_common.adapters.s3 import S3ObjectStore
from sluice_common.failpoints import POINTS
from sluice_common.ports import ObjectStore, TaskQueue, VectorStore
from sluice_common.tasks import DramatiqQueue

ROOT = Path(__file__).parents[2]
_MARK = re.compile(r'\b(marked|around|reach)\("([\w.]+)"\)')

UNMARKED: Mapping[str, str] = {
    "ping": "a health check: nothing is done before or behind it",
    "size_of": "asked by the tools of an operator, never by a service at work",
}
"""Methods without a fail point, and why there need not be one."""


@pytest.mark.parametrize(
    ("port", "adapter"),
    [
        (ObjectStore, FilesystemObjectStore),
        (ObjectStore, S3ObjectStore),
        (VectorStore, EnsuredVectorStore),
        (TaskQueue, DramatiqQueue),
    ],
    ids=lambda one: one.__name__,
)
def test_every_call_to_a_store_has_fail_points(port, adapter):
    methods = [name for name, _ in inspect.getmembers(port, inspect.isfunction) if not name.startswith("_")]

    unmarked = {name for name in methods if not _MARK.search(inspect.getsource(getattr(adapter, name)))}

    assert unmarked == UNMARKED.keys() & set(methods)


def test_the_list_of_fail_points_is_what_the_code_has():
    sources = [path.read_text(encoding="utf-8") for path in ROOT.glob("*/*/src/**/*.py")]
    found = {point for source in sources for kind, name in _MARK.findall(source) for point in points_of(kind, name)}

    assert found == POINTS


def points_of(kind: str, name: str) -> set[str]:
    return {name} if kind == "reach" else {f"{name}.before", f"{name}.after"}
