"""Why the vector server refuses a request, with the status codes that Qdrant answers."""


class Refusal(Exception):
    """The root; `status` is the HTTP status and the message is what stands in the answer."""

    status = 500


class BadRequest(Refusal):
    """The request cannot be right, whatever is stored."""

    status = 400


class Missing(Refusal):
    """The collection, alias or point is not there."""

    status = 404


class Exists(Refusal):
    """The collection is there already."""

    status = 409


class BodyTooLarge(Refusal):
    """The body passes the limit; nothing of it was read into the engine."""

    status = 413
