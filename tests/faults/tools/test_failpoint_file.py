"""Arming the fail points of a running process."""

import threading

from faults.tools.failpoint_file import FailPoints

from sluice_common.failpoints import FolderTrap

POINT = "accept.before"


def test_armed_points_are_disarmed_when_one_of_them_is_hit(tmp_path):
    points = FailPoints(tmp_path / "points")
    trap = FolderTrap(points.folder)
    walker = threading.Thread(target=lambda: [trap(POINT) for _ in range(200) if not done.wait(0.02)])
    done = threading.Event()
    walker.start()

    was_hit = points.strike("pause:0.01*1", "accept.after", POINT, seconds=3)
    done.set()
    walker.join()

    assert was_hit
    assert points.hits()[POINT] >= 1
    assert (points.folder / "armed").read_text() == ""


def test_a_point_that_nobody_reaches_is_given_up(tmp_path):
    points = FailPoints(tmp_path)

    assert not points.strike("kill*1", POINT, seconds=0.1)
    assert points.hits() == {}


def test_two_changes_in_the_same_moment_are_both_noticed(tmp_path):
    points = FailPoints(tmp_path)
    trap = FolderTrap(points.folder)
    for _ in range(50):
        with points.armed("pause:0", POINT):
            trap(POINT)
        trap(POINT)

    assert points.hits()[POINT] == 50


def test_several_points_are_armed_at_once(tmp_path):
    points = FailPoints(tmp_path)
    with points.armed("kill", POINT), points.armed("hold", "accept.after"):
        assert (tmp_path / "armed").read_text() == "accept.before=kill\naccept.after=hold\n"
    assert (tmp_path / "armed").read_text() == ""
