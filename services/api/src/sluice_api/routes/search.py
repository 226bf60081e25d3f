"""`POST /v1/search`."""

import time
import unicodedata
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.responses import Response

from sluice_api.auth import needs
from sluice_api.deps import ApiDeps
from sluice_api.filters import BadFilter, checked_filter
from sluice_api.idempotent import answer_once
from sluice_api.problems import invalid_field, not_found
from sluice_api.schemas import Json, JsonResponse, answer, refusal
from sluice_api.searching import Mode, SearchAnswer, SearchQuery, proper_name, search
from sluice_common import ids
from sluice_common.hits import Hit
from sluice_common.keys import Principal, Scope

MAX_QUERY_BYTES = 8 * 2**10


def _proper_query(text: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("is no text: it has half a character in it")
    if not text.strip():
        raise ValueError("must not be blank")
    if len(text.encode()) > MAX_QUERY_BYTES:
        raise ValueError(f"at most {MAX_QUERY_BYTES} bytes")
    return unicodedata.normalize("NFC", text)


class SearchBody(BaseModel):
    """What to look for."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "query": "notice period",
                    "collection": "default",
                    "top_k": 5,
                    "filter": {
                        "type": "and",
                        "filters": [
                            {"type": "gte", "key": "year", "value": 2024},
                            {"type": "in", "key": "department", "value": ["legal", "hr"]},
                        ],
                    },
                }
            ]
        },
    )

    query: Annotated[str, AfterValidator(_proper_query)] = Field(description="At most 8 KiB, not blank.")
    collection: str | None = Field(default=None, description="A collection's name; all that the key may read if unset.")
    top_k: int = Field(default=10, ge=1, le=100, description="Most results.")
    mode: Mode = Field(default="hybrid", description="By meaning (`dense`), by words (`lexical`), or both.")
    filter: dict[str, Any] | None = Field(  # any JSON; checked_filter looks at it
        default=None,
        description="Over `attributes`: `eq ne gt gte lt lte in nin`, nested in `and` and `or` at most 3 deep.",
    )
    score_threshold: float | None = Field(
        default=None, ge=-1, le=1, allow_inf_nan=False, description="Least cosine; only in mode `dense`."
    )
    group_by_document: bool = Field(default=False, description="Only the best chunk of each document.")


_EXAMPLE = {
    "results": [
        {
            "document_id": "doc_0199a3a0c1d27cc2a6f1f3b4c5d6e7f8",
            "name": "contract.pdf",
            "collection": "default",
            "chunk": 12,
            "text": "The notice period is three months.",
            "score": 0.0323,
            "page_start": 4,
            "page_end": 4,
            "section": "Termination",
            "sheet": None,
            "slide": None,
            "time_start": None,
            "time_end": None,
            "attributes": {"year": 2026},
            "char_start": 11200,
            "char_end": 11890,
            "boxes": None,
            "run": 7,
        }
    ],
    "mode": "hybrid",
    "degraded": False,
}
_FOUND = answer(
    "What was found, best first. `mode` is how it was really looked for: `degraded` says that the embedding provider "
    "was away in mode `hybrid`, so that only words counted.",
    _EXAMPLE,
)


def search_routes(deps: ApiDeps) -> APIRouter:
    """Searches; they need the database and the vector store, and neither the queue nor a worker."""
    router = APIRouter(prefix="/v1", tags=["search"])

    @router.post(
        "/search",
        operation_id="search",
        summary="Find chunks of documents",
        responses={
            200: _FOUND,
            404: refusal("There is no such collection."),
            422: refusal("A field is wrong; `errors` says which."),
            503: refusal("A store is away, or in mode `dense` the embedding provider."),
        },
    )
    def search_documents(
        body: SearchBody, request: Request, principal: Annotated[Principal, Depends(needs(Scope.READ))]
    ) -> Response:
        query = _query_of(body)

        # The key is checked, and nothing of the answer is kept for it: a document may be deleted tomorrow, and from
        # then on no answer may show its text. Asking again changes nothing, so a repeat is simply answered anew.
        answer_once(request, deps, principal, body.model_dump(), lambda: JsonResponse({}))
        started = time.monotonic()
        found = search(query, principal, deps)
        deps.metrics.search_finished(time.monotonic() - started)
        return JsonResponse(_answer_json(found))

    return router


def _query_of(body: SearchBody) -> SearchQuery:
    if body.score_threshold is not None and body.mode != "dense":
        raise invalid_field("/score_threshold", "Only scores of mode dense have a scale; leave it out or use dense.")
    if body.collection is not None and proper_name(body.collection) is None:
        raise not_found("collection")
    try:
        chosen = None if body.filter is None else checked_filter(body.filter)
    except BadFilter as error:
        raise invalid_field(f"/filter{error.pointer}", f"The filter: {error.detail}.") from error
    return SearchQuery(
        text=body.query,
        collection=body.collection,
        top_k=body.top_k,
        mode=body.mode,
        filter=chosen,
        score_threshold=body.score_threshold,
        group_by_document=body.group_by_document,
    )


def _answer_json(answer: SearchAnswer) -> Json:
    return {
        "results": [_hit_json(hit) for hit in answer.hits],
        "mode": answer.mode,
        "degraded": answer.is_degraded,
    }


def _hit_json(hit: Hit) -> Json:
    return {
        "document_id": ids.shown("doc", hit.document_id),
        "name": hit.name,
        "collection": hit.collection,
        "chunk": hit.chunk_no,
        "text": hit.text,
        "score": hit.score,
        "page_start": hit.page_start,
        "page_end": hit.page_end,
        "section": hit.section,
        "sheet": hit.sheet,
        "slide": hit.slide,
        "time_start": hit.time_start,
        "time_end": hit.time_end,
        "attributes": hit.attributes,
        "char_start": hit.char_start,
        "char_end": hit.char_end,
        "boxes": hit.boxes,
        "run": hit.run_id,
    }
