"""The tasks that cross a service border: actor, queue and fields, each declared once."""

from typing import Any, ClassVar, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError

from sluice_common.errors import InvalidTask

EXTRACT_QUEUE = "extract.v1"
EMBED_QUEUE = "embed.v1"
RENDER_QUEUE = "render.v1"


class Task(BaseModel):
    """A typed request for one stage: ids only, because a message is a hint and the row is the truth.

    Unknown fields are ignored and new fields must have defaults, so that old and new services can talk
    to each other during a rolling deployment.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    actor: ClassVar[str]
    queue: ClassVar[str]


class ExtractDocument(Task):
    """Hint: this document may be queued for extraction."""

    actor = "extract"
    queue = EXTRACT_QUEUE

    document_id: UUID


class EmbedBatch(Task):
    """Hint: this batch may be pending."""

    actor = "embed"
    queue = EMBED_QUEUE

    run_id: int
    batch_no: int


class VerifyRun(Task):
    """Hint: this run may be waiting to be verified and published."""

    actor = "verify"
    queue = EMBED_QUEUE

    document_id: UUID
    run_id: int


class RenderPage(Task):
    """Hint: somebody may be waiting for the image of this page; all fields together are the key of its row."""

    actor = "render"
    queue = RENDER_QUEUE

    document_id: UUID
    original_no: int
    page: int
    dpi: int


class PingExtractor(Task):
    """Ask the extractor to say that it is there, by finishing the job."""

    actor = "ping_extractor"
    queue = EXTRACT_QUEUE

    job_id: UUID


class PingEmbedder(Task):
    """Ask the embedder to say that it is there, by finishing the job."""

    actor = "ping_embedder"
    queue = EMBED_QUEUE

    job_id: UUID


T = TypeVar("T", bound=Task)

ALL_TASKS: tuple[type[Task], ...] = (
    ExtractDocument,
    EmbedBatch,
    VerifyRun,
    RenderPage,
    PingExtractor,
    PingEmbedder,
)


def parse_task(task_type: type[T], fields: dict[str, Any]) -> T:
    """The task that the fields of a message stand for.

    Raises:
        InvalidTask: the fields do not match the contract; nothing can be done with the message.
    """
    try:
        return task_type.model_validate(fields)
    except ValidationError as error:
        raise InvalidTask(f"{task_type.actor}: {error.error_count()} fields do not match") from error
