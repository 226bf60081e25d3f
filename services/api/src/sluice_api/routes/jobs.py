"""Jobs over HTTP: what became of one request for a document."""

from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from sluice_api import schemas
from sluice_api.auth import needs
from sluice_api.deps import ApiDeps
from sluice_api.presenting import job_json, language_of
from sluice_api.problems import Problem, not_found
from sluice_api.routes.documents import find_document
from sluice_api.schemas import JsonResponse, answer, refusal
from sluice_common import ids
from sluice_common.catalogue import DocumentView
from sluice_common.jobs import Jobs, JobView
from sluice_common.keys import Principal, Scope
from sluice_common.status import State

Reader = Annotated[Principal, Depends(needs(Scope.READ))]


def job_routes(deps: ApiDeps) -> APIRouter:
    """The paths below `/v1/jobs`."""
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
    jobs = Jobs(deps.database)

    @router.get(
        "/{job_id}",
        summary="Read a job: one request for a document, and its result",
        responses={
            200: answer("The job.", schemas.JOB_EXAMPLE),
            404: refusal("There is no such job."),
            410: refusal("Its document was deleted."),
        },
    )
    def read_job(request: Request, principal: Reader, job_id: str) -> Response:
        job = _found(jobs, principal, job_id)
        view = _document_of(job, principal, deps)
        if not job.is_newest:
            ended = job.state if job.state in {State.COMPLETED, State.FAILED} else State.CANCELLED
            view = replace(view, state=ended, error_code=job.error_code, error_detail=None, error_detail_code=None)
        return JsonResponse(job_json(job, view, language_of(request)))

    return router


def _found(jobs: Jobs, principal: Principal, job_id: str) -> JobView:
    with suppress(ids.MalformedId):
        job = jobs.find(principal.tenant_id, ids.parse("job", job_id))
        if job is not None:
            return job
    raise not_found("job")


def _document_of(job: JobView, principal: Principal, deps: ApiDeps) -> DocumentView:
    try:
        return find_document(deps, principal, ids.shown("doc", job.document_id))
    except Problem as problem:
        if problem.status_code == HTTPStatus.NOT_FOUND:  # of a collection that the key does not see
            raise not_found("job") from problem
        raise
