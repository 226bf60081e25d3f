"""Fakes that keep the contract suites of their ports, for tests where the real thing cannot be had."""

import hashlib
import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sluice_common.errors import PipelineError

_DIGEST_NUMBERS = 16


class FakeEmbeddings:
    """An `EmbeddingProvider` whose vectors are made of BLAKE2b digests: the same text, the same unit vector.

    Attributes:
        fault: what fails the calls from now on: an error that each of them raises, or a function that gets
            the texts and may raise, or wait, as the test likes. None: all is well.
        calls: how many times `embed` was called, failed calls included.
        texts: how many texts those calls had together.
    """

    def __init__(self, *, dimensions: int = 32, model: str = "fake") -> None:
        self.fault: PipelineError | Callable[[Sequence[str]], None] | None = None
        self.calls = 0
        self.texts = 0
        self._dimensions = dimensions
        self._model = model
        self._counting = threading.Lock()

    @property
    def model(self) -> str:
        return self._model

    def dimensions(self) -> int:
        return self._dimensions

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        with self._counting:
            self.calls += 1
            self.texts += len(texts)
        self._fail_if_wanted(texts)
        vectors = [_unit_vector(text, self._dimensions) for text in texts]
        return np.array(vectors, dtype=np.float32).reshape(len(texts), self._dimensions)

    def ping(self) -> None:
        self._fail_if_wanted(())

    def _fail_if_wanted(self, texts: Sequence[str]) -> None:
        if isinstance(self.fault, PipelineError):
            raise self.fault
        if self.fault is not None:
            self.fault(texts)


def _unit_vector(text: str, dimensions: int) -> NDArray[np.float64]:
    digests = [
        hashlib.blake2b(text.encode(errors="replace"), salt=number.to_bytes(16, "little")).digest()
        for number in range(-(-dimensions // _DIGEST_NUMBERS))
    ]
    numbers = np.frombuffer(b"".join(digests), dtype="<i4")[:dimensions].astype(np.float64)
    unit: NDArray[np.float64] = numbers / np.linalg.norm(numbers)
    return unit
