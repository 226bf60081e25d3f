"""What a service says about its part of a trace; who sends it nowhere pays nothing."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

Fact = str | int


class Span(Protocol):
    """One piece of work, while it is going on."""

    @property
    def traceparent(self) -> str | None:
        """What continues the trace elsewhere (W3C Trace Context); None when nothing is traced."""

    def rename(self, name: str) -> None:
        """Call it otherwise, because more is known about it by now."""

    def note(self, **facts: Fact) -> None:
        """Add ids, counts and codes; never a text, a name of a file or a key."""


class Spans(Protocol):
    """Where spans begin."""

    def span(
        self,
        name: str,
        *,
        kind: Literal["server", "consumer", "internal"],
        parent: str | None = None,
    ) -> AbstractContextManager[Span]:
        """A span as long as the block.

        Args:
            name: one of few; ids are facts.
            kind: `server` answers a request, `consumer` does what a message asked for.
            parent: the `traceparent` that it continues; the span around it, or a new trace, when that is None or
                cannot be read.
        """


class NoSpan:
    """Nothing is traced."""

    traceparent = None

    def rename(self, name: str) -> None:
        """Nothing to rename."""

    def note(self, **facts: Fact) -> None:
        """Nowhere to note it."""


class NoSpans:
    """No collector is set."""

    def span(
        self,
        name: str,  # noqa: ARG002 - what the protocol gives
        *,
        kind: Literal["server", "consumer", "internal"],  # noqa: ARG002 - as above
        parent: str | None = None,  # noqa: ARG002 - as above
    ) -> AbstractContextManager[Span]:
        return _NOTHING


_NOTHING: AbstractContextManager[Span] = nullcontext(NoSpan())
NO_SPANS: Spans = NoSpans()
