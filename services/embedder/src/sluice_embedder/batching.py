"""Provider requests that are made of the texts of several batches, so that small documents do not cost one each."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sluice_common.errors import EmbeddingProviderUnavailable, EmbeddingRejected, RateLimited
from sluice_common.ports import EmbeddingProvider
from sluice_embedder.pacing import Admission, NotYet, Pacer, Pacing, embed_admitted

Vectors = NDArray[np.float32]

PAID_PATIENCE = 2
"""How many times longer a call may wait of which some texts are paid for already."""


@dataclass(eq=False)
class _Call:
    """One caller's texts: how far they are on their way, and what came back of them."""

    texts: Sequence[str]
    came_at_s: float
    taken: int = 0
    answered: int = 0
    result: Future[Vectors] = field(default_factory=Future)
    vectors: Vectors | None = None

    def keep(self, start: int, vectors: Vectors) -> None:
        if self.vectors is None:
            self.vectors = np.empty((len(self.texts), vectors.shape[1]), dtype=np.float32)
        self.vectors[start : start + len(vectors)] = vectors
        self.answered += len(vectors)


@dataclass(frozen=True)
class _Part:
    """The texts of one call that travel in one request."""

    call: _Call
    start: int
    stop: int

    def texts(self) -> Sequence[str]:
        return self.call.texts[self.start : self.stop]


@dataclass(frozen=True)
class _Request:
    parts: list[_Part]
    admission: Admission


