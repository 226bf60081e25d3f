"""Small files that only their owner may read, replaced whole."""

import os
import tempfile
from pathlib import Path


def make_private_folder(folder: Path) -> None:
    """Make *folder* and its parents; a new one is open to its owner only."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_private(path: Path, text: str) -> None:
    """Replace the file at *path*, mode 0600; a reader sees the old text or the new, never half."""
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
