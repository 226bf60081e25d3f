"""Every time that must agree with another, derived from one: the lease (docs/reference/times.md)."""

from dataclasses import dataclass
from datetime import timedelta

from sluice_common.settings import TimesSettings


@dataclass(frozen=True)
class Times:
    """How long things may take, all proportional to the lease.

    No timer is ever set further ahead than `longest`; one that lies further than `far` was set by a clock
    that has jumped since, and counts as passed.
    """

    lease: timedelta
    """A worker that stays silent for this long loses its work."""
    deadline: timedelta
    """A document that waits for others longer than this fails."""

    @property
    def heartbeat(self) -> timedelta:
        """Time between two prolongations; two may be missed."""
        return self.lease / 3

    @property
    def give_up(self) -> timedelta:
        """Silence after which a worker stops by itself, before anybody else takes over."""
        return self.lease * 0.8

    @property
    def grace(self) -> timedelta:
        """How long the direct hint has before the dispatch loop sends one too."""
        return self.lease / 30

    @property
    def search(self) -> timedelta:
        """How long the points of a superseded run stay, for the searches that are under way."""
        return self.lease / 6

    @property
    def resend(self) -> timedelta:
        """First pause between two hints for the same row; doubles three times."""
        return self.lease / 4

    @property
    def longest(self) -> timedelta:
        """Furthest ahead that any timer is set, and the pause before the second collection of a run."""
        return self.lease * 10

    @property
    def far(self) -> timedelta:
        """A timer further ahead than this is not believed."""
        return self.lease * 15

    @property
    def stop_grace(self) -> timedelta:
        """What an orchestrator must give a worker between SIGTERM and SIGKILL: killing children and handing back."""
        return self.lease / 2


def times_of(settings: TimesSettings) -> Times:
    """The times that follow from the settings."""
    return Times(lease=timedelta(seconds=settings.lease_s), deadline=timedelta(seconds=settings.deadline_s))