class Coalescer:
    """Puts the texts of many calling threads into few provider requests, in the order they came.

    A request is sent when it is full, or when its oldest text has waited `linger_s`; while `max_in_flight`
    requests are under way, texts gather for the next. A call's texts may travel in several requests.
    Where a request with texts of several callers is rejected, each caller's part is tried alone, so that
    one caller's bad text is nobody else's trouble.

    What goes into a request is decided when the pacer lets it out, so that texts gather while it does not. A
    request that the provider was too busy for goes again. A call that would have to wait longer than `patience_s`
    is given back, a little later where some of its texts are paid for already.

    Args:
        provider: asked from up to *max_in_flight* threads at once.
        batch_size: most texts of one request.
        max_in_flight: most requests under way at once.
        linger_s: longest wait for others to share a request with.
        pacer: lets the requests out; one of its own when None.
        patience_s: how long a call may wait for the pacer.
    """

    def __init__(
        self,
        provider: EmbeddingProvider,
        *,
        batch_size: int,
        max_in_flight: int,
        linger_s: float,
        pacer: Pacing | None = None,
        patience_s: float = 0.0,
    ) -> None:
        self._provider = provider
        self._pacer = pacer or Pacer()
        self._patience_s = patience_s
        self._batch_size = batch_size
        self._linger_s = linger_s
        self._changed = threading.Condition()
        self._waiting: deque[_Call] = deque()
        self._waiting_texts = 0
        self._again: deque[list[_Part]] = deque()
        self._in_flight = 0
        self._max_in_flight = max_in_flight
        self._is_closed = False
        self._senders = ThreadPoolExecutor(max_in_flight, thread_name_prefix="embedding-request")
        self._gatherer = threading.Thread(target=self._gather, name="embedding-gatherer", daemon=True)
        self._pacer.when_changed(self._look_again)
        self._gatherer.start()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed *texts*; waits until all their vectors are there.

        Returns:
            Unit vectors, float32, shape ``(len(texts), dimensions)``, in the order of *texts*.

        Raises:
            What the provider raises. EmbeddingRejected is about these texts only.
            EmbeddingProviderUnavailable: also after `close`.
        """
        if not texts:
            return np.empty((0, self._provider.dimensions()), dtype=np.float32)
        call = _Call(texts, time.monotonic())
        with self._changed:
            if self._is_closed:
                raise EmbeddingProviderUnavailable("the embedder stops", detail_code="embedder_stopping")
            self._waiting.append(call)
            self._waiting_texts += len(texts)
            self._changed.notify_all()
        return call.result.result()

    def close(self) -> None:
        """Take no more texts, send what waits, and return when every caller has its answer."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._gatherer.join()
        self._senders.shutdown()

    def _look_again(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _gather(self) -> None:
        while (request := self._next_request()) is not None:
            texts = [text for part in request.parts for text in part.texts()]
            sent = self._senders.submit(embed_admitted, self._provider, texts, self._pacer, request.admission)
            sent.add_done_callback(partial(self._deliver, request.parts))

    def _next_request(self) -> _Request | None:
        """The next request, when it is due and may be sent; None when all is done."""
        with self._changed:
            while not self._is_ended():
                wait_s = self._wait_s()
                if wait_s is not None and wait_s <= 0:
                    admission = self._admitted()
                    if isinstance(admission, Admission):
                        self._in_flight += 1
                        return _Request(self._again.popleft() if self._again else self._take(), admission)
                    wait_s = admission
                self._changed.wait(wait_s)
            return None

    def _admitted(self) -> Admission | float:
        """The leave to send a request, or for how many seconds there is none."""
        try:
            return self._pacer.admit(self._wanted())
        except RateLimited as error:
            wait_s = error.wait_s if isinstance(error, NotYet) else error.retry_after_s or 0.0
            self._end_all([call for call in self._calls() if not self._can_wait(call, wait_s)], error)
            return wait_s if self._calls() else 0.0
        except EmbeddingProviderUnavailable as error:
            self._end_all(self._calls(), error)
            return 0.0

    def _wanted(self) -> int:
        requests = len(self._again) + -(-self._waiting_texts // self._batch_size)
        return min(requests, self._max_in_flight - self._in_flight)

    def _calls(self) -> list[_Call]:
        """Every call that waits with some of its texts."""
        again = [part.call for parts in self._again for part in parts]
        return list(dict.fromkeys([*again, *self._waiting]))

    def _can_wait(self, call: _Call, wait_s: float) -> bool:
        if self._is_closed:
            return False
        patience_s = self._patience_s * (PAID_PATIENCE if call.taken else 1)
        return time.monotonic() + wait_s <= call.came_at_s + patience_s

    def _end_all(self, calls: Sequence[_Call], error: BaseException) -> None:
        self._forget(calls)
        for call in calls:
            _end(call, error)

    def _is_ended(self) -> bool:
        # A rejected request comes back in parts, so the last one must have been answered too.
        return self._is_closed and not (self._waiting or self._again or self._in_flight)

    def _wait_s(self) -> float | None:
        """Seconds until a request is due; None: not before something changes."""
        if self._in_flight == self._max_in_flight:
            return None
        if self._again:
            return 0
        if not self._waiting:
            return None
        if self._is_closed or self._waiting_texts >= self._batch_size:
            return 0
        return self._waiting[0].came_at_s + self._linger_s - time.monotonic()

    def _take(self) -> list[_Part]:
        parts: list[_Part] = []
        room = self._batch_size
        while room and self._waiting:
            part = self._take_of(self._waiting[0], room)
            room -= part.stop - part.start
            parts.append(part)
        return parts

    def _take_of(self, call: _Call, room: int) -> _Part:
        start, stop = call.taken, min(call.taken + room, len(call.texts))
        call.taken = stop
        self._waiting_texts -= stop - start
        if stop == len(call.texts):
            self._waiting.popleft()
        return _Part(call, start, stop)

    def _deliver(self, parts: list[_Part], request: Future[Vectors]) -> None:
        error = request.exception()
        with self._changed:
            self._in_flight -= 1
            if error is None:
                for call in self._share_out(parts, request.result()):
                    _end(call)
            elif isinstance(error, RateLimited) and self._patience_s:
                self._again.append(parts)
                self._forget([part.call for part in parts if part.call.result.done()])
            elif isinstance(error, EmbeddingRejected) and len(parts) > 1:
                self._again.extend([part] for part in parts)
            else:
                self._end_all([part.call for part in parts], error)
            self._changed.notify_all()

    def _share_out(self, parts: list[_Part], vectors: Vectors) -> list[_Call]:
        start = 0
        for part in parts:
            size = part.stop - part.start
            part.call.keep(part.start, vectors[start : start + size])
            start += size
        return [part.call for part in parts if part.call.answered == len(part.call.texts)]

    def _forget(self, calls: Sequence[_Call]) -> None:
        """Send nothing more of *calls*: the rest of their texts would be paid for in vain."""
        for call in calls:
            if call in self._waiting:
                self._waiting.remove(call)
                self._waiting_texts -= len(call.texts) - call.taken
        kept = ([part for part in parts if part.call not in calls] for parts in self._again)
        self._again = deque(parts for parts in kept if parts)


def _end(call: _Call, error: BaseException | None = None) -> None:
    if call.result.done():  # two of its requests failed
        return
    if error is not None:
        call.result.set_exception(error)
    elif call.vectors is not None:
        call.result.set_result(call.vectors)
