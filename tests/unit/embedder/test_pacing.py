"""The pace: waits that the provider asks for, and a breaker for when it is away."""

import pytest
from clocks import Clock

from sluice_common.errors import DimensionMismatch, EmbeddingProviderUnavailable, EmbeddingRejected, RateLimited
from sluice_common.testing import FakeEmbeddings
from sluice_embedder.pacing import Gate, Pace, Pacer, embed_admitted


class Paced:
    """A provider that is asked as the embedder asks it: with the pacer's leave, which hears what came of it."""

    def __init__(self, provider: FakeEmbeddings, pacer: Pacer) -> None:
        self._provider = provider
        self._pacer = pacer

    def embed(self, texts: list[str]) -> object:
        return embed_admitted(self._provider, texts, self._pacer, self._pacer.admit())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pacer(clock: Clock) -> Pacer:
    return Pacer(clock=clock, spread=lambda longest_s: longest_s)


@pytest.fixture
def provider() -> FakeEmbeddings:
    return FakeEmbeddings()


@pytest.fixture
def paced(provider: FakeEmbeddings, pacer: Pacer) -> Paced:
    return Paced(provider, pacer)


def away() -> EmbeddingProviderUnavailable:
    return EmbeddingProviderUnavailable("away", detail_code="provider_timeout")


