"""The check at start-up that services agree on the times that must agree."""

import time

import sqlalchemy as sa

from sluice_common.database import Database, one
from sluice_common.errors import PipelineError
from sluice_common.times import Times

_PATIENCE_S = 10.0
"""All services may start at the same moment, and the reconciler writes its lease when it does."""

_POLL_S = 0.2

_KEPT_LEASE = sa.text("SELECT lease_s FROM keeper WHERE id = 1")


class TimesDisagree(PipelineError):
    """A worker has another lease than the reconciler that judges it by its own."""

    code = "times_disagree"


def check_lease(database: Database, times: Times, *, patience_s: float = _PATIENCE_S) -> None:
    """Refuse to work with another lease than the reconciler's.

    A reconciler with a much shorter one would take every lease of ours for the mistake of a clock, and take our work
    away as soon as we begin it; one with a longer lease would leave it lying when we die.

    Raises:
        TimesDisagree: names both leases.
    """
    lease_s = times.lease.total_seconds()
    deadline = time.monotonic() + patience_s
    while (kept_s := _kept_lease(database)) not in (None, lease_s):
        if time.monotonic() > deadline:
            raise TimesDisagree(
                f"the reconciler works with a lease of {kept_s:g} s and this service with {lease_s:g} s: "
                "set SLUICE_TIMES__LEASE_S alike for all"
            )
        time.sleep(_POLL_S)


def _kept_lease(database: Database) -> float | None:
    with database.single() as connection:
        row = one(connection, _KEPT_LEASE)
    return None if row is None else row.lease_s
