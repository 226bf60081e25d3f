import socket

from sluice_local.ports import LOOPBACK, Choices, free_port, is_free


def test_a_port_on_which_somebody_listens_is_not_free():
    with socket.create_server((LOOPBACK, 0)) as server:
        assert not is_free(server.getsockname()[1])


def test_a_free_port_can_be_listened_on_and_is_none_of_the_taken_ones():
    port = free_port()

    with socket.create_server((LOOPBACK, port)):
        assert free_port(taken=frozenset({port})) != port


def test_ports_and_passwords_stay_the_same_across_starts(tmp_path):
    first = Choices(tmp_path / "parts.json")
    port, secret = first.port("redis"), first.secret("redis")

    second = Choices(tmp_path / "parts.json")

    assert (second.port("redis"), second.secret("redis")) == (port, secret)
    assert (tmp_path / "parts.json").stat().st_mode & 0o077 == 0


def test_a_kept_port_that_somebody_else_has_taken_is_replaced(tmp_path):
    port = Choices(tmp_path / "parts.json").port("redis")

    with socket.create_server((LOOPBACK, port)):
        assert Choices(tmp_path / "parts.json").port("redis") != port


def test_the_ports_of_what_runs_now_are_told_though_they_are_not_free(tmp_path):
    port = Choices(tmp_path / "parts.json").port("redis")

    with socket.create_server((LOOPBACK, port)):
        assert Choices(tmp_path / "parts.json", are_in_use=True).port("redis") == port


def test_two_names_never_share_a_port(tmp_path):
    choices = Choices(tmp_path / "parts.json")

    assert len({choices.port(f"part {number}") for number in range(30)}) == 30
