"""One process in step with the others: what the table said, and what it does when the table says nothing."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from sluice_common.errors import DatabaseUnavailable, EmbeddingProviderUnavailable, RateLimited
from sluice_common.pace import Course, Report, Terms, exchange
from sluice_embedder.pacing import Admission, Gate, NotYet, Pacer
from sluice_embedder.shared_pacing import SILENCE_S, SharedPacer

PACED = Terms(is_limit_known=True, rate=10)


class Table:
    """Answers as the test says, and notes what it was told."""

    def __init__(self) -> None:
        self.answer: Terms | Callable[[Report], Terms] = Terms()
        self.told: list[Report] = []
        self.is_away = False
        self._may_answer = threading.Event()
        self._may_answer.set()

    def exchange(self, report: Report) -> Terms:
        self.told.append(report)
        assert self._may_answer.wait(30)
        if self.is_away:
            raise DatabaseUnavailable("away")
        return self.answer if isinstance(self.answer, Terms) else self.answer(report)

    def hang(self) -> None:
        self._may_answer.clear()

    def let_go(self) -> None:
        self._may_answer.set()


@pytest.fixture
def table() -> Iterator[Table]:
    table = Table()
    yield table
    table.let_go()


@pytest.fixture
def pacer(table: Table) -> Iterator[SharedPacer]:
    pacer = SharedPacer(Pacer(spread=lambda longest_s: longest_s), table.exchange)
    yield pacer
    table.let_go()
    pacer.close()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.001)


def heard(pacer: SharedPacer, table: Table) -> None:
    """The table was told something, and its answer has arrived."""
    wait_until(lambda: bool(table.told), "the table was told")
    wait_until(lambda: pacer._asked_at_s is None and not pacer._has_news, "the answer arrived")


def admitted(pacer: SharedPacer) -> Admission:
    """Leave to send, as soon as there is any."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return pacer.admit()
        except NotYet as error:
            assert time.monotonic() < deadline, "never admitted"
            time.sleep(min(error.wait_s, 0.01))


def after_a_first_request(pacer: SharedPacer, table: Table) -> None:
    """The first request has gone out on credit, and the terms have come."""
    terms = table.answer
    pacer.admit()
    wait_until(lambda: pacer._terms == terms, "the terms came")


def test_the_first_request_of_a_quiet_process_waits_for_nobody(pacer, table):
    table.hang()

    pacer.admit()

    wait_until(lambda: bool(table.told), "the table was told")
    assert table.told[0].on_credit == 1


def test_the_next_one_needs_a_permit(pacer, table):
    table.answer = Terms(ask_again_s=0.05)
    after_a_first_request(pacer, table)

    with pytest.raises(NotYet):
        pacer.admit(wanted=3)

    table.answer = lambda report: Terms(permits=report.wanted, is_limit_known=True)
    admitted(pacer)
    assert any(report.wanted for report in table.told)


def test_permits_are_used_when_they_are_due_and_once(pacer, table):
    table.answer = Terms(permits=2, starts_in_s=0, interval_s=0.1, is_limit_known=True, ask_again_s=60)
    after_a_first_request(pacer, table)

    pacer.admit()
    with pytest.raises(NotYet) as early:
        pacer.admit()
    assert 0 < early.value.wait_s <= 0.1
    admitted(pacer)
    with pytest.raises(NotYet):
        pacer.admit()


def test_a_provider_without_a_limit_is_asked_as_fast_as_one_likes(pacer, table):
    table.answer = Terms(is_unbounded=True)
    after_a_first_request(pacer, table)

    for _ in range(1000):
        pacer.admit()

    assert len(table.told) <= 3
    assert pacer.rate == float("inf")


def test_a_limit_is_told_to_all_at_once_and_stops_this_process_before_they_answer(pacer, table):
    table.hang()
    admission = pacer.admit()

    pacer.rate_limited(admission, 30)

    with pytest.raises(RateLimited) as refused:
        pacer.admit()
    assert refused.value.retry_after_s > 29
    table.let_go()
    wait_until(lambda: any(report.limited for report in table.told), "the table was told of the limit")


