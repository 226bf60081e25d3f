"""Reading a stream of Server-Sent Events as the HTML standard defines it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class ServerSentEvent:
    """One event as it came off the wire."""

    id: str | None
    """The last id that the stream gave, also when an earlier event gave it."""
    type: str
    body: str
    retry_ms: int | None = None
    """How long the server asks to wait before connecting again."""


def lines_of(pieces: Iterable[bytes]) -> Iterator[str]:
    r"""The lines of a stream, ended by \n, \r\n or \r and by nothing else.

    Not `str.splitlines`: it also splits at U+2028 and U+0085, which JSON leaves as they are, and would
    cut an event in two.
    """
    rest = b""
    for piece in pieces:
        rest += piece
        # A \r at the very end may be the first half of a \r\n.
        held = b"\r" if rest.endswith(b"\r") else b""
        whole = rest[: len(rest) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = whole.split(b"\n")
        rest += held
        for line in lines:
            yield line.decode("utf-8", "replace")


class EventParser:
    """Puts lines together to events; keeps the last id for a later connection.

    An event that the stream breaks off in the middle of is dropped, as the standard says: the server
    sends it again when the last id is given back.
    """

    def __init__(self, last_event_id: str | None = None) -> None:
        self.last_event_id = last_event_id
        self.retry_ms: int | None = None
        self._seen_id = last_event_id
        self._type = ""
        self._body: list[str] = []

    def feed(self, line: str) -> ServerSentEvent | None:
        """Take one *line* without its end.

        Returns:
            The event that the line completes, or None.
        """
        if not line:
            return self._complete()
        name, _, value = line.partition(":")  # a comment has an empty name and is ignored
        self._take(name, value.removeprefix(" "))
        return None

    def _take(self, name: str, value: str) -> None:
        if name == "data":
            self._body.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._seen_id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value)

    def _complete(self) -> ServerSentEvent | None:
        kind, body = self._type or "message", self._body
        self._type, self._body = "", []
        self.last_event_id = self._seen_id
        if not body:
            return None
        return ServerSentEvent(self.last_event_id, kind, "\n".join(body), self.retry_ms)
