"""What a key in an object store may look like."""

import re

_KEY = re.compile(r"[a-z0-9_-]+(?:/[a-z0-9_-]+)*")


def is_key(key: str) -> bool:
    """Whether Sluice could have made *key*; other things in a store are none of its business."""
    return _KEY.fullmatch(key) is not None


def checked_key(key: str) -> str:
    """The same key, when it is one that Sluice makes.

    Raises:
        ValueError: it is not; keys are generated and never come from a client, so this is a mistake in the code.
    """
    if not is_key(key):
        raise ValueError("a key is made of [a-z0-9_-] in parts divided by single slashes")
    return key
