"""A plugin of pytest that runs a session with a bug: `PLANTED_BUG=… pytest -p faults.planted.planting …`.

The bug lives in this process only: the text of its module is changed as it is imported, and no file is.
"""

import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from uuid import uuid4

import psycopg
import pytest
from faults.planted.bugs import BUGS, Bug

NAME, SERVER, TEMPLATE = "PLANTED_BUG", "PLANTED_SERVER", "PLANTED_TEMPLATE"
"""Variables: which bug, and where a PostgreSQL is with a database to copy, so that no session starts its own."""

NOT_PLANTED = 70
"""Exit status when the tests never imported the module that has the bug."""


class _PlantedLoader(SourceFileLoader):
    bug: Bug

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_source(fullname)
        assert source is not None, fullname
        return compile(self.bug.planted_in(source), self.path, "exec", dont_inherit=True)


class _Planter(MetaPathFinder):
    def __init__(self, bug: Bug) -> None:
        self._bug = bug

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._bug.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec is not None, fullname
        assert spec.origin is not None, fullname
        loader = _PlantedLoader(fullname, spec.origin)
        loader.bug = self._bug
        spec.loader = loader
        return spec


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Before anything of ours is imported."""
    name = os.environ.get(NAME)
    if name:
        bug = BUGS[name]
        assert bug.module not in sys.modules, "it was imported before the bug could be planted"
        sys.meta_path.insert(0, _Planter(bug))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session) -> None:
    name = os.environ.get(NAME)
    if name and BUGS[name].module not in sys.modules:
        session.exitstatus = NOT_PLANTED


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef, request) -> Callable[[], str] | None:
    """Give databases of the server that runs already instead of starting one."""
    if fixturedef.argname != "new_database_url" or SERVER not in os.environ:
        return None
    fixturedef.cached_result = (_copy_template, fixturedef.cache_key(request), None)
    return _copy_template


def _copy_template() -> str:
    server, name = os.environ[SERVER], f"planted_{uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{os.environ[TEMPLATE]}"')
    return server.rpartition("/")[0] + f"/{name}"
