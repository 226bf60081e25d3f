"""A document that workers were lost with too often is read alone in its worker."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from oracle import wait_until

from sluice_extractor.isolation import LOSSES_BEFORE_ALONE, Isolation

LONG = timedelta(minutes=1)
SUSPECT = LOSSES_BEFORE_ALONE


class Readers:
    """Threads that hold the lock until they are let go."""

    def __init__(self) -> None:
        self.isolation = Isolation()
        self.inside: set[str] = set()
        self._ends: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []

    def begin(self, name: str, *, losses: int = 0, patience: timedelta = LONG) -> None:
        end = self._ends[name] = threading.Event()

        def read() -> None:
            with self.isolation.reading(losses=losses, patience=patience):
                self.inside.add(name)
                end.wait(30)
                self.inside.remove(name)

        thread = threading.Thread(target=read, daemon=True)
        self._threads.append(thread)
        thread.start()

    def wait_for(self, *names: str) -> None:
        wait_until(lambda: self.inside == set(names), seconds=10, message=lambda: f"inside are {self.inside}")

    def stay(self, *names: str) -> None:
        """Whoever else could come in has come in by now."""
        threading.Event().wait(0.1)
        assert self.inside == set(names)

    def end(self, name: str) -> None:
        self._ends[name].set()

    def end_all(self) -> None:
        for end in self._ends.values():
            end.set()
        for thread in self._threads:
            thread.join(timeout=10)


@pytest.fixture
def readers() -> Iterator[Readers]:
    readers = Readers()
    yield readers
    readers.end_all()


def test_documents_that_were_lost_less_often_are_read_beside_each_other(readers):
    readers.begin("a")
    readers.begin("b", losses=LOSSES_BEFORE_ALONE - 1)

    readers.wait_for("a", "b")


def test_a_suspect_waits_until_the_others_have_ended_and_those_that_come_later_wait_for_it(readers):
    readers.begin("a")
    readers.wait_for("a")
    readers.begin("suspect", losses=SUSPECT)
    readers.stay("a")
    readers.begin("b")
    readers.stay("a")

    readers.end("a")
    readers.wait_for("suspect")
    readers.stay("suspect")
    readers.end("suspect")
    readers.wait_for("b")


def test_two_suspects_are_read_one_after_the_other(readers):
    readers.begin("one", losses=SUSPECT)
    readers.wait_for("one")
    readers.begin("two", losses=SUSPECT)
    readers.stay("one")

    readers.end("one")
    readers.wait_for("two")


def test_a_suspect_does_not_wait_for_ever_for_one_that_takes_long(readers):
    readers.begin("long")
    readers.wait_for("long")
    readers.begin("suspect", losses=SUSPECT, patience=timedelta(seconds=0.2))

    readers.wait_for("long", "suspect")
    readers.begin("later")
    readers.begin("another", losses=SUSPECT)
    readers.stay("long", "suspect")
    readers.end("suspect")
    readers.end("long")
    readers.wait_for("another")


def test_a_suspect_that_has_waited_long_enough_is_not_read_beside_another_suspect(readers):
    readers.begin("one", losses=SUSPECT)
    readers.wait_for("one")
    readers.begin("two", losses=SUSPECT, patience=timedelta(seconds=0.05))
    readers.stay("one")

    readers.end("one")
    readers.wait_for("two")
