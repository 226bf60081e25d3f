"""Reads plain text in whatever encoding it came."""

from collections.abc import Iterable

from sluice_common.errors import DocumentTooLarge, EmptyDocument
from sluice_extractor.parsing.cleaning import clean_text
from sluice_extractor.parsing.encodings import Decoded, decode
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import Remark, parts_of

_MOST_BYTES_OF_A_CHARACTER = 4  # only a text that is hardly more than escape sequences has more


def read_text(original: Original) -> OpenDocument:
    if len(original.content) > _MOST_BYTES_OF_A_CHARACTER * original.max_text_chars:  # decoding takes much memory
        raise DocumentTooLarge(f"{len(original.content)} bytes, the limit is {original.max_text_chars} characters")
    decoded = decode(original.content)
    text = checked_text(clean_text(decoded.text), original)
    return OpenDocument("text/plain", decoded.encoding, None, parts_of(text), remarks_on(decoded))


def checked_text(text: str, original: Original, *, has_figures: bool = False) -> str:
    """The text itself, when there is some, or at least a figure, and not too much.

    Raises:
        EmptyDocument: nothing but white space.
        DocumentTooLarge: more characters than the limit.
    """
    if not has_figures and (not text or text.isspace()):
        raise EmptyDocument("there is nothing but white space")
    if len(text) > original.max_text_chars:
        raise DocumentTooLarge(f"{len(text)} characters of text, the limit is {original.max_text_chars}")
    return text


def joined_within(pieces: Iterable[str], original: Original) -> str:
    """The pieces as one text, given up as soon as it is too long.

    Raises:
        DocumentTooLarge: more characters than the limit.
    """
    kept: list[str] = []
    length = 0
    for piece in pieces:
        kept.append(piece)
        length += len(piece)
        if length > original.max_text_chars:
            raise DocumentTooLarge(f"more than {original.max_text_chars} characters of text")
    return "".join(kept)


def remarks_on(decoded: Decoded) -> list[Remark]:
    """What a person should know about the decoding."""
    if decoded.is_whole:
        return []
    return [Remark("bytes_replaced", f"Some bytes are not valid {decoded.encoding} and were replaced.")]
