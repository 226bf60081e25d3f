"""Makes text safe to store: what PostgreSQL, JSON and tokenizers refuse does not leave a reader.

Apart from that the text stays as written. Only conjoining Hangul jamo are composed (NFC), because Korean text from
macOS arrives decomposed and would neither be found nor cut between syllables; everything else keeps its form.
"""

import re
import unicodedata

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufeff\ufffe\uffff\ud800-\udfff]")
_REPLACEMENT_BY_CHAR = {"\x0b": "\n", "\x0c": "\n"}
_JAMO = re.compile("[\u1100-\u1112][\u1161-\u1175][\u11a8-\u11c2]?")


def clean_text(text: str) -> str:
    r"""The text with `\n` line ends and without forbidden characters; a lone surrogate becomes U+FFFD."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return compose_hangul(_FORBIDDEN.sub(_replacement_of, text))


def clean_line(line: str) -> str:
    """As `clean_text`, for a text that is one line and must stay one."""
    return clean_text(line).replace("\n", " ").rstrip(" ")


def compose_hangul(text: str) -> str:
    """Compose conjoining jamo to syllables."""
    return _JAMO.sub(lambda found: unicodedata.normalize("NFC", found[0]), text)


def _replacement_of(found: re.Match[str]) -> str:
    char = found[0]
    if "\ud800" <= char <= "\udfff":
        return "\ufffd"
    return _REPLACEMENT_BY_CHAR.get(char, "")
