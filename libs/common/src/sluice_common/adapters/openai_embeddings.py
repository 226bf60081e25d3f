"""Embeddings from any server that speaks OpenAI's protocol, every answer checked before it is believed."""

import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
import numpy as np
import openai
import orjson
import pybase64
from numpy.typing import NDArray

from sluice_common.adapters.provider_http import is_this_machine, number_in, wait_asked_for
from sluice_common.errors import (
    DimensionMismatch,
    EmbeddingProviderUnavailable,
    EmbeddingRejected,
    PipelineError,
    RateLimited,
)
from sluice_common.settings import EmbeddingsSettings

MAX_ANSWER_BYTES = 64 * 2**20
"""Largest body of an answer, uncompressed: four times what 2,048 vectors of 1,536 numbers take as base64."""

_SAMPLE = "dimension"

_REJECTED = frozenset({400, 413, 422})
_REFUSED = {
    401: "provider_refused_credentials",
    403: "provider_refused_credentials",
    404: "provider_unknown_model",
}
_HAS_NO_LIST_OF_MODELS = frozenset({404, 405, 501})
_RATE_LIMITED = 429


class OpenAIEmbeddings:
    """An `EmbeddingProvider` behind `POST <base_url>/embeddings`; safe to use from many threads at once.

    It never tries again by itself, follows no redirect, and takes an answer of at most 64 MiB within
    `timeout_s` altogether, however slowly it drips.

    A text is cut where its UTF-8 form passes `max_tokens` bytes: no tokenizer in use makes more than one
    token of a byte, so a cut text is never too long for the model. An English token has about four bytes
    and a Korean one about three, so a model with a small window that shortens texts by itself is better
    served by a `max_tokens` of three times that window.
    """

    def __init__(self, settings: EmbeddingsSettings) -> None:
        self._settings = settings
        self._dimensions = settings.dimensions
        self._asking_dimensions = threading.Lock()
        self._tell_allowance: Callable[[float], None] = _nobody
        _keep_texts_out_of_logs()
        self._client = openai.OpenAI(
            base_url=str(settings.base_url),
            api_key=settings.api_key.get_secret_value(),
            max_retries=0,  # the pace is set for all threads together, and a wait gives the try back
            timeout=settings.timeout_s,
            http_client=_BoundedClient(settings),
        )
        # The client takes these from variables that were set for other programs.
        self._client.organization = self._client.project = None

    @property
    def model(self) -> str:
        return self._settings.model

    def when_allowed(self, tell: Callable[[float], None]) -> None:
        """Call *tell* with the requests per second that the provider's headers allow, after each answer that has them.

        A limit on tokens counts as one on requests like the one that was answered.
        """
        self._tell_allowance = tell

    def dimensions(self) -> int:
        """Length of one vector: as configured, else that of one vector the provider is asked for, once.

        Raises:
            RateLimited, EmbeddingProviderUnavailable, EmbeddingRejected: as `embed`; the next call asks again.
        """
        with self._asking_dimensions:
            if self._dimensions is None:
                self._dimensions = self._ask([_SAMPLE]).shape[1]
            return self._dimensions

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        dimensions = self.dimensions()
        if not texts:
            return np.empty((0, dimensions), dtype=np.float32)
        vectors = self._ask([_cut(text, self._settings.max_tokens) for text in texts])
        if vectors.shape[1] != dimensions:
            raise DimensionMismatch(f"the provider's vectors have {vectors.shape[1]} numbers and not {dimensions}")
        return _to_unit_length(vectors)

    def ping(self) -> None:
        try:
            self._client.models.with_raw_response.list()
        except openai.APIStatusError as error:
            if error.status_code not in _HAS_NO_LIST_OF_MODELS and error.status_code != _RATE_LIMITED:
                raise _unavailable_by_status(error) from error
        except openai.APIError as error:
            raise _unavailable(error) from error

    def close(self) -> None:
        """Close the connections; a call that is under way fails."""
        self._client.close()

    def _ask(self, texts: list[str]) -> NDArray[np.float32]:
        try:
            # `embeddings.create` walks through every text twice before it sends it, and doubles what a vector costs.
            answer = self._client.post(
                "/embeddings",
                content=self._body_with(texts),
                options={"headers": {"Content-Type": "application/json"}},
                cast_to=httpx2.Response,
            )
        except openai.APIStatusError as error:
            raise _named_by_status(error) from error
        except openai.APIError as error:
            raise _unavailable(error) from error
        answered = _json_of(answer.content)
        if (allowed := _allowed_rate(answer.headers, _tokens_of(answered))) is not None:
            self._tell_allowance(allowed)
        return _vectors_of(answered, len(texts))

    def _body_with(self, texts: list[str]) -> bytes:
        body = {"input": texts, "model": self._settings.model, "encoding_format": "base64"}
        if self._settings.send_dimensions and self._settings.dimensions is not None:
            return orjson.dumps({**body, "dimensions": self._settings.dimensions})
        return orjson.dumps(body)


