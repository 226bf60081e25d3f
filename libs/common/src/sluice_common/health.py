"""A health check for containers: `python -m sluice_common.health URL` ends with 0 when the URL answers 2xx."""

import sys
import urllib.error
import urllib.request

_TIMEOUT_S = 3


def answers(url: str) -> bool:
    """Whether the address answers with success within three seconds."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S):  # noqa: S310 - the operator's own address
            return True
    except (urllib.error.URLError, OSError, ValueError):
        return False


if __name__ == "__main__":
    sys.exit(0 if answers(sys.argv[1]) else 1)
