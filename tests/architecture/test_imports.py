"""Who may load what, tried in a fresh interpreter."""

import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

PACKAGES = ("sluice_common", "sluice_client", "sluice_local", "sluice_api", "sluice_extractor", "sluice_embedder")

HEAVY = {
    "sluice_client": ("sluice_common", "sqlalchemy", "dramatiq", "numpy", "fastapi"),
    "sluice_common.contract": ("dramatiq", "sqlalchemy", "redis", "openai", "qdrant_client", "boto3"),
    "sluice_common.tasks": ("sqlalchemy", "openai", "qdrant_client", "boto3", "fastapi"),
    "sluice_extractor.main": ("fastapi", "starlette", "openai", "qdrant_client", "boto3", "pypdf", "pypdfium2"),
    "sluice_embedder.main": ("fastapi", "starlette", "pypdf", "pypdfium2", "selectolax", "boto3"),
    "sluice_api.main": ("pypdf", "pypdfium2", "selectolax", "sluice_extractor", "sluice_embedder"),
    "sluice_api.reconciler": ("fastapi", "starlette", "pypdf", "pypdfium2", "sluice_extractor"),
}

CHECK = """
import importlib, os, socket, sys, threading
environment, before = dict(os.environ), threading.active_count()
def refuse(*_): raise SystemExit("a socket was opened at import")
socket.socket.connect = refuse
importlib.import_module(sys.argv[1])
loaded = sorted(name for name in sys.argv[2:] if name in sys.modules)
assert not loaded, f"loads {loaded}"
assert dict(os.environ) == environment, "changes the environment"
assert threading.active_count() == before, "starts a thread"
"""


def in_a_fresh_interpreter(module: str, *forbidden: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHECK, module, *forbidden], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("module", "forbidden"), HEAVY.items(), ids=str)
def test_a_service_loads_nothing_that_is_anothers(module, forbidden):
    in_a_fresh_interpreter(module, *forbidden)


def test_importing_any_module_opens_nothing_and_starts_nothing():
    names = [
        module.name
        for package in PACKAGES
        for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}.")
        if not module.name.endswith(("__main__", ".env")) and ".versions." not in module.name
    ]
    script = CHECK.replace(
        "importlib.import_module(sys.argv[1])", "[importlib.import_module(n) for n in sys.argv[1].split()]"
    )

    done = subprocess.run([sys.executable, "-c", script, " ".join(names)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
