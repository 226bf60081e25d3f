"""The coalescer: texts of many callers in few provider requests, and nobody's trouble but one's own."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from sluice_common.errors import EmbeddingProviderUnavailable, EmbeddingRejected, RateLimited
from sluice_common.testing import FakeEmbeddings
from sluice_embedder.batching import Coalescer
from sluice_embedder.pacing import Admission, NotYet, Pace
from sluice_embedder.pacing import Gate as Way

NEVER_S = 60.0
"""A linger that no test waits for: a request that is sent all the same was full."""


class Gate:
    """Holds every call at the provider's door until the test opens it; notes who came and how many were inside."""

    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.most_inside = 0
        self._inside = 0
        self._open = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, texts: Sequence[str]) -> None:
        with self._lock:
            self.requests.append(list(texts))
            self._inside += 1
            self.most_inside = max(self.most_inside, self._inside)
        assert self._open.wait(30)
        with self._lock:
            self._inside -= 1

    def open(self) -> None:
        self._open.set()


class Requests:
    """Notes the requests, and rejects those that hold a text named bad."""

    def __init__(self) -> None:
        self.made: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> None:
        self.made.append(list(texts))
        if "bad" in texts:
            raise EmbeddingRejected("too long")


@pytest.fixture
def provider() -> FakeEmbeddings:
    return FakeEmbeddings()


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as threads:
        yield threads


@pytest.fixture
def coalesce(provider: FakeEmbeddings) -> Iterator[Callable[..., Coalescer]]:
    made: list[Coalescer] = []

    def make(*, batch_size: int = 4, max_in_flight: int = 2, linger_s: float = NEVER_S) -> Coalescer:
        made.append(Coalescer(provider, batch_size=batch_size, max_in_flight=max_in_flight, linger_s=linger_s))
        return made[-1]

    yield make
    for coalescer in made:
        coalescer.close()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.001)


def named(name: str, count: int) -> list[str]:
    return [f"{name} {number}" for number in range(count)]


def vectors_of(texts: Sequence[str]) -> np.ndarray:
    return FakeEmbeddings().embed(texts)


def in_turn(callers: ThreadPoolExecutor, coalescer: Coalescer, *calls: list[str]) -> list[Future[np.ndarray]]:
    """The calls, each begun when the one before it has arrived."""
    begun = []
    for texts in calls:
        before = coalescer._waiting_texts
        begun.append(callers.submit(coalescer.embed, texts))
        wait_until(lambda before=before: coalescer._waiting_texts != before, "a call arrived")
    return begun


def busy(provider: FakeEmbeddings, coalescer: Coalescer, callers: ThreadPoolExecutor, *, requests: int = 2) -> Gate:
    """Keeps the provider busy with full requests, so that what comes next has to wait."""
    provider.fault = gate = Gate()
    for number in range(requests):
        callers.submit(coalescer.embed, named(f"busy {number}", coalescer._batch_size))
    wait_until(lambda: len(gate.requests) == requests, "the provider is busy")
    return gate


def test_one_caller_gets_its_vectors_in_the_order_of_its_texts(coalesce):
    texts = named("a", 4)

    np.testing.assert_array_equal(coalesce().embed(texts), vectors_of(texts))


def test_a_lonely_text_is_sent_when_nothing_came_to_share_its_request(coalesce, provider):
    vectors = coalesce(linger_s=0.003).embed(["only"])

    np.testing.assert_array_equal(vectors, vectors_of(["only"]))
    assert provider.calls == 1


def test_a_full_request_does_not_linger(coalesce, provider):
    coalesce(linger_s=NEVER_S).embed(named("a", 4))

    assert provider.calls == 1


def test_texts_of_several_callers_share_one_request(coalesce, provider, callers):
    coalescer = coalesce(batch_size=6)

    calls = {name: callers.submit(coalescer.embed, named(name, 2)) for name in "abc"}

    for name, call in calls.items():
        np.testing.assert_array_equal(call.result(20), vectors_of(named(name, 2)))
    assert provider.calls == 1


def test_a_call_larger_than_a_request_is_split_and_put_together_again(coalesce, provider):
    texts = named("long", 11)

    vectors = coalesce(linger_s=0.003).embed(texts)

    np.testing.assert_array_equal(vectors, vectors_of(texts))
    assert provider.calls == 3


def test_a_call_may_begin_in_one_request_and_end_in_the_next(coalesce, provider, callers):
    coalescer = coalesce(batch_size=4)
    gate = busy(provider, coalescer, callers)

    first, second, third = in_turn(callers, coalescer, named("a", 3), named("b", 3), named("c", 2))
    gate.open()

    assert [call.result(20).shape[0] for call in (first, second, third)] == [3, 3, 2]
    assert sorted(gate.requests[2:]) == [["a 0", "a 1", "a 2", "b 0"], ["b 1", "b 2", "c 0", "c 1"]]


