"""Cursors of lists: opaque, signed, and good for one list of one tenant only."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson

from sluice_api.deps import ApiDeps
from sluice_api.problems import Problem

_SIGNATURE_BYTES = 16


class Cursors:
    """Makes and checks cursors; the secret is fetched at the first one."""

    def __init__(self, deps: ApiDeps) -> None:
        self._deps = deps
        self._secret: bytes | None = None

    def after(self, tenant_id: UUID, what: object, position: Sequence[str | int]) -> str:
        """A cursor that continues behind *position*.

        Args:
            tenant_id: whose list it is.
            what: the list and its filters, as JSON; the cursor is good for no other.
            position: the sort key of the last row shown.
        """
        payload = orjson.dumps(list(position))
        return base64.urlsafe_b64encode(self._sign(tenant_id, what, payload) + payload).rstrip(b"=").decode()

    def position_of(self, tenant_id: UUID, what: object, cursor: str) -> list[Any]:  # as given to `after`
        """The position in a cursor that `after` made with the same *tenant_id* and *what*.

        Raises:
            Problem: 400 `invalid_cursor`.
        """
        signed = _decoded(cursor)
        signature, payload = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(tenant_id, what, payload)):
            raise invalid_cursor()
        position: list[Any] = orjson.loads(payload)
        return position

    def _sign(self, tenant_id: UUID, what: object, payload: bytes) -> bytes:
        if self._secret is None:
            configured = self._deps.settings.http.cursor_secret
            self._secret = (
                configured.get_secret_value().encode() if configured else self._deps.catalogue.cursor_secret()
            )
        subject = orjson.dumps([tenant_id.hex, what], option=orjson.OPT_SORT_KEYS)
        return hmac.digest(self._secret, hashlib.sha256(subject).digest() + payload, "sha256")[:_SIGNATURE_BYTES]


def invalid_cursor() -> Problem:
    """The answer to a cursor that we did not make for this list."""
    return Problem(400, "invalid_cursor", "Begin the list anew, without a cursor.", pointer="/cursor")


def _decoded(cursor: str) -> bytes:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_cursor() from error
