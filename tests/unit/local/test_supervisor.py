import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from unit.local.standins import DEAF, FORKER, PARENT, PYTHON, WAIT, lives, stand_in, wait_until

from sluice_local.children import AlreadyRunning, end_leftovers, owner_of
from sluice_local.supervisor import StartFailed, Supervisor, end_of_log, stack_of


@pytest.fixture
def events():
    return []


@pytest.fixture
def supervisor(tmp_path, events):
    made = Supervisor(tmp_path, on_event=events.append)
    made.open()
    yield made
    made.stop()


def start(supervisor, *specs):
    supervisor.start(specs)
    supervisor.wait_until_ready([spec.name for spec in specs], timeout_s=20)


def test_stack_json_names_what_runs_in_the_order_of_its_start(supervisor, tmp_path):
    start(supervisor, stand_in(tmp_path, "one"), stand_in(tmp_path, "two"))

    entries = json.loads((tmp_path / "stack.json").read_text())

    assert [sorted(entry) for entry in entries] == [["log", "name", "pid", "url"]] * 2
    assert [entry["name"] for entry in entries] == ["one", "two"]
    assert [entry["pid"] for entry in entries] == [supervisor.pid_of("one"), supervisor.pid_of("two")]
    assert entries[0]["url"] == "http://127.0.0.1/one"
    assert Path(entries[0]["log"]).read_text() == "up\n"