def test_texts_are_sent_in_the_order_they_came(coalesce, provider, callers):
    coalescer = coalesce(batch_size=2, max_in_flight=1)
    gate = busy(provider, coalescer, callers, requests=1)

    calls = in_turn(callers, coalescer, *(named(name, 2) for name in "abcdefg"))
    gate.open()

    for call in calls:
        call.result(20)
    assert [request[0] for request in gate.requests[1:]] == [f"{name} 0" for name in "abcdefg"]


def test_never_more_requests_are_under_way_than_allowed(coalesce, provider, callers):
    coalescer = coalesce(batch_size=2, max_in_flight=3)
    gate = busy(provider, coalescer, callers, requests=3)

    calls = in_turn(callers, coalescer, *(named(f"call {number}", 2) for number in range(12)))
    gate.open()

    for call in calls:
        call.result(20)
    assert gate.most_inside == 3


def test_while_the_provider_is_busy_texts_gather_for_full_requests(coalesce, provider, callers):
    coalescer = coalesce(batch_size=8, max_in_flight=1, linger_s=0.0)
    gate = busy(provider, coalescer, callers, requests=1)

    calls = in_turn(callers, coalescer, *([f"single {number}"] for number in range(24)))
    gate.open()

    for call in calls:
        call.result(20)
    assert [len(request) for request in gate.requests[1:]] == [8, 8, 8]


def test_one_callers_bad_text_does_not_hurt_the_others(coalesce, provider, callers):
    provider.fault = requests = Requests()
    coalescer = coalesce(batch_size=5)

    good, bad = in_turn(callers, coalescer, ["a", "b"], ["bad", "c"])
    other = callers.submit(coalescer.embed, ["d"])

    np.testing.assert_array_equal(good.result(20), vectors_of(["a", "b"]))
    np.testing.assert_array_equal(other.result(20), vectors_of(["d"]))
    with pytest.raises(EmbeddingRejected, match="too long"):
        bad.result(20)
    assert sorted(requests.made[1:]) == [["a", "b"], ["bad", "c"], ["d"]]


def test_a_lonely_callers_rejected_text_is_asked_about_once(coalesce, provider):
    provider.fault = requests = Requests()

    with pytest.raises(EmbeddingRejected):
        coalesce(linger_s=0.0).embed(["bad", "c"])

    assert requests.made == [["bad", "c"]]


def test_any_other_failure_reaches_every_caller_of_the_request(coalesce, provider, callers):
    provider.fault = RateLimited(retry_after_s=7)
    coalescer = coalesce(batch_size=2)

    calls = [callers.submit(coalescer.embed, [name]) for name in "ab"]

    for call in calls:
        with pytest.raises(RateLimited) as refused:
            call.result(20)
        assert refused.value.retry_after_s == 7
    assert provider.calls == 1


def test_an_error_that_nobody_foresaw_reaches_the_caller_and_the_coalescer_lives_on(coalesce, provider):
    def break_down(_texts: Sequence[str]) -> None:
        raise ZeroDivisionError

    coalescer = coalesce(linger_s=0.0)
    provider.fault = break_down
    with pytest.raises(ZeroDivisionError):
        coalescer.embed(["a"])

    provider.fault = None
    assert coalescer.embed(["a"]).shape == (1, 32)


def test_the_rest_of_a_call_that_failed_is_not_paid_for(coalesce, provider, callers):
    coalescer = coalesce(batch_size=4, max_in_flight=1)
    gate = busy(provider, coalescer, callers, requests=1)
    (long,) = in_turn(callers, coalescer, named("long", 400))
    provider.fault = EmbeddingProviderUnavailable("away")
    gate.open()

    with pytest.raises(EmbeddingProviderUnavailable):
        long.result(20)

    provider.fault = None
    coalescer.embed(named("after", 4))
    assert provider.calls == 3


def test_no_texts_need_no_request(coalesce, provider):
    assert coalesce().embed([]).shape == (0, 32)
    assert provider.calls == 0


def test_a_close_sends_what_waits_and_answers_everyone(coalesce, provider, callers):
    coalescer = coalesce(batch_size=100, linger_s=NEVER_S)
    calls = in_turn(callers, coalescer, ["a"], ["b", "c"])

    coalescer.close()

    assert [call.result(20).shape[0] for call in calls] == [1, 2]
    assert provider.calls == 1


def test_a_close_also_answers_those_whose_request_was_rejected(coalesce, provider, callers):
    provider.fault = Requests()
    coalescer = coalesce(batch_size=100, linger_s=NEVER_S)
    good, bad = in_turn(callers, coalescer, ["a"], ["bad"])

    coalescer.close()

    assert good.result(20).shape == (1, 32)
    with pytest.raises(EmbeddingRejected):
        bad.result(20)


