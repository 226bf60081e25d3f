"""Opaque ids: a prefix that says what it names, and a UUIDv7 inside."""

from uuid import UUID, uuid5

from uuid_utils import compat

POINTS = UUID("0f5d9c6e-6a4e-4b6b-9a43-8f6d9a1f7a52")
"""The namespace of point ids; changing it would orphan every stored point."""


class MalformedId(ValueError):
    """The text is no id of the expected kind."""


def new_id() -> UUID:
    """A new id; later ones sort behind earlier ones."""
    return compat.uuid7()


def shown(prefix: str, value: UUID) -> str:
    """The id as clients see it, such as `doc_0199…`."""
    return f"{prefix}_{value.hex}"


def parse(prefix: str, text: str) -> UUID:
    """The id behind what a client sent.

    Raises:
        MalformedId: it is not of this kind; answer as for an id that does not exist.
    """
    head, _, digits = text.partition("_")
    if head != prefix or len(digits) != 32 or digits != digits.lower():  # noqa: PLR2004 - digits of a UUID
        raise MalformedId(text)
    try:
        return UUID(hex=digits)
    except ValueError as error:
        raise MalformedId(text) from error


def point_id(run_id: int, chunk_no: int) -> UUID:
    """The id of a chunk's point: it belongs to the run, so a zombie can only ever write over its own run's points."""
    return uuid5(POINTS, f"{run_id}:{chunk_no}")
