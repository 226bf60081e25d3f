"""Counts the processes, open files, database sessions and keys in Redis of a stack: faults leave none behind."""

import ctypes
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import redis
from oracle import Oracle

from sluice_local.stack import LocalStack

_PR_SET_CHILD_SUBREAPER = 36
MORE_FILES = 64
"""So many more than at the beginning may be open in one process: its pools open what they need once (10 connections
to PostgreSQL, up to 32 to the store, up to 16 to the provider), and at the beginning some had nothing to do yet."""
MOST_SESSIONS = 12
"""So many may every process keep: its pool, and a few beside it for heartbeats and the like."""

MORE_KEYS = 4
"""So many more of one kind may be there: the tasks that a killed worker had in its hands are named by the worker."""
_ID = re.compile(r"[0-9a-f-]{32,36}|[0-9]+")


def adopt_orphans() -> None:
    """Become the parent of every process whose own parent dies, so that none can hide."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@dataclass(frozen=True)
class Census:
    """What there is of a stack while it has nothing to do."""

    processes: Counter[str]
    files: Counter[str]
    sessions: Counter[str]
    keys: Counter[str]
    """Of Redis, by their names without ids and numbers."""
    strangers: frozenset[int]
    """Children of this process that belong to no part of the stack."""

    def grown_since(self, base: "Census") -> list[str]:
        """What there is more of than there may be."""
        return [*self._grown(base), *self._too_many_sessions(), *self._more_keys(base)]

    def _grown(self, base: "Census") -> Iterator[str]:
        for name, number in self.processes.items():
            if number > base.processes[name]:
                yield f"{name} has {number} processes, at first {base.processes[name]}"
        for name, number in self.files.items():
            if number > base.files[name] + MORE_FILES:
                yield f"{name} has {number} open files, at first {base.files[name]}"
        for pid in self.strangers - base.strangers:
            yield f"process {pid} belongs to nobody any more"

    def _too_many_sessions(self) -> Iterator[str]:
        for service, number in self.sessions.items():
            count = sum(name.rstrip("0123456789") == service for name in self.processes)
            if number > MOST_SESSIONS * count:
                yield f"{count} {service} have {number} database sessions"

    def _more_keys(self, base: "Census") -> Iterator[str]:
        for name, number in self.keys.items():
            if number > base.keys[name] + MORE_KEYS:
                yield f"Redis has {number} keys {name}, at first {base.keys[name]}"


def census_of(stack: LocalStack, oracle: Oracle, broker_url: str) -> Census:
    """Count now; sessions by service."""
    processes, files = Counter[str](), Counter[str]()
    parts = {record.pid: record.name for record in stack.processes()}
    for pid, name in parts.items():
        process = psutil.Process(pid)
        if name != "postgres":  # whose children are the sessions
            processes[name] = 1 + len(process.children(recursive=True))
            files[name] = process.num_fds()
    sessions = oracle.query(
        "SELECT split_part(application_name, '-', 2), count(*) FROM pg_stat_activity "
        "WHERE application_name LIKE 'sluice-%' GROUP BY 1"
    )
    children = psutil.Process().children()
    strangers = {child.pid for child in children if child.pid not in parts and _is_running(child)}
    return Census(processes, files, Counter(dict(sessions)), _keys_of(broker_url), frozenset(strangers))


def _keys_of(broker_url: str) -> Counter[str]:
    with redis.Redis.from_url(broker_url, socket_timeout=10) as broker:
        return Counter(_ID.sub("*", key.decode(errors="replace")) for key in broker.scan_iter(count=1000))


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
