"""Writes the lock of each image from requirements.lock: what its package needs, and what that needs, with hashes."""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
BUILD_TOOLS = ("hatchling", "editables")
EMBEDDING_SERVER = ("numpy", "orjson", "pydantic", "starlette", "uvicorn", "wordllama")
VECTOR_SERVER = ("fastapi", "numpy", "orjson", "psutil", "pydantic", "qdrant-edge-py", "starlette", "uvicorn")
IMAGES: dict[str, str | tuple[str, ...]] = {
    "services/api/requirements.lock": "services/api",
    "services/extractor/requirements.lock": "services/extractor",
    "services/extractor/requirements-full.lock": "services/extractor[audio]",
    "services/embedder/requirements.lock": "services/embedder",
    "deploy/compose/embeddings/requirements.lock": EMBEDDING_SERVER,
    "deploy/compose/build.lock": BUILD_TOOLS,
    "tests/deploy/containers/standins/vector_server.lock": VECTOR_SERVER,
}
"""Which lock is made for which package, with which extras, or for which names."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_NEED = re.compile(r"([A-Za-z0-9._-]+)(?:\[([^]]*)])?")
_OWN = "sluice-"


@dataclass(frozen=True)
class Pinned:
    """What the lock says of one package: its lines, and who needs it."""

    text: str
    needed_by: frozenset[str]


def main() -> int:
    pins = pins_of(LOCK.read_text(encoding="utf-8"))
    for path, wanted in IMAGES.items():
        (ROOT / path).write_text(lock_for(wanted, pins), encoding="utf-8")
    return 0


def lock_for(wanted: str | tuple[str, ...], pins: dict[str, Pinned]) -> str:
    """The text of the lock for a package's folder or for some names."""
    roots = list(_needs_of_image(wanted)) if isinstance(wanted, str) else wanted
    return "".join(pins[name].text for name in sorted(closure(roots, pins)))


def pins_of(lock: str) -> dict[str, Pinned]:
    """The entries of a lock by their names; each ends with the list of who needs it.

    A package with other versions for other Pythons has several entries, which stay together.
    """
    pins: dict[str, Pinned] = {}
    for entry in re.split(r"\n(?=[A-Za-z0-9])", lock.strip()):
        before = pins.get(_name_of(entry), Pinned("", frozenset()))
        pins[_name_of(entry)] = Pinned(before.text + _without_comments(entry), before.needed_by | _needed_by(entry))
    return pins


def closure(roots: Iterable[str], pins: dict[str, Pinned]) -> set[str]:
    """*roots* and all that they need, directly or not."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in pins and name not in found:
            found.add(name)
            waiting += [other for other, pinned in pins.items() if name in pinned.needed_by]
    return found


def needs_of(folder: Path, extras: frozenset[str] = frozenset()) -> Iterator[str]:
    """What the package in *folder* needs of others, through our own packages with the extras asked of them."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project.get("optional-dependencies", {})
    for need in [*project["dependencies"], *(line for extra in sorted(extras) for line in optional[extra])]:
        name, asked = _parts_of(need)
        if name.startswith(_OWN):
            yield from needs_of(ROOT / "libs" / name.removeprefix(_OWN), asked)
        else:
            yield name


def _needs_of_image(package: str) -> Iterator[str]:
    folder, _, extras = package.removesuffix("]").partition("[")
    return needs_of(ROOT / folder, frozenset(filter(None, extras.split(","))))


def _parts_of(need: str) -> tuple[str, frozenset[str]]:
    match = _NEED.match(need)
    assert match is not None, need
    return match[1].lower(), frozenset(filter(None, re.split(r"\s*,\s*", match[2] or "")))


def _name_of(entry: str) -> str:
    match = _NAME.match(entry)
    assert match is not None, entry
    return match[0].lower()


def _needed_by(entry: str) -> frozenset[str]:
    comments = [line.strip().removeprefix("#").strip() for line in entry.splitlines() if line.strip().startswith("#")]
    return frozenset(word for line in comments if (word := line.removeprefix("via").strip()))


def _without_comments(entry: str) -> str:
    return "".join(f"{line}\n" for line in entry.splitlines() if not line.strip().startswith("#"))


if __name__ == "__main__":
    sys.exit(main())