def test_only_the_owner_can_read_what_the_home_keeps(supervisor, tmp_path):
    start(supervisor, stand_in(tmp_path, "one"))

    for name in ("stack.json", "pids.json", "logs/one.log"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


def test_a_process_gets_exactly_the_environment_it_was_given(supervisor, tmp_path):
    program = "import os; print(sorted(set(os.environ) - {'LC_CTYPE', '__CF_USER_TEXT_ENCODING'})); " + WAIT

    start(supervisor, stand_in(tmp_path, "one", program, environment={"SLUICE_LOG__LEVEL": "info"}))

    assert "['SLUICE_LOG__LEVEL']" in (tmp_path / "logs" / "one.log").read_text()


def test_what_was_killed_often_long_ago_may_still_be_waited_for(supervisor, tmp_path):
    start(supervisor, stand_in(tmp_path, "one"))
    for _ in range(3):
        killed = supervisor.pid_of("one")
        supervisor.kill("one", signal.SIGKILL)
        wait_until(lambda: supervisor.pid_of("one") != killed, "restarted")  # noqa: B023 - called at once

    supervisor.wait_until_ready(["one"], timeout_s=20)


def test_what_dies_is_started_again_and_stack_json_follows(supervisor, tmp_path, events):
    start(supervisor, stand_in(tmp_path, "one"))
    first = supervisor.pid_of("one")

    supervisor.kill("one", signal.SIGKILL)

    wait_until(lambda: supervisor.pid_of("one") != first, "restarted")
    wait_until(lambda: [record.pid for record in stack_of(tmp_path)] == [supervisor.pid_of("one")], "written")
    assert any("signal 9" in event for event in events)


def test_a_kill_reaches_the_children_too(supervisor, tmp_path):
    start(supervisor, stand_in(tmp_path, "one", PARENT))
    child = int((tmp_path / "logs" / "one.log").read_text())

    supervisor.kill("one", signal.SIGKILL)

    wait_until(lambda: not lives(child), "the child has ended")


def test_a_worker_whose_parent_was_killed_alone_is_ended_before_the_restart(supervisor, tmp_path):
    start(supervisor, stand_in(tmp_path, "one", FORKER))
    worker = int((tmp_path / "logs" / "one.log").read_text().split()[0])

    os.kill(supervisor.pid_of("one"), signal.SIGKILL)

    wait_until(lambda: not lives(worker), "the orphan has ended")


def test_later_layers_stop_before_earlier_ones(tmp_path, events):
    supervisor = Supervisor(tmp_path, on_event=events.append)
    supervisor.open()
    start(supervisor, stand_in(tmp_path, "database"))
    start(supervisor, stand_in(tmp_path, "service"), stand_in(tmp_path, "other"))

    supervisor.stop()

    assert [event for event in events if event.startswith("stopping")] == [
        "stopping service, other",
        "stopping database",
    ]


def test_stopping_leaves_no_process_and_no_stack_json(tmp_path):
    supervisor = Supervisor(tmp_path, on_event=print)
    supervisor.open()
    start(
        supervisor,
        stand_in(tmp_path, "one", PARENT, stop_grace_s=0.2),
        stand_in(tmp_path, "deaf", DEAF, stop_grace_s=0.2),
    )
    pids = [supervisor.pid_of("one"), supervisor.pid_of("deaf"), int((tmp_path / "logs" / "one.log").read_text())]

    supervisor.stop()

    assert not any(lives(pid) for pid in pids)
    assert not (tmp_path / "stack.json").exists()
    assert owner_of(tmp_path) is None


def test_what_ends_at_once_fails_the_start_with_the_end_of_its_log(supervisor, tmp_path):
    supervisor.start([stand_in(tmp_path, "broken", "raise SystemExit('no such setting')", is_ready=lambda: False)])

    with pytest.raises(StartFailed, match=r"broken ended again and again:\n(.*\n)*no such setting"):
        supervisor.wait_until_ready(["broken"], timeout_s=20)


def test_what_never_gets_ready_fails_the_start(supervisor, tmp_path):
    supervisor.start([stand_in(tmp_path, "slow", is_ready=lambda: False)])

    with pytest.raises(StartFailed, match="slow did not become ready"):
        supervisor.wait_until_ready(["slow"], timeout_s=0.1)


def test_a_second_supervisor_on_the_same_home_is_refused_in_one_sentence(supervisor, tmp_path):
    second = Supervisor(tmp_path, on_event=print)

    with pytest.raises(AlreadyRunning, match=f"is in use by process {os.getpid()}"):
        second.open()

    assert owner_of(tmp_path) == os.getpid()


def test_the_log_of_the_last_start_is_kept_beside_the_new_one(tmp_path):
    for _ in range(2):
        supervisor = Supervisor(tmp_path, on_event=print)
        supervisor.open()
        start(supervisor, stand_in(tmp_path, "one"))
        supervisor.stop()

    assert (tmp_path / "logs" / "one.log").read_text() == "up\n"
    assert (tmp_path / "logs" / "one.log.1").read_text() == "up\n"


def test_a_killed_supervisor_leaves_nothing_behind(tmp_path):
    program = tmp_path / "supervise.py"
    program.write_text(
        "import sys, signal\n"
        "from pathlib import Path\n"
        "from unit.local.standins import DEAF, FORKER, WAIT, stand_in\n"
        "from sluice_local.supervisor import Supervisor\n"
        "home = Path(sys.argv[1])\n"
        "supervisor = Supervisor(home, on_event=str)\n"
        "supervisor.open()\n"
        "supervisor.start([stand_in(home, 'one'), stand_in(home, 'forker', FORKER)])\n"
        "supervisor.wait_until_ready(['one', 'forker'], timeout_s=20)\n"
        "print('ready', flush=True)\n"
        "signal.pause()\n"
    )
    home = tmp_path / "home"
    with subprocess.Popen(
        [sys.executable, str(program), str(home)], stdout=subprocess.PIPE, env={"PYTHONPATH": os.pathsep.join(sys.path)}
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        pids = [record.pid for record in stack_of(home)]
        worker = int((home / "logs" / "forker.log").read_text().split()[0])

        process.kill()

    wait_until(lambda: not any(lives(pid) for pid in [*pids, worker]), "all have ended")


def leave_behind(home: Path, *, age_s: float) -> subprocess.Popen:
    left = subprocess.Popen([*PYTHON, WAIT], start_new_session=True, stdout=subprocess.DEVNULL)
    created = psutil.Process(left.pid).create_time() - age_s
    gone = {"pid": 2**22, "created": 0.0, "stop_signal": int(signal.SIGTERM)}
    child = {"pid": left.pid, "created": created, "stop_signal": int(signal.SIGTERM)}
    (home / "pids.json").write_text(json.dumps({"owner": gone, "children": [child]}))
    return left


def test_a_start_ends_what_a_dead_supervisor_left(tmp_path):
    with leave_behind(tmp_path, age_s=0) as left:
        ended = end_leftovers(tmp_path, grace_s=5)

    assert ended == 1
    assert left.returncode == -signal.SIGTERM


def test_a_later_process_with_the_same_pid_is_left_alone(tmp_path):
    with leave_behind(tmp_path, age_s=3600) as other:
        ended = end_leftovers(tmp_path, grace_s=0.1)
        is_alone = lives(other.pid)
        other.kill()

    assert (ended, is_alone) == (0, True)


def test_a_log_that_grows_too_long_is_emptied_while_it_is_written(supervisor, tmp_path, monkeypatch):
    monkeypatch.setattr("sluice_local.supervisor.LOG_LIMIT_BYTES", 100)
    start(supervisor, stand_in(tmp_path, "one", "print('x' * 200); " + WAIT))

    supervisor._bound_logs()

    assert (tmp_path / "logs" / "one.log").stat().st_size == 0
    assert end_of_log(tmp_path / "logs" / "one.log.1").startswith("xxx")