def test_after_the_close_no_texts_are_taken(coalesce):
    coalescer = coalesce()
    coalescer.close()
    coalescer.close()

    with pytest.raises(EmbeddingProviderUnavailable) as refused:
        coalescer.embed(["late"])
    assert refused.value.detail_code == "embedder_stopping"


def test_many_callers_at_once_each_get_exactly_their_own(coalesce, callers):
    coalescer = coalesce(batch_size=16, max_in_flight=4, linger_s=0.001)
    texts_of = {name: named(name, 1 + number % 40) for number, name in enumerate(named("caller", 200))}

    calls = {name: callers.submit(coalescer.embed, texts) for name, texts in texts_of.items()}

    for name, call in calls.items():
        np.testing.assert_array_equal(call.result(30), vectors_of(texts_of[name]))


class Turnstile:
    """Lets as many requests out as the test says; what refuses the others, it says too."""

    def __init__(self, refusal: Exception) -> None:
        self.refusal = refusal
        self.free = 0
        self.limited = 0
        self.state = Pace(Way.CLOSED)
        self._wake: Callable[[], None] = lambda: None

    def admit(self, wanted: int = 1) -> Admission:
        assert wanted >= 1
        if not self.free:
            raise self.refusal
        self.free -= 1
        return Admission(0.0)

    def let_through(self, requests: int) -> None:
        self.free = requests
        self._wake()

    def succeeded(self, _admission: Admission) -> None: ...

    def rate_limited(self, _admission: Admission, _retry_after_s: float | None) -> None:
        self.limited += 1

    def failed(self, _detail_code: str | None) -> None: ...

    def when_changed(self, wake: Callable[[], None]) -> None:
        self._wake = wake


@pytest.fixture
def paced(provider: FakeEmbeddings) -> Iterator[Callable[..., Coalescer]]:
    made: list[Coalescer] = []

    def make(pacer: Turnstile, *, patience_s: float) -> Coalescer:
        how = {"batch_size": 4, "max_in_flight": 2, "linger_s": 0.001}
        made.append(Coalescer(provider, pacer=pacer, patience_s=patience_s, **how))
        return made[-1]

    yield make
    for coalescer in made:
        coalescer.close()


def test_while_the_pacer_lets_nothing_out_texts_gather_for_a_fuller_request(paced, provider, callers):
    turnstile = Turnstile(NotYet(10))
    coalescer = paced(turnstile, patience_s=NEVER_S)
    calls = in_turn(callers, coalescer, ["a"], ["b"], ["c"], ["d"])

    turnstile.let_through(1)

    assert [call.result(20).shape[0] for call in calls] == [1, 1, 1, 1]
    assert provider.calls == 1


def test_a_call_whose_turn_does_not_come_in_time_is_given_back_unpaid(paced, provider, callers):
    coalescer = paced(Turnstile(NotYet(0.01)), patience_s=0.05)

    with pytest.raises(RateLimited):
        callers.submit(coalescer.embed, ["late"]).result(20)

    assert provider.calls == 0


def test_a_request_that_the_provider_was_too_busy_for_goes_again(paced, provider, callers):
    turnstile = Turnstile(NotYet(0.01))
    coalescer = paced(turnstile, patience_s=NEVER_S)
    provider.fault = RateLimited("slow down", retry_after_s=0.01)
    call = callers.submit(coalescer.embed, ["a", "b"])
    turnstile.let_through(1)
    wait_until(lambda: turnstile.limited == 1, "the provider was too busy")
    provider.fault = None

    turnstile.let_through(1)

    np.testing.assert_array_equal(call.result(20), vectors_of(["a", "b"]))


def test_a_wait_longer_than_the_patience_is_handed_on(paced, callers):
    coalescer = paced(Turnstile(RateLimited("slow down", retry_after_s=90)), patience_s=15)

    with pytest.raises(RateLimited) as refused:
        callers.submit(coalescer.embed, ["a"]).result(20)

    assert refused.value.retry_after_s == 90


def test_nobody_waits_for_a_provider_that_is_away(paced, callers):
    coalescer = paced(Turnstile(EmbeddingProviderUnavailable("away")), patience_s=NEVER_S)

    with pytest.raises(EmbeddingProviderUnavailable):
        callers.submit(coalescer.embed, ["a"]).result(20)


def test_a_close_does_not_wait_for_the_pacer(paced, callers):
    coalescer = paced(Turnstile(NotYet(10)), patience_s=NEVER_S)
    (call,) = in_turn(callers, coalescer, ["a"])

    coalescer.close()

    with pytest.raises(RateLimited):
        call.result(20)
