"""A small server of OpenAI's embeddings protocol over wordllama, which needs no network and no graphics card."""

import argparse
import asyncio
import base64
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import uvicorn
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

MODEL = "wordllama-256"
DIMENSIONS = 256
SHORTER_DIMENSIONS = (64, 128)
"""The model was trained so that the beginning of a vector is a vector too."""

MAX_TEXTS = 2048
MAX_TEXT_CHARS = 32_768
MAX_BODY_BYTES = 64 * 2**20

_TEXTS_AT_ONCE = 16
_TOKENS_AT_ONCE = 16_384
_THREADS = 2
_STOP_S = 1


@dataclass(frozen=True)
class Embedded:
    """Vectors of some texts, shape ``(texts, dimensions)``, and how many tokens the texts had."""

    vectors: NDArray[np.float32]
    tokens: int


class LocalModel:
    """wordllama's vectors: the mean of the vectors of a text's tokens, at unit length."""

    def __init__(self, loaded: Any) -> None:  # a WordLlamaInference; its package has no types
        self._tokenizer = loaded.tokenizer
        self._tokenizer.no_padding()  # texts of several lengths are added up without
        self._vector_of_token: NDArray[np.float32] = loaded.embedding

    def embed(self, texts: Sequence[str], *, dimensions: int) -> Embedded:
        """Unit vectors of *texts*, float32, in their order; a text without a token gets a fixed one."""
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        sums = np.stack([self._sum_of(text.ids) for text in encoded])
        return Embedded(_at_unit_length(sums[:, :dimensions]), sum(len(text.ids) for text in encoded))

    def _sum_of(self, ids: Sequence[int]) -> NDArray[np.float32]:
        # In slices: the vectors of a long text's tokens are a thousand times larger than the text.
        total = np.zeros(self._vector_of_token.shape[1], dtype=np.float32)
        for start in range(0, len(ids), _TOKENS_AT_ONCE):
            total += self._vector_of_token[ids[start : start + _TOKENS_AT_ONCE]].sum(axis=0)
        return total


def load_model() -> LocalModel:
    """The model that comes within the wordllama package; nothing is downloaded."""
    import wordllama  # type: ignore[import-untyped]  # noqa: PLC0415 - it has no types; importing it sets up logging

    folder = Path(wordllama.__file__).parent  # where `load` finds the tokenizer without asking a hub
    return LocalModel(wordllama.WordLlama.load(cache_dir=folder, disable_download=True))


def _at_unit_length(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    # No direction is right for a text that says nothing, but a vector without length breaks every index.
    unit: NDArray[np.float32] = np.where(norms > 0, vectors, 1) / np.where(norms > 0, norms, vectors.shape[1] ** 0.5)
    return unit.astype(np.float32, copy=False)


class EmbeddingsBody(BaseModel):
    """What `POST /v1/embeddings` takes; a field that we do not know is ignored, as OpenAI adds to them."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    input: str | list[str]
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None)


class _Refused(Exception):
    """An answer in the shape that OpenAI gives its errors."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {
            "error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}
        }


def build_app(model: LocalModel) -> Starlette:
    """The server's routes over *model*."""
    endpoint = _Embeddings(model)
    return Starlette(
        routes=[
            Route("/v1/embeddings", endpoint.answer, methods=["POST"]),
            Route("/v1/models", _models, methods=["GET"]),
            Route("/healthz", _health, methods=["GET"]),
        ],
        exception_handlers={_Refused: _refusal, HTTPException: _no_such_route},
    )


class _Embeddings:
    def __init__(self, model: LocalModel) -> None:
        self._model = model
        # A pool of our own: few threads, because the model takes a whole core per thread.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="embed")

    async def answer(self, request: Request) -> Response:
        body = _parsed(await _body_of(request))
        texts = [body.input] if isinstance(body.input, str) else body.input
        _refuse_unless_servable(body, texts)
        try:
            embedded = await self._embed(texts, body.dimensions or DIMENSIONS)
        except asyncio.CancelledError as error:  # the server stops and does not wait for long requests
            raise _Refused("The server stops.", status=503) from error
        return _json(_answer_to(body, embedded))

    async def _embed(self, texts: list[str], dimensions: int) -> Embedded:
        """In slices, so that short requests go between those of a long one, and a stop need not wait long."""
        loop = asyncio.get_running_loop()
        slices = [texts[start : start + _TEXTS_AT_ONCE] for start in range(0, len(texts), _TEXTS_AT_ONCE)]
        parts = [await loop.run_in_executor(self._threads, self._embed_slice, part, dimensions) for part in slices]
        return Embedded(np.concatenate([part.vectors for part in parts]), sum(part.tokens for part in parts))

    def _embed_slice(self, texts: list[str], dimensions: int) -> Embedded:
        return self._model.embed(texts, dimensions=dimensions)


async def _body_of(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise _Refused("The body is too large.", status=413)
    return bytes(body)


def _parsed(body: bytes) -> EmbeddingsBody:
    try:
        return EmbeddingsBody.model_validate(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        raise _Refused("The body is not JSON.") from error
    except ValidationError as error:
        first = error.errors()[0]
        param = str(first["loc"][0]) if first["loc"] else None
        raise _Refused(f"{param or 'body'}: {first['msg']}", param=param) from error


def _refuse_unless_servable(body: EmbeddingsBody, texts: Sequence[str]) -> None:
    if body.model != MODEL:
        raise _Refused(f"There is only the model {MODEL}.", status=404, param="model", code="model_not_found")
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise _Refused(f"The input has 1 to {MAX_TEXTS} texts.", param="input")
    if max(map(len, texts)) > MAX_TEXT_CHARS:
        raise _Refused(f"A text has at most {MAX_TEXT_CHARS} characters.", param="input")
    if body.dimensions not in (None, DIMENSIONS, *SHORTER_DIMENSIONS):
        raise _Refused(f"The dimensions are one of {(*SHORTER_DIMENSIONS, DIMENSIONS)}.", param="dimensions")


def _answer_to(body: EmbeddingsBody, embedded: Embedded) -> dict[str, Any]:  # OpenAI's shape
    rows = [_encoded(vector) if body.encoding_format == "base64" else vector for vector in embedded.vectors]
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)],
        "model": MODEL,
        "usage": {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens},
    }


def _encoded(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4", copy=False).tobytes()).decode()


async def _models(_request: Request) -> Response:
    return _json({"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "local"}]})


async def _health(_request: Request) -> Response:
    return _json({"status": "ok"})


async def _refusal(_request: Request, refused: Exception) -> Response:
    assert isinstance(refused, _Refused)
    return _json(refused.body, status=refused.status)


async def _no_such_route(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json(_Refused(error.detail).body, status=error.status_code)


def _json(body: dict[str, Any], *, status: int = 200) -> Response:  # OpenAI's shapes
    return Response(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json")


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal says to stop, which takes less than two seconds."""
    parser = argparse.ArgumentParser(prog="python -m sluice_local.embedding_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True, help="port to listen on")
    options = parser.parse_args(arguments)
    uvicorn.run(
        build_app(load_model()),
        host=options.host,
        port=options.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_STOP_S,
    )


if __name__ == "__main__":
    main()