def test_a_wait_that_others_were_told_of_holds_here_too(pacer, table):
    table.answer = Terms(limited_s=30, is_limit_known=True)
    after_a_first_request(pacer, table)

    assert pacer.state.gate is Gate.LIMITED
    with pytest.raises(RateLimited):
        pacer.admit()


def test_a_breaker_that_others_opened_is_open_here_until_it_is_this_process_that_may_probe(pacer, table):
    probes = []
    pacer.when_probing(lambda: probes.append(1))
    table.answer = Terms(probe_in_s=0.05, detail_code="provider_timeout")
    after_a_first_request(pacer, table)
    with pytest.raises(EmbeddingProviderUnavailable) as refused:
        pacer.admit()
    assert refused.value.detail_code == "provider_timeout"

    table.answer = Terms(permits=1, probe_in_s=10)
    wait_until(lambda: pacer.state.wait_s == 0, "a probe was due")
    admission = admitted(pacer)

    assert admission.is_probe
    assert probes == [1]
    with pytest.raises(EmbeddingProviderUnavailable):
        pacer.admit()


def test_a_probe_that_succeeds_is_told_at_once(pacer, table):
    table.answer = Terms(permits=1, probe_in_s=10)
    after_a_first_request(pacer, table)
    admission = pacer.admit()
    table.answer = Terms()

    pacer.succeeded(admission)

    wait_until(lambda: any(report.succeeded_age_s is not None for report in table.told), "the table was told")
    wait_until(lambda: pacer.state.gate is Gate.CLOSED, "the breaker closed")


def test_failures_are_told_at_once(pacer, table):
    pacer.admit()

    pacer.failed("provider_timeout")

    wait_until(lambda: any(report.failures for report in table.told), "the table was told")


@pytest.mark.parametrize("trouble", ["away", "hanging"])
def test_while_the_table_says_nothing_the_process_goes_on_alone_and_carefully(pacer, table, trouble):
    table.is_away = trouble == "away"
    if trouble == "hanging":
        table.hang()
    started = time.monotonic()

    for _ in range(5):
        admitted(pacer)

    assert time.monotonic() - started < 5 * SILENCE_S + 10


def test_alone_at_a_known_limit_it_goes_on_slowly(pacer, table):
    table.answer = PACED
    after_a_first_request(pacer, table)
    table.hang()

    admitted(pacer)

    with pytest.raises(NotYet):
        pacer.admit()


def test_who_waits_is_woken_when_the_table_has_answered(pacer, table):
    woken = threading.Event()
    pacer.when_changed(woken.set)

    pacer.admit()

    assert woken.wait(20)


def test_many_processes_at_one_table_send_no_more_than_the_rate():
    rows, lock, sent = [Course(rate=50, is_limit_known=True, booked_s=0)], threading.Lock(), []
    written_s = [time.monotonic()]

    def shared(report: Report) -> Terms:
        with lock:
            elapsed_s = time.monotonic() - written_s[0]
            written_s[0] += elapsed_s
            course = rows[0]
            before = Course(**{**vars(course), "booked_s": course.booked_s - elapsed_s})
            rows[0], terms = exchange(before, report)
            return terms

    pacers = [SharedPacer(Pacer(), shared) for _ in range(8)]
    started = time.monotonic()
    while time.monotonic() < started + 1:
        for pacer in pacers:
            try:
                pacer.admit(4)
                sent.append(1)
            except NotYet:
                time.sleep(0.0005)
    elapsed_s = time.monotonic() - started
    for pacer in pacers:
        pacer.close()

    on_credit = len(pacers)  # one each, before the terms had come
    assert len(sent) <= rows[0].rate * (elapsed_s + 0.65) + on_credit
