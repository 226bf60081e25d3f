"""A predictor of labels that answers over HTTP: the recording goes there, and labels with confidences come back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from sluice_common.adapters.provider_http import Bounds, FileBody, NoAnswer, post
from sluice_common.settings import AudioEndpoint

MAX_ANSWER_BYTES = 2**20
_OK = 200


class EndpointFailed(Exception):
    """No labels came; `reason` is a word for it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class HttpPredictor:
    """`POST <url>` with a WAV file as the body; the answer is `{"labels": {"speech": 0.93}}`."""

    def __init__(self, endpoint: AudioEndpoint) -> None:
        self._endpoint = endpoint

    def predict(self, file: Path, *, is_stopped: Callable[[], bool]) -> Any:  # whatever was sent
        """What the endpoint says are the labels, unchecked.

        Raises:
            EndpointFailed: it says nothing, or not in time.
        """
        key = self._endpoint.api_key
        bounds = Bounds(self._endpoint.timeout_s, MAX_ANSWER_BYTES, is_stopped)
        bearer = None if key is None else key.get_secret_value()
        try:
            answer = post(str(self._endpoint.url), FileBody(file, "audio/wav"), bearer=bearer, bounds=bounds)
        except NoAnswer as error:
            raise EndpointFailed(error.trouble) from error
        if answer.status != _OK:
            raise EndpointFailed(f"http_{answer.status}")
        try:
            return orjson.loads(answer.body)["labels"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise EndpointFailed("bad_answer") from error
