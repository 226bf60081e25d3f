"""What the makers of a recording wrote about it: known tags only, cleaned and bounded."""

import re
from collections.abc import Mapping

from sluice_extractor.parsing.cleaning import clean_text

_SHORT_CHARS, _LONG_CHARS = 500, 20_000
_NAMES = {
    "title": "title",
    "artist": "artist",
    "album": "album",
    "album_artist": "album artist",
    "albumartist": "album artist",
    "composer": "composer",
    "performer": "performer",
    "author": "author",
    "genre": "genre",
    "date": "date",
    "year": "date",
    "track": "track",
    "tracknumber": "track",
    "show": "show",
    "episode_id": "episode",
    "publisher": "publisher",
    "copyright": "copyright",
    "language": "language",
    "comment": "comment",
    "description": "description",
    "synopsis": "description",
    "lyrics": "lyrics",
    "unsyncedlyrics": "lyrics",
    "unsynced lyrics": "lyrics",
}
"""Names of tags as the formats write them, and ours, in the order in which they are told."""
_ORDER = {name: place for place, name in enumerate(dict.fromkeys(_NAMES.values()))}
_LONG = frozenset({"comment", "description", "lyrics"})
_NO_LANGUAGE = "und"
_LANGUAGE = re.compile(r"-[a-z]{3}$")  # lyrics-eng
_HANGUL_IN_LATIN = re.compile(r"(?:[\x00-\x7f]|[\xb0-\xc8][\xa1-\xfe])+")


def tags_of(raw: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The tags that people read; the first of each name that says anything."""
    found: dict[str, str] = {}
    for written, value in raw.items():
        name = _NAMES.get(_LANGUAGE.sub("", written.strip().lower()))
        text = _cleaned(value, _LONG_CHARS if name in _LONG else _SHORT_CHARS) if name else ""
        if name and text and text != _NO_LANGUAGE:
            found.setdefault(name, text)
    return tuple(sorted(found.items(), key=lambda tag: _ORDER[tag[0]]))


def _cleaned(value: str, most_chars: int) -> str:
    kept = clean_text(_repaired(value[: 4 * most_chars])).strip()[:most_chars]
    return kept if "\n" in kept and most_chars == _LONG_CHARS else " ".join(kept.split())


def _repaired(value: str) -> str:
    """Text that was written in UTF-8 or in Korean's old encoding, and marked as Latin-1, as old MP3 tags are."""
    if value.isascii() or not all(char <= "\xff" for char in value):
        return value
    written = value.encode("latin-1")
    try:
        return written.decode("utf-8")
    except UnicodeDecodeError:
        return written.decode("cp949", "replace") if _HANGUL_IN_LATIN.fullmatch(value) else value
