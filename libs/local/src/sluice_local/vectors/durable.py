"""Small JSON files that are there whole or not at all, also after a power cut."""

import os
from pathlib import Path
from typing import Any  # JSON has no narrower type

import orjson


def write_durably(path: Path, body: Any) -> None:
    """Replace the file at *path* by *body* as JSON; when this returns, a crash cannot lose it."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(orjson.dumps(body))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in *folder* durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
