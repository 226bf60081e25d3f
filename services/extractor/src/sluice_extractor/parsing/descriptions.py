"""What pictures say of themselves in words: the alternative text, where somebody has written one."""

import re

from sluice_extractor.parsing.xml_stream import Attributes, attribute

_FILE_NAME = re.compile(r"\S*\.(?:png|jpe?g|gif|bmp|emf|wmf|tiff?|svg|webp)", re.IGNORECASE)
_BARE_NAME = re.compile(r"(?:picture|image|graphic|shape|그림|이미지|사진)?\s*\d*", re.IGNORECASE)


def described(text: str) -> str:
    """The description in brackets; empty where it is only the name of a file or a number that a program gave."""
    words = " ".join(text.split())
    return "" if _FILE_NAME.fullmatch(words) or _BARE_NAME.fullmatch(words) else f"[{words}]"


def description_of(attributes: Attributes) -> str:
    """As `described`, of a drawing in an OOXML document."""
    return described(attribute(attributes, "descr") or "")
