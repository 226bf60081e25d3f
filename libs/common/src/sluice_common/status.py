"""The states of documents, runs and batches, and the moves between them, as data."""

from enum import StrEnum


class State(StrEnum):
    """Where a document is inside; `status_of` gives the coarse word that clients see."""

    QUEUED = "queued"
    EXTRACTING = "extracting"
    EMBEDDING = "embedding"
    VERIFYING = "verifying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Lifecycle(StrEnum):
    """Whether a document exists for its users; never goes back."""

    ACTIVE = "active"
    DELETING = "deleting"
    DELETED = "deleted"


class RunState(StrEnum):
    """How far one attempt to process a document has come; search sees only published runs."""

    EXTRACTING = "extracting"
    EMBEDDING = "embedding"
    PUBLISHED = "published"
    SUPERSEDED = "superseded"
    ABANDONED = "abandoned"


class BatchState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Status(StrEnum):
    """What clients see: coarse and stable."""

    QUEUED = "queued"
    PROCESSING = "processing"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DELETING = "deleting"


class Stage(StrEnum):
    """What clients see: where the work is."""

    RECEIVED = "received"
    EXTRACTING = "extracting"
    EMBEDDING = "embedding"
    DONE = "done"


WORKING = frozenset({State.EXTRACTING, State.EMBEDDING, State.VERIFYING})
"""A document is in one of these if and only if it has an active run."""

ENDED = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})
UNFINISHED = frozenset(State) - ENDED

MOVES: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.EXTRACTING, State.FAILED, State.CANCELLED}),
    State.EXTRACTING: frozenset({State.QUEUED, State.EMBEDDING, State.VERIFYING, State.FAILED, State.CANCELLED}),
    State.EMBEDDING: frozenset({State.VERIFYING, State.FAILED, State.CANCELLED, State.QUEUED}),
    State.VERIFYING: frozenset({State.COMPLETED, State.EMBEDDING, State.FAILED, State.CANCELLED, State.QUEUED}),
    State.COMPLETED: frozenset({State.QUEUED, State.EMBEDDING}),
    State.FAILED: frozenset({State.QUEUED, State.EMBEDDING}),
    State.CANCELLED: frozenset({State.QUEUED, State.EMBEDDING}),
}
"""Every allowed move of a document; a trigger in the test database refuses all others.

Working states go back to queued when new content replaces the old while it is being processed, and ended
ones go to embedding when a document is embedded anew from the chunks it has.
"""

RUN_MOVES: dict[RunState, frozenset[RunState]] = {
    RunState.EXTRACTING: frozenset({RunState.EMBEDDING, RunState.ABANDONED}),
    RunState.EMBEDDING: frozenset({RunState.PUBLISHED, RunState.ABANDONED}),
    RunState.PUBLISHED: frozenset({RunState.SUPERSEDED, RunState.ABANDONED}),
    RunState.SUPERSEDED: frozenset({RunState.ABANDONED}),
    RunState.ABANDONED: frozenset(),
}

BATCH_MOVES: dict[BatchState, frozenset[BatchState]] = {
    BatchState.PENDING: frozenset({BatchState.RUNNING}),
    BatchState.RUNNING: frozenset({BatchState.DONE, BatchState.PENDING, BatchState.FAILED}),
    BatchState.DONE: frozenset({BatchState.PENDING}),
    BatchState.FAILED: frozenset(),
}

_STATUS: dict[State, Status] = {
    State.QUEUED: Status.QUEUED,
    State.EXTRACTING: Status.PROCESSING,
    State.EMBEDDING: Status.PROCESSING,
    State.VERIFYING: Status.PROCESSING,
    State.COMPLETED: Status.READY,
    State.FAILED: Status.FAILED,
    State.CANCELLED: Status.CANCELLED,
}

_STAGE: dict[State, Stage] = {
    State.QUEUED: Stage.RECEIVED,
    State.EXTRACTING: Stage.EXTRACTING,
    State.EMBEDDING: Stage.EMBEDDING,
    State.VERIFYING: Stage.EMBEDDING,
    State.COMPLETED: Stage.DONE,
    State.FAILED: Stage.DONE,
    State.CANCELLED: Stage.DONE,
}


def status_of(state: State, lifecycle: Lifecycle) -> Status:
    """The word that clients see for a document's state."""
    return _STATUS[state] if lifecycle is Lifecycle.ACTIVE else Status.DELETING


def stage_of(state: State) -> Stage:
    """The stage that clients see for a document's state."""
    return _STAGE[state]
