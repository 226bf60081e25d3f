"""The api image's commands: the gateway itself, and keys from the command line."""

import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from sluice_api import admin
from sluice_common.database import open_database
from sluice_common.keys import Keys, Scope
from sluice_common.settings import DatabaseSettings

START_S = 120
"""So long a process may take to import everything where others take the processors."""


@pytest.fixture
def environment(database_url, tmp_path) -> dict[str, str]:
    """Settings of a gateway whose queue, index and provider are away."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return {
        "PATH": os.environ["PATH"],
        "SLUICE_DATABASE__URL": database_url,
        "SLUICE_BROKER__URL": "redis://127.0.0.1:1/0",
        "SLUICE_QDRANT__URL": "http://127.0.0.1:1",
        "SLUICE_EMBEDDINGS__BASE_URL": "http://127.0.0.1:1/v1",
        "SLUICE_EMBEDDINGS__MODEL": "none",
        "SLUICE_OBJECTS__ROOT": str(tmp_path),
        "SLUICE_HTTP__HOST": "127.0.0.1",
        "SLUICE_HTTP__PORT": str(port),
        "SLUICE_METRICS__HOST": "127.0.0.1",
        "SLUICE_METRICS__PORT": "0",
    }


def started(environment: dict[str, str], folder) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "sluice_api.main"], env=environment, cwd=folder, stderr=subprocess.PIPE, text=True
    )


def is_alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", timeout=60).status_code == 200
    except httpx.TransportError:
        return False


def test_the_gateway_takes_documents_while_everything_but_the_database_is_away_and_stops_cleanly(
    environment, tmp_path, database
):
    keys = Keys(database)
    key = keys.create(keys.ensure_tenant(), name="test", scopes=[Scope.WRITE]).secret
    url = f"http://127.0.0.1:{environment['SLUICE_HTTP__PORT']}"
    gateway = started(environment, tmp_path)
    deadline = time.monotonic() + START_S
    while not is_alive(url) and time.monotonic() < deadline:
        time.sleep(0.05)

    answer = httpx.post(
        f"{url}/v1/documents", files={"file": ("a.txt", b"text")}, headers={"Authorization": f"Bearer {key}"}
    )
    gateway.send_signal(signal.SIGTERM)
    _, log = gateway.communicate(timeout=START_S)

    assert answer.status_code == 202
    assert gateway.returncode == 0
    assert '"request_finished"' in log
    assert key not in log
    assert "a.txt" not in log


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"SLUICE_LIMITS__MAX_DOCUMENT_BYTES": "many"}, "SLUICE_LIMITS__MAX_DOCUMENT_BYTES"),
        ({"SLUICE_HTTP__PROT": "8000"}, "SLUICE_HTTP__PROT"),
        ({"SLUICE_OBJECTS__ROOT": ""}, "SLUICE_OBJECTS"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(environment, tmp_path, wrong, named):
    changed = {name: value for name, value in {**environment, **wrong}.items() if value}
    gateway = started(changed, tmp_path)

    _, said = gateway.communicate(timeout=START_S)

    assert gateway.returncode == 2
    assert len(said.splitlines()) == 1
    assert named in said


def test_without_its_tables_the_gateway_does_not_start(environment, tmp_path, postgres):
    gateway = started({**environment, "SLUICE_DATABASE__URL": postgres.create_database("without_tables")}, tmp_path)

    _, said = gateway.communicate(timeout=START_S)

    assert gateway.returncode == 1
    assert "python -m sluice_common.migrations" in said


@pytest.fixture
def command(environment, monkeypatch, capsys):
    """Runs the admin command; returns its status and what it printed."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> tuple[int, str]:
        status = admin.main(arguments)
        return status, capsys.readouterr().out

    return run


def test_a_key_is_made_listed_and_revoked(command, database_url):
    status, printed = command("create-key", "--tenant", "acme", "--scopes", "read,write", "--name", "수입")
    secret = printed.strip()
    database = open_database(DatabaseSettings(url=database_url), application="tests")

    assert status == 0
    assert printed == f"{secret}\n"
    assert Keys(database).principal_of(secret).scopes == {Scope.READ, Scope.WRITE}

    _, listed = command("list-keys", "--tenant", "acme")
    assert secret not in listed
    assert listed.isascii()
    key_id = listed.split()[0]

    assert command("revoke-key", "--tenant", "acme", key_id) == (0, "")
    assert Keys(database).principal_of(secret) is None
    assert "revoked" in command("list-keys", "--tenant", "acme")[1]
    assert command("revoke-key", "--tenant", "acme", "key_x")[0] == 1
    database.close()


@pytest.mark.parametrize("wrong", [["--scopes", "root"], ["--expires-days", "0"], ["--expires-days", "soon"]])
def test_a_key_with_wrong_wishes_is_not_made(command, wrong):
    with pytest.raises(SystemExit) as refused:
        command("create-key", "--name", "x", *wrong)

    assert refused.value.code == 2
