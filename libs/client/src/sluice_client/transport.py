"""HTTP to the gateway: credentials, retries and the way from an answer to an error."""

import email.utils
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from sluice_client.errors import GatewayUnreachable, RequestRefused, UnexpectedAnswer, refusal

RETRIED_STATUSES = frozenset({429, 502, 503, 504})
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Request:
    """One request, made so that it can be sent more than once."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)  # values as httpx takes them
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None  # sent as JSON when it is not None
    files: Callable[[], Any] | None = None  # called for every sending, so that each starts at the first byte
    form: Mapping[str, str] | None = None
    repeatable: bool = True
    also_good: frozenset[int] = frozenset()
    """Statuses from 400 on whose body is an answer all the same."""
    timeout_s: float | None = None


class Transport:
    """One pool of connections to one gateway; may be used from several threads."""

    def __init__(self, url: str, api_key: str | None, *, timeout_s: float, retries: int, language: str | None) -> None:
        self._retries = retries
        self._timeout_s = timeout_s
        headers = {"User-Agent": "sluice-client/0.1.0", "Accept": "application/json"}
        headers |= {"Authorization": f"Bearer {api_key}"} if api_key else {}
        headers |= {"Accept-Language": language} if language else {}
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=self._timeout(timeout_s))

    def close(self) -> None:
        self._http.close()

    def json_of(self, request: Request) -> Any:  # a decoded JSON body
        """Send *request* and decode the answer; an answer without a body is an empty object."""
        return decoded(self.answer_to(request))

    def answer_to(self, request: Request) -> httpx.Response:
        """Send *request*, again where that is safe and may help.

        Raises:
            RequestRefused: the gateway said no.
            GatewayUnreachable: no answer.
        """
        with self.streamed(request) as answer:
            try:
                answer.read()
            except httpx.TransportError as error:
                raise unreachable(self.url, error) from error
        return answer

    @contextmanager
    def streamed(self, request: Request) -> Iterator[httpx.Response]:
        """As `answer_to`, with the body still to be read; it is closed at the end of the block."""
        answer = self._send_until_answered(request)
        try:
            yield answer
        finally:
            answer.close()

    def _send_until_answered(self, request: Request) -> httpx.Response:
        for tried in range(self._retries + 1):
            is_last = tried == self._retries or not request.repeatable
            try:
                answer = self._http.send(self._built(request), stream=True)
            except httpx.TransportError as error:
                if is_last:
                    raise unreachable(self.url, error) from error
                time.sleep(wait_before_retry_s(tried, None))
                continue
            if answer.status_code < httpx.codes.BAD_REQUEST or answer.status_code in request.also_good:
                return answer
            refused = self._refusal_of(answer)
            if is_last or not worth_repeating(refused):
                raise refused
            time.sleep(wait_before_retry_s(tried, refused.retry_after_s))
        raise AssertionError("the last turn returns or raises")

    def _built(self, request: Request) -> httpx.Request:
        return self._http.build_request(
            request.method,
            request.path,
            params={name: value for name, value in request.query.items() if value is not None},
            headers=request.headers,
            json=request.body,
            files=request.files() if request.files else None,
            data=request.form,
            timeout=self._timeout(request.timeout_s or self._timeout_s),
        )

    def _refusal_of(self, answer: httpx.Response) -> RequestRefused:
        try:
            answer.read()
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error
        finally:
            answer.close()
        return refusal(answer.status_code, problem_in(answer), retry_after_s=retry_after_s(answer))

    @staticmethod
    def _timeout(timeout_s: float) -> httpx.Timeout:
        return httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))


def unreachable(url: str, error: httpx.TransportError) -> GatewayUnreachable:
    return GatewayUnreachable(
        f"No answer from {url} ({type(error).__name__}).",
        remedy="Check that the gateway runs (make run, or sluice doctor) and that SLUICE_URL is its address.",
    )


def decoded(answer: httpx.Response) -> Any:  # a decoded JSON body
    """The JSON body of an *answer*; an empty object when it has none.

    Raises:
        UnexpectedAnswer: the body is something else, so the address is probably another server's.
    """
    if not answer.content:
        return {}
    try:
        return answer.json()
    except ValueError as error:
        raise UnexpectedAnswer(
            "The answer is not JSON, so it is not from Sluice's API.",
            status=answer.status_code,
            remedy="Check SLUICE_URL; a proxy in between may answer with a page of its own.",
        ) from error


def problem_in(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        problem = json.loads(answer.content)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        return {"request_id": answer.headers.get("X-Request-Id")}
    problem.setdefault("request_id", answer.headers.get("X-Request-Id"))
    return problem


def worth_repeating(refused: RequestRefused) -> bool:
    """Whether the same request may succeed later; a quota does not empty while we wait."""
    if refused.code in {"quota_exceeded", "document_exists"}:
        return False
    return refused.status in RETRIED_STATUSES or refused.code == "idempotency_in_flight"


def retry_after_s(answer: httpx.Response) -> float | None:
    """The wait that an answer asks for, in seconds (RFC 9110: seconds, or a date)."""
    asked = answer.headers.get("Retry-After")
    if not asked:
        return None
    try:
        return max(0.0, float(asked))
    except ValueError:
        return _seconds_until(asked)


def _seconds_until(date: str) -> float | None:
    try:
        moment = email.utils.parsedate_to_datetime(date)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def wait_before_retry_s(tried: int, asked_s: float | None) -> float:
    """What the gateway asked for, else twice as long each time, spread so that clients do not come back together."""
    if asked_s is not None:
        return min(asked_s, LONGEST_WAIT_S)
    return float(min(FIRST_WAIT_S * 2**tried, 8.0) * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
