"""What lies in the folder of the originals, and what the table says should."""

from contextlib import suppress
from pathlib import Path
from typing import Self

from oracle import Oracle

from sluice_local.stack import LocalStack

UNFINISHED = ".tmp"


class Originals:
    """The folder *root* of a file system object store, seen from outside."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @classmethod
    def of(cls, stack: LocalStack) -> Self:
        return cls(Path(stack.environment_of("api")["SLUICE_OBJECTS__ROOT"]))

    def kept(self) -> set[str]:
        """The keys of all that is in the store."""
        return {key for key in self._sizes() if not key.startswith(f"{UNFINISHED}/")}

    def unfinished(self) -> list[str]:
        """What was begun and not ended."""
        return [key for key in self._sizes() if key.startswith(f"{UNFINISHED}/")]

    def size_bytes(self) -> int:
        """All files together, the unfinished ones too."""
        return sum(self._sizes().values())

    def _sizes(self) -> dict[str, int]:
        found = {}
        for path in self._root.rglob("*"):
            with suppress(FileNotFoundError):  # removed since the folder was read
                if path.is_file():
                    found[str(path.relative_to(self._root))] = path.stat().st_size
        return found


def keys_in_table(oracle: Oracle) -> set[str]:
    """The keys that rows of documents name which were not deleted."""
    statement = (
        "SELECT o.storage_key FROM originals o JOIN documents d ON d.id = o.document_id WHERE d.lifecycle = 'active'"
    )
    return {key for (key,) in oracle.query(statement)}
