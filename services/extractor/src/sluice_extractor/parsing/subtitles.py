"""Reads subtitles (SRT, VTT): what is said, with the times at which it is said."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

from sluice_common.errors import EmptyDocument
from sluice_extractor.parsing.cleaning import clean_text
from sluice_extractor.parsing.encodings import decode
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import Page, Place
from sluice_extractor.parsing.text import checked_text, remarks_on

_TIME = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
_TIMES = re.compile(rf"^[ \t]*{_TIME}[ \t]*-->[ \t]*{_TIME}[^\n]*$", re.MULTILINE)
_HEAD_CHARS = 4096
_SPEAKER = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]*)>")
_TAG = re.compile(r"</?[A-Za-z][^>\n]*>|<\d[\d:.]*>|\{\\[^}\n]*\}")
_NUMBER_BEFORE = re.compile(r"\n[ \t]*\d+[ \t]*\n?\Z")
_MOST_HOURS = 2_000


def fits_subtitles(original: Original) -> bool:
    """It begins as WebVTT, or its name says so and there is a line of times."""
    head = _head_of(original.content)
    if head.startswith("WEBVTT"):
        return True
    is_named = original.suffix in {".srt", ".vtt"} or original.hinted_type in {"application/x-subrip", "text/vtt"}
    return is_named and bool(_TIMES.search(head))


def _head_of(content: bytes) -> str:
    """The first lines, in any encoding whose ASCII shows when zeros are left out."""
    head = content[:_HEAD_CHARS].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe")
    return head.decode("latin-1").replace("\r", "\n")


def read_subtitles(original: Original) -> OpenDocument:
    """Open subtitles; each cue is a part with its times.

    Raises:
        DocumentTooLarge: more characters than the limit.
        EmptyDocument: nobody says anything.
    """
    decoded = decode(original.content)
    text = checked_text(clean_text(decoded.text), original)
    cues = list(_cues_of(text))
    if not cues:
        raise EmptyDocument("there is nothing but times")
    media_type = "text/vtt" if text.startswith("WEBVTT") else "application/x-subrip"
    return OpenDocument(media_type, decoded.encoding, None, _pages_of(cues), remarks_on(decoded))


@dataclass(frozen=True, slots=True)
class _Cue:
    start_s: float
    end_s: float
    text: str


def _cues_of(text: str) -> Iterator[_Cue]:
    found = list(_TIMES.finditer(text))
    for number, times in enumerate(found):
        is_last = number + 1 == len(found)
        raw = text[times.end() : len(text) if is_last else found[number + 1].start()]
        words = _words_of(raw if is_last else _NUMBER_BEFORE.sub("\n", raw))
        start_s, end_s = _seconds(times.groups()[:4]), _seconds(times.groups()[4:])
        if words:
            yield _Cue(start_s, max(start_s, end_s), words)


def _words_of(raw: str) -> str:
    """The lines of one cue: up to the blank line, without marks of style, the speaker before the words."""
    block = raw.strip("\n").partition("\n\n")[0]
    return html.unescape(_TAG.sub("", _SPEAKER.sub(r"\1: ", block))).strip()


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    whole = min(int(hours or 0), _MOST_HOURS) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return whole + int((fraction or "0").ljust(3, "0")) / 1000


def _pages_of(cues: list[_Cue]) -> Iterator[Page]:
    for cue in cues:
        yield Page(None, cue.text + "\n", place=Place(time_start=cue.start_s, time_end=cue.end_s))
