"""A client and a command line for Sluice."""

from sluice_client.client import SluiceClient
from sluice_client.errors import (
    Conflict,
    Forbidden,
    GatewayFailed,
    GatewayUnreachable,
    Gone,
    InvalidRequest,
    NotFound,
    RequestRefused,
    SluiceError,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    UnexpectedAnswer,
    WaitTimeout,
)
from sluice_client.results import Chunk, Collection, Document, DocumentError, Event, Hit, Job, Key, Progress, Status

__all__ = [
    "Chunk",
    "Collection",
    "Conflict",
    "Document",
    "DocumentError",
    "Event",
    "Forbidden",
    "GatewayFailed",
    "GatewayUnreachable",
    "Gone",
    "Hit",
    "InvalidRequest",
    "Job",
    "Key",
    "NotFound",
    "Progress",
    "RequestRefused",
    "SluiceClient",
    "SluiceError",
    "Status",
    "TooLarge",
    "TooManyRequests",
    "Unauthenticated",
    "UnexpectedAnswer",
    "WaitTimeout",
]
