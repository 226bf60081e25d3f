"""Whether the gateway runs, and whether it can answer."""

from fastapi import APIRouter
from starlette.responses import Response

from sluice_api.checks import Check, Readiness
from sluice_api.deps import ApiDeps
from sluice_api.schemas import JsonResponse, answer

_CHECKS_EXAMPLE = {
    "database": {"ok": True, "detail": "ok"},
    "objects": {"ok": True, "detail": "ok"},
    "vectors": {"ok": True, "detail": "ok"},
    "queue": {"ok": False, "detail": "unavailable"},
}
_READY_EXAMPLE = {"status": "degraded", "checks": _CHECKS_EXAMPLE}
_UNREADY_EXAMPLE = {
    "status": "unavailable",
    "checks": {**_CHECKS_EXAMPLE, "database": {"ok": False, "detail": "no_answer"}},
}


def health_routes(deps: ApiDeps) -> APIRouter:
    """`/livez` asks nobody; `/readyz` asks the database, both stores and the queue."""
    router = APIRouter(tags=["health"])
    readiness = Readiness(
        [
            Check("database", deps.database.ping),
            Check("objects", deps.objects.ping),
            Check("vectors", deps.vectors.ping),
            # Documents are taken in and found without it; the dispatch loop sends what was not sent.
            Check("queue", deps.queue.ping, is_needed=False),
        ]
    )

    @router.get(
        "/livez",
        operation_id="show_liveness",
        summary="Whether the process runs",
        responses={200: answer("It does.", {"status": "ok"})},
    )
    async def livez() -> Response:
        return JsonResponse({"status": "ok"})

    @router.get(
        "/readyz",
        operation_id="show_readiness",
        summary="Whether the gateway can answer",
        responses={
            200: answer("It can; `degraded` when only the queue is away.", _READY_EXAMPLE),
            503: answer("A part is away without which it cannot.", _UNREADY_EXAMPLE),
        },
    )
    async def readyz() -> Response:
        report = await readiness.report()
        checks = {name: {"ok": found.is_ok, "detail": found.detail} for name, found in report.findings.items()}
        body = {"status": report.status, "checks": checks}
        if report.is_ready:
            return JsonResponse(body)
        return JsonResponse(body, 503, {"Retry-After": "2"})

    return router