class _BoundedClient(httpx2.Client):
    """Reads every answer itself, so that no answer is larger or later than allowed, errors included."""

    def __init__(self, settings: EmbeddingsSettings) -> None:
        super().__init__(
            timeout=settings.timeout_s,
            follow_redirects=False,  # the key and the texts go to the configured host only
            trust_env=not is_this_machine(settings.base_url.host),
            limits=httpx2.Limits(
                max_connections=settings.max_in_flight + 1,  # one more for `ping`
                max_keepalive_connections=settings.max_in_flight + 1,
            ),
        )
        self._longest_s = settings.timeout_s

    def send(self, request: httpx2.Request, *, stream: bool = False, **how: Any) -> httpx2.Response:  # noqa: ARG002 - always read here  # httpx2's own parameters, handed on
        deadline = time.monotonic() + self._longest_s
        response = super().send(request, stream=True, **how)
        try:
            body = _read_within(response, deadline)
        finally:
            response.close()
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in _BODY_HEADERS]
        return httpx2.Response(response.status_code, headers=headers, content=body, request=request)


_BODY_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class _AnswerTooLarge(httpx2.RequestError):
    pass


def _read_within(response: httpx2.Response, deadline: float) -> bytes:
    pieces: list[bytes] = []
    size = 0
    for piece in response.iter_bytes():
        pieces.append(piece)
        size += len(piece)
        if size > MAX_ANSWER_BYTES:
            raise _AnswerTooLarge("the answer is too large", request=response.request)
        if time.monotonic() > deadline:
            raise httpx2.ReadTimeout("the answer drips", request=response.request)
    return b"".join(pieces)


