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

from sluice_common.errors import EmbeddingProviderUnavailable, EmbeddingRejected
from sluice_common.ports import EmbeddingProvider

Vectors = NDArray[np.float32]


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


class Coalescer:
    """Puts the texts of many calling threads into few provider requests, in the order they came.

    A request is sent when it is full, or when its oldest text has waited `linger_s`; while `max_in_flight`
    requests are under way, texts gather for the next. A call's texts may travel in several requests.
    Where a request with texts of several callers is rejected, each caller's part is tried alone, so that
    one caller's bad text is nobody else's trouble.

    Args:
        provider: asked from up to *max_in_flight* threads at once.
        batch_size: most texts of one request.
        max_in_flight: most requests under way at once.
        linger_s: longest wait for others to share a request with.
    """

    def __init__(self, provider: EmbeddingProvider, *, batch_size: int, max_in_flight: int, linger_s: float) -> None:
        self._provider = provider
        self._batch_size = batch_size
        self._linger_s = linger_s
        self._changed = threading.Condition()
        self._waiting: deque[_Call] = deque()
        self._waiting_texts = 0
        self._alone: deque[_Part] = deque()
        self._in_flight = 0
        self._max_in_flight = max_in_flight
        self._is_closed = False
        self._senders = ThreadPoolExecutor(max_in_flight, thread_name_prefix="embedding-request")
        self._gatherer = threading.Thread(target=self._gather, name="embedding-gatherer", daemon=True)
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

    def _gather(self) -> None:
        while parts := self._next_request():
            texts = [text for part in parts for text in part.texts()]
            request = self._senders.submit(self._provider.embed, texts)
            request.add_done_callback(partial(self._deliver, parts))

    def _next_request(self) -> list[_Part]:
        """The parts of the next request, when it is due and may be sent; none when all is done."""
        with self._changed:
            while not self._is_ended():
                wait_s = self._wait_s()
                if wait_s is not None and wait_s <= 0:
                    self._in_flight += 1
                    return [self._alone.popleft()] if self._alone else self._take()
                self._changed.wait(wait_s)
            return []

    def _is_ended(self) -> bool:
        # A rejected request comes back in parts, so the last one must have been answered too.
        return self._is_closed and not (self._waiting or self._alone or self._in_flight)

    def _wait_s(self) -> float | None:
        """Seconds until a request is due; None: not before something changes."""
        if self._in_flight == self._max_in_flight:
            return None
        if self._alone:
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
                ended = self._share_out(parts, request.result())
            elif isinstance(error, EmbeddingRejected) and len(parts) > 1:
                self._alone.extend(parts)
                ended = []
            else:
                ended = self._give_up(parts)
            for call in ended:
                _end(call, error)
            self._changed.notify_all()

    def _share_out(self, parts: list[_Part], vectors: Vectors) -> list[_Call]:
        start = 0
        for part in parts:
            size = part.stop - part.start
            part.call.keep(part.start, vectors[start : start + size])
            start += size
        return [part.call for part in parts if part.call.answered == len(part.call.texts)]

    def _give_up(self, parts: list[_Part]) -> list[_Call]:
        calls = [part.call for part in parts]
        for call in calls:
            if call in self._waiting:  # the rest of its texts would be paid for in vain
                self._waiting.remove(call)
                self._waiting_texts -= len(call.texts) - call.taken
        self._alone = deque(part for part in self._alone if part.call not in calls)
        return calls


def _end(call: _Call, error: BaseException | None) -> None:
    if call.result.done():  # two of its requests failed
        return
    if error is not None:
        call.result.set_exception(error)
    elif call.vectors is not None:
        call.result.set_result(call.vectors)