def fails(paced: Paced, expected: type[Exception], *, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(expected):
            paced.embed(["text"])


def wait_after(paced: Paced) -> float:
    with pytest.raises(RateLimited) as refused:
        paced.embed(["text"])
    assert refused.value.retry_after_s is not None
    return refused.value.retry_after_s


def open_breaker(paced: Paced, provider: FakeEmbeddings) -> None:
    provider.fault = away()
    fails(paced, EmbeddingProviderUnavailable, times=5)


def test_while_all_is_well_every_request_goes_out(paced, provider, pacer):
    for _ in range(10):
        paced.embed(["text"])

    assert provider.calls == 10
    assert pacer.state == Pace(Gate.CLOSED)


def test_a_provider_is_not_asked_before_the_time_it_named(paced, provider, pacer, clock):
    provider.fault = RateLimited(retry_after_s=20)
    fails(paced, RateLimited)
    provider.fault = None

    assert pacer.state == Pace(Gate.LIMITED, 20, "rate_limited")
    clock.advance(19)
    assert wait_after(paced) == 1
    assert provider.calls == 1
    clock.advance(1)
    paced.embed(["text"])
    assert provider.calls == 2


def test_the_wait_doubles_up_to_a_minute_when_the_provider_names_none(paced, provider, clock):
    provider.fault = RateLimited()

    waits = []
    for _ in range(9):
        fails(paced, RateLimited)
        waits.append(wait_after(paced))
        clock.advance(waits[-1])

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_the_wait_is_spread_over_the_whole_time_so_that_embedders_do_not_come_back_together(clock):
    waits = set()
    for _ in range(50):
        pacer = Pacer(clock=clock)
        pacer.rate_limited(pacer.admit(), None)
        waits.add(pacer.state.wait_s)

    assert all(0 <= wait <= 1 for wait in waits)
    assert len(waits) > 40


def test_a_success_after_the_wait_begins_the_doubling_anew(paced, provider, clock):
    provider.fault = RateLimited()
    for _ in range(4):
        fails(paced, RateLimited)
        clock.advance(60)
    provider.fault = None
    paced.embed(["text"])

    provider.fault = RateLimited()
    fails(paced, RateLimited)

    assert wait_after(paced) == 1


def test_requests_that_were_under_way_together_count_as_one_limit(pacer, clock):
    admissions = [pacer.admit() for _ in range(16)]

    for admission in admissions:
        pacer.rate_limited(admission, None)

    assert pacer.state.wait_s == 1


def test_an_answer_to_a_request_from_before_the_limit_does_not_end_the_wait(pacer):
    early, late = pacer.admit(), pacer.admit()
    pacer.rate_limited(late, 30)

    pacer.succeeded(early)

    assert pacer.state.gate is Gate.LIMITED


def test_the_longest_of_several_waits_counts(pacer):
    first, second = pacer.admit(), pacer.admit()

    pacer.rate_limited(first, 30)
    pacer.rate_limited(second, 5)

    assert pacer.state.wait_s == 30


def test_too_many_and_at_once_is_a_contradiction_that_is_answered_with_a_wait(pacer):
    pacer.rate_limited(pacer.admit(), 0)

    assert pacer.state.wait_s == 1


def test_no_provider_can_stop_us_for_longer_than_an_hour(pacer):
    pacer.rate_limited(pacer.admit(), 1e9)

    assert pacer.state.wait_s == 3600


def test_the_fifth_failure_opens_the_breaker_and_nobody_is_sent_into_it(paced, provider, pacer):
    open_breaker(paced, provider)

    assert pacer.state == Pace(Gate.OPEN, 10, "provider_timeout")
    with pytest.raises(EmbeddingProviderUnavailable) as refused:
        paced.embed(["text"])
    assert refused.value.detail_code == "provider_timeout"
    assert provider.calls == 5


def test_four_failures_open_nothing(paced, provider, pacer):
    provider.fault = away()

    fails(paced, EmbeddingProviderUnavailable, times=4)

    assert pacer.state.gate is Gate.CLOSED


def test_failures_far_apart_open_nothing(paced, provider, pacer, clock):
    provider.fault = away()

    for _ in range(20):
        fails(paced, EmbeddingProviderUnavailable)
        clock.advance(8)

    assert pacer.state.gate is Gate.CLOSED


def test_a_success_in_between_forgives_the_failures(paced, provider, pacer):
    for _ in range(5):
        provider.fault = away()
        fails(paced, EmbeddingProviderUnavailable, times=4)
        provider.fault = None
        paced.embed(["text"])

    assert pacer.state.gate is Gate.CLOSED


def test_an_open_breaker_lets_one_probe_through_each_ten_seconds(paced, provider, pacer, clock):
    open_breaker(paced, provider)

    for _ in range(3):
        clock.advance(10)
        fails(paced, EmbeddingProviderUnavailable, times=5)

    assert provider.calls == 5 + 3
    assert pacer.state.wait_s == 10


def test_a_probe_that_succeeds_closes_the_breaker(paced, provider, pacer, clock):
    open_breaker(paced, provider)
    provider.fault = None

    clock.advance(10)
    paced.embed(["text"])

    assert pacer.state == Pace(Gate.CLOSED)


def test_a_probe_that_never_tells_its_outcome_does_not_keep_the_breaker_open(paced, provider, pacer, clock):
    open_breaker(paced, provider)
    clock.advance(10)
    pacer.admit()
    provider.fault = None

    clock.advance(10)
    paced.embed(["text"])

    assert pacer.state.gate is Gate.CLOSED


def test_a_probe_that_is_told_to_wait_closes_the_breaker_and_waits(paced, provider, pacer, clock):
    open_breaker(paced, provider)
    provider.fault = RateLimited(retry_after_s=7)

    clock.advance(10)
    fails(paced, RateLimited)

    assert pacer.state == Pace(Gate.LIMITED, 7, "rate_limited")
    clock.advance(7)
    assert pacer.state.gate is Gate.CLOSED


def test_a_refusal_of_the_texts_says_that_the_provider_is_there(paced, provider, pacer):
    provider.fault = away()
    fails(paced, EmbeddingProviderUnavailable, times=4)
    provider.fault = EmbeddingRejected()
    fails(paced, EmbeddingRejected)
    provider.fault = away()
    fails(paced, EmbeddingProviderUnavailable)

    assert pacer.state.gate is Gate.CLOSED


def test_vectors_of_another_length_again_and_again_open_the_breaker(paced, provider, pacer):
    provider.fault = DimensionMismatch()

    fails(paced, DimensionMismatch, times=5)

    assert pacer.state == Pace(Gate.OPEN, 10, "dimension_mismatch")


def test_looking_at_the_pace_takes_no_probe_away(paced, provider, pacer, clock):
    open_breaker(paced, provider)
    provider.fault = None
    clock.advance(10)

    for _ in range(5):
        assert pacer.state == Pace(Gate.OPEN, 0, "provider_timeout")

    paced.embed(["text"])
    assert pacer.state.gate is Gate.CLOSED