def _keep_texts_out_of_logs() -> None:
    # At level debug the client writes whole requests, and httpx2 a line per request at level info.
    for name in ("openai", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _cut(text: str, max_bytes: int) -> str:
    # A query may hold half of a surrogate pair, which has no UTF-8 form.
    return text.encode(errors="replace")[:max_bytes].decode(errors="ignore")


@dataclass(frozen=True)
class _Entry:
    index: int
    embedding: str | list[float]


def _json_of(body: bytes) -> Any:  # whatever was sent
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _wrong("it is no answer of an embeddings API", "provider_answer_unreadable") from error


def _vectors_of(answered: Any, count: int) -> NDArray[np.float32]:  # whatever was sent
    """The vectors in the order of the texts, as the provider sent them; shape ``(count, its dimensions)``."""
    entries = _in_order(_entries_of(answered), count)
    try:
        vectors = _decoded([entry.embedding for entry in entries])
    except (ValueError, TypeError, OverflowError) as error:  # binascii.Error is a ValueError
        raise _wrong("its vectors cannot be decoded", "provider_answer_unreadable") from error
    if not np.isfinite(vectors).all():
        raise _wrong("a vector has numbers that are not finite", "provider_answer_not_finite")
    return vectors


def _entries_of(answered: Any) -> list[_Entry]:  # whatever was sent
    try:
        return [_Entry(entry["index"], entry["embedding"]) for entry in answered["data"]]
    except (KeyError, TypeError) as error:
        raise _wrong("it is no answer of an embeddings API", "provider_answer_unreadable") from error


def _in_order(entries: list[_Entry], count: int) -> list[_Entry]:
    by_index = {entry.index: entry for entry in entries if type(entry.index) is int}
    if len(entries) != count or by_index.keys() != set(range(count)):
        raise _wrong(f"it has {len(by_index)} vectors for {count} texts", "provider_answer_incomplete")
    return [by_index[index] for index in range(count)]


def _decoded(embeddings: Sequence[str | list[float]]) -> NDArray[np.float32]:
    if all(isinstance(embedding, str) for embedding in embeddings):
        decoded = [pybase64.b64decode(embedding, validate=True) for embedding in embeddings]  # type: ignore[arg-type]  # all are str
        if not decoded[0] or len({len(numbers) for numbers in decoded}) != 1:
            raise ValueError("vectors of no length, or of several")
        return np.frombuffer(b"".join(decoded), dtype="<f4").reshape(len(decoded), -1)
    # A server that does not know base64 sends lists.
    vectors = np.asarray(embeddings, dtype=np.float32)
    if vectors.ndim != 2 or not vectors.size:  # noqa: PLR2004 - rows of numbers
        raise ValueError("not rows of numbers")
    return vectors


def _to_unit_length(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    if not norms.all():
        raise _wrong("a vector has no length", "provider_zero_vector")
    unit: NDArray[np.float32] = (vectors / norms[:, np.newaxis]).astype(np.float32, copy=False)
    return unit


def _named_by_status(error: openai.APIStatusError) -> PipelineError:
    if error.status_code == _RATE_LIMITED:
        return RateLimited("the provider asks to wait", retry_after_s=wait_asked_for(error.response.headers))
    if error.status_code in _REJECTED:
        return EmbeddingRejected(f"the provider answered {error.status_code}", detail_code=f"http_{error.status_code}")
    return _unavailable_by_status(error)


def _unavailable_by_status(error: openai.APIStatusError) -> EmbeddingProviderUnavailable:
    # A wrong key or model is the operator's to mend; until then the documents wait and none fails.
    code = _REFUSED.get(error.status_code, "provider_failed")
    return EmbeddingProviderUnavailable(f"the provider answered {error.status_code}", detail_code=code)


def _unavailable(error: openai.APIError) -> EmbeddingProviderUnavailable:
    if isinstance(error, openai.APITimeoutError):
        return EmbeddingProviderUnavailable("the provider did not answer in time", detail_code="provider_timeout")
    if isinstance(error.__cause__, _AnswerTooLarge):
        return _wrong("it is larger than 64 MiB", "provider_answer_too_large")
    if isinstance(error.__cause__, httpx2.RemoteProtocolError | httpx2.DecodingError):
        return _wrong("it was cut off", "provider_answer_cut_off")
    return EmbeddingProviderUnavailable("the provider cannot be reached", detail_code="provider_unreachable")


def _wrong(what: str, detail_code: str) -> EmbeddingProviderUnavailable:
    return EmbeddingProviderUnavailable(f"the provider's answer is wrong: {what}", detail_code=detail_code)


def _nobody(_rate: float) -> None:
    """Nobody wants to know."""


def _tokens_of(answered: Any) -> float | None:  # whatever was sent
    try:
        return float(answered["usage"]["total_tokens"]) or None
    except (KeyError, TypeError, ValueError):
        return None


def _allowed_rate(headers: httpx2.Headers, tokens: float | None) -> float | None:
    """Requests per second, by the provider's `x-ratelimit-*` headers; None when it sends none.

    Args:
        headers: of the answer.
        tokens: what the answered request took: a limit on tokens is one on requests like it.
    """
    rates = [_rate_of(headers, "requests", 1.0), _rate_of(headers, "tokens", tokens)]
    return min((rate for rate in rates if rate is not None), default=None)


def _rate_of(headers: httpx2.Headers, unit: str, units_per_request: float | None) -> float | None:
    limit = number_in(headers.get(f"x-ratelimit-limit-{unit}"))
    remaining = number_in(headers.get(f"x-ratelimit-remaining-{unit}"))
    reset_s = _duration_in(headers.get(f"x-ratelimit-reset-{unit}"))
    if limit is None or remaining is None or not reset_s or not units_per_request:
        return None
    # Until the reset flows back what is used up; and whoever has used little yet may use the rest by then.
    return max(remaining, limit - remaining) / reset_s / units_per_request


_SECONDS_IN = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|h|m|s))+")


def _duration_in(value: str | None) -> float | None:
    """Seconds, from a number of them or from what OpenAI writes: `20ms`, `1.5s`, `6m0s`."""
    if value is None or not _DURATION.fullmatch(value):
        return number_in(value)
    parts = re.findall(r"([\d.]+)(ms|h|m|s)", value)
    return sum(float(number) * _SECONDS_IN[unit] for number, unit in parts)
