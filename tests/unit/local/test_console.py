import io
import sys

import pytest
from unit.local.gateway import Gateway

from sluice_local.activity import describe, documents_by_status
from sluice_local.console import LogFollower, say
from sluice_local.doctor import without_password
from sluice_local.supervisor import ProcessRecord

METRICS = """\
# HELP sluice_documents Documents by status.
# TYPE sluice_documents gauge
sluice_documents{status="embedding"} 12.0
sluice_documents{status="queued"} 3.0
sluice_documents{status="verifying"} 0.0
sluice_documents_submitted_total{media_type="text/plain"} 9.0
"""


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", "?? - report"), ("cp949", "온돌 - report")])
def test_a_terminal_shows_what_its_encoding_has(monkeypatch, encoding, shown):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))

    say("온돌 - report")

    assert written.getvalue().decode(encoding).splitlines() == [shown]


def test_new_lines_are_shown_with_the_name_of_their_process(tmp_path, capsys):
    log = tmp_path / "api.log"
    log.write_text("before\n")
    follower = LogFollower([ProcessRecord("api", 1, "http://127.0.0.1", str(log))])
    follower.start()

    with log.open("a") as file:
        file.write("first\nsecond\nunfin")
    follower.stop()

    assert capsys.readouterr().out.splitlines() == ["api         | first", "api         | second"]


def test_unfinished_documents_are_counted_by_state_in_one_line():
    with Gateway({"GET /metrics": (200, METRICS)}) as gateway:
        counts = documents_by_status(f"{gateway.url}/metrics")

    assert describe(counts) == "documents in progress: 3 queued, 12 embedding"


def test_a_gateway_that_is_away_has_no_counts():
    with Gateway({}) as gateway:
        url = gateway.url

    assert documents_by_status(f"{url}/metrics") is None


def test_no_password_is_shown():
    assert (
        without_password("postgresql://sluice:se%40cret@127.0.0.1:5432/x") == "postgresql://sluice:***@127.0.0.1:5432/x"
    )
    assert without_password("redis://:secret@127.0.0.1:1/0") == "redis://:***@127.0.0.1:1/0"
    assert without_password("http://127.0.0.1:1") == "http://127.0.0.1:1"
