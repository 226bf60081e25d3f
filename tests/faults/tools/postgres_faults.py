"""What can happen to PostgreSQL, done past the proxies."""

import os
import random
import signal
import time
from contextlib import ExitStack, suppress

import psycopg
from faults.tools import processes

from sluice_local.stack import LocalStack

BACKENDS = (
    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    " AND application_name LIKE 'sluice-%'"
)
MOST_CONNECTIONS = 1000
TAKING_S = 20.0
"""On a busy machine a connection costs a quarter of a second, and the fault must end."""
REFUSED_S = 0.02
"""Who asks more seldom after a refusal leaves room for somebody else's connection."""


class PostgresFaults:
    """Faults of the PostgreSQL of *stack*; each says whether it hit, which it cannot when PostgreSQL is just away."""

    def __init__(self, stack: LocalStack, url: str, rng: random.Random) -> None:
        self._stack = stack
        self._url = url
        self._rng = rng

    def kill_postmaster(self) -> bool:
        """Kill the one process that started all others."""
        return processes.kill_alone(self._stack, "postgres")

    def stop_immediately(self) -> bool:
        """Do what `pg_ctl stop -m immediate` does: everything ends without a checkpoint."""
        return processes.kill_alone(self._stack, "postgres", signal.SIGQUIT)

    def kill_backend(self) -> bool:
        """Kill one session by SIGKILL: PostgreSQL then ends all of them, and recovers."""
        return any(_signal(pid, signal.SIGKILL) for pid in self._backends()[:1])

    def terminate_sessions(self) -> int:
        """End every session of a service; returns how many."""
        with suppress(psycopg.Error), self._connection() as connection:
            ended = connection.execute(f"SELECT pg_terminate_backend(pid) FROM ({BACKENDS}) AS sessions")
            return sum(is_ended for (is_ended,) in ended)
        return 0

    def freeze_backend(self, seconds: float) -> bool:
        """Stop one session, with whatever it has locked."""
        for pid in self._backends()[:1]:
            is_hit = _signal(pid, signal.SIGSTOP)
            time.sleep(seconds)
            _signal(pid, signal.SIGCONT)
            return is_hit
        return False

    def exhaust_connections(self, seconds: float) -> int:
        """Take every connection that is left, and for *seconds* each that is given back; returns how many."""
        with ExitStack() as taken:
            count = self._take_all(taken)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                count += self._take_all(taken)
                time.sleep(REFUSED_S)
        return count

    def _take_all(self, taken: ExitStack) -> int:
        until = time.monotonic() + TAKING_S
        for count in range(MOST_CONNECTIONS):
            if time.monotonic() > until:
                return count
            try:
                taken.enter_context(self._connection())
            except psycopg.Error:
                return count
        return MOST_CONNECTIONS

    def _backends(self) -> list[int]:
        """The sessions of services, in random order."""
        with suppress(psycopg.Error), self._connection() as connection:
            pids = [row[0] for row in connection.execute(BACKENDS)]
            self._rng.shuffle(pids)
            return pids
        return []

    def _connection(self) -> psycopg.Connection:
        return psycopg.connect(self._url, autocommit=True, connect_timeout=3)


def _signal(pid: int, number: signal.Signals) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False
