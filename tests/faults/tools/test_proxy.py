"""The proxies really do what they say, to a server that sends back what it gets."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest
from faults.tools.proxy import CALM, Ports, Proxies, Routes
from faults.tools.proxy_server import Weather
from oracle import wait_until

from sluice_local.ports import LOOPBACK, free_port


class Echo:
    """A server that sends back what it gets, and remembers it."""

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = self._listener.getsockname()[1]
        self.received = b""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                while piece := client.recv(65536):
                    self.received += piece
                    client.sendall(piece)
            except ConnectionError:
                return


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def proxies(echo, port) -> Iterator[Proxies]:
    with Proxies({"api:redis": Ports(port, echo.port), "api2:redis": Ports(free_port(), echo.port)}) as running:
        yield running


def connect(port: int) -> socket.socket:
    return socket.create_connection((LOOPBACK, port), timeout=5)


def ask(client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    return client.recv(65536)


def test_what_is_sent_arrives_and_so_does_the_answer(proxies, port):
    with connect(port) as client:
        assert ask(client, b"hello") == b"hello"


def test_a_megabyte_passes_unchanged_in_both_directions(proxies, port, echo):
    sent = bytes(range(256)) * 4096
    with connect(port) as client:
        threading.Thread(target=client.sendall, args=(sent,)).start()
        received = b""
        while len(received) < len(sent):
            received += client.recv(65536)

    assert received == sent
    assert echo.received == sent


def test_an_end_is_passed_on(proxies, port, echo):
    with connect(port) as client:
        assert ask(client, b"last") == b"last"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(10) == b""

    wait_until(lambda: proxies["api:redis"].counts()["api:redis"]["open"] == 0, seconds=5, message="the link stays")


def test_cut_connections_are_reset_and_new_ones_work(proxies, port):
    with connect(port) as old, connect(port) as new:
        ask(old, b"one")
        assert proxies.named(end=":redis").cut() == 2
        with pytest.raises(ConnectionResetError):
            old.recv(10)
        with pytest.raises(ConnectionResetError):
            new.recv(10)
    with connect(port) as client:
        assert ask(client, b"two") == b"two"


def test_a_refusing_route_refuses_new_connections_and_keeps_open_ones(proxies, port):
    with connect(port) as old:
        ask(old, b"before")
        with proxies["api:redis"].weather(Weather(refuse=True)):
            with pytest.raises(ConnectionRefusedError):
                connect(port)
            assert ask(old, b"still") == b"still"
    with connect(port) as client:
        assert ask(client, b"after") == b"after"


def test_the_weather_of_one_route_is_not_that_of_another(proxies, port):
    with proxies["api2:redis"].weather(Weather(refuse=True)), connect(port) as client:
        assert ask(client, b"hello") == b"hello"


def test_a_partition_holds_what_is_sent_and_its_end_delivers_it(proxies, port, echo):
    with connect(port) as client:
        ask(client, b"before")
        with proxies["api:redis"].weather(Weather(hold_requests=True, hold_replies=True)):
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                ask(client, b"during")
            assert echo.received == b"before"
        client.settimeout(5)
        assert client.recv(100) == b"during"


def test_a_new_connection_in_a_partition_opens_and_is_never_answered_until_it_ends(proxies, port):
    with proxies["api:redis"].weather(Weather(hold_replies=True)):
        client = connect(port)
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            ask(client, b"hello")
    client.settimeout(5)
    with client:
        assert client.recv(100) == b"hello"


def test_a_half_partition_lets_requests_through_and_holds_their_replies(proxies, port, echo):
    with connect(port) as client, proxies["api:redis"].weather(Weather(hold_replies=True)):
        client.sendall(b"done, and nobody hears of it")
        wait_until(lambda: echo.received != b"", seconds=5, message="the request did not arrive")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(100)


def test_a_slow_route_delays_and_keeps_the_order(proxies, port):
    with connect(port) as client:
        route = proxies["api:redis"]
        route.set(Weather(delay_s=0.2))
        began = time.monotonic()
        client.sendall(b"a")
        wait_until(lambda: route.counts()["api:redis"]["pieces"] == 1, seconds=5, message="it does not arrive")
        route.set(CALM)
        client.sendall(b"b")
        received = b""
        while len(received) < 2:
            received += client.recv(10)

        assert received == b"ab"
        assert time.monotonic() - began >= 0.2


def test_a_lost_reply_is_one_whose_request_arrived(proxies, port, echo):
    with connect(port) as client, proxies["api:redis"].weather(Weather(lose_replies_to="COMMIT")):
        assert ask(client, b"SELECT 1") == b"SELECT 1"
        with pytest.raises(ConnectionResetError):
            ask(client, b"COMMIT")
        assert echo.received == b"SELECT 1COMMIT"
        assert proxies["api:redis"].counts()["api:redis"]["lost_replies"] == 1


def test_an_unavailable_route_answers_503_and_never_asks_the_part(proxies, port, echo):
    with proxies["api:redis"].weather(Weather(unavailable=True)), httpx.Client(trust_env=False) as client:
        answer = client.post(f"http://{LOOPBACK}:{port}/points", content=b"x" * 300_000)

    assert answer.status_code == 503
    assert echo.received == b""


@pytest.mark.parametrize(
    "weather",
    [Weather(hold_requests=True), Weather(hold_replies=True), Weather(delay_s=0.01), Weather(unavailable=True)],
)
def test_weather_that_meets_a_request_says_so_and_one_that_meets_nobody_does_too(proxies, port, weather):
    route = proxies["api:redis"]
    assert route.suffer(weather, 0.01) == 0

    with ThreadPoolExecutor(1) as striking, connect(port) as client:
        touched = striking.submit(route.suffer, weather, 1)
        wait_until(lambda: _touched_by(client, route), seconds=10, message="nothing was touched")
        assert touched.result() > 0


def test_a_refusal_that_resets_what_was_open_says_how_much_that_was(proxies, port):
    assert proxies["api:redis"].suffer(Weather(refuse=True), 0.01, cut=True) == 0
    with connect(port) as client:
        ask(client, b"before")
        assert proxies["api:redis"].suffer(Weather(refuse=True), 0.01, cut=True) == 1


def test_a_part_that_is_away_resets_who_asks_for_it(port):
    nobody = free_port()
    # the reset may come before the connection has been handed to the client
    with (
        Proxies({"api:redis": Ports(port, nobody)}),
        pytest.raises(ConnectionResetError),
        connect(port) as client,
    ):
        ask(client, b"hello")


def test_the_proxies_end_with_the_program_that_started_them(echo, port):
    with Proxies({"api:redis": Ports(port, echo.port)}):
        pass

    with pytest.raises(ConnectionRefusedError):
        connect(port)


def _touched_by(client: socket.socket, route: Routes) -> bool:
    with suppress(ConnectionError):
        client.sendall(b"hello")
    return route.counts()["api:redis"]["touched"] > 0
