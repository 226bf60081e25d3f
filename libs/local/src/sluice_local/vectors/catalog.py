"""Every collection and alias below one folder, for one process at a time."""

import fcntl
import os
import re
import shutil
import threading
from pathlib import Path
from typing import IO, Any  # JSON has no narrower type

import orjson

from sluice_local.vectors.collection import Collection
from sluice_local.vectors.durable import write_durably
from sluice_local.vectors.refusals import BadRequest, Exists, Missing

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


class FolderInUse(Exception):
    """Another process serves this folder."""


class Catalog:
    """Opens everything at once; changes of collections and aliases are made one after the other."""

    def __init__(self, root: Path) -> None:
        """Open every collection below *root*, vacuuming those that are mostly deleted.

        Raises:
            FolderInUse: another process has it open.
            Unreadable: a collection is damaged.
        """
        self._folder = root / "collections"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._held = _hold(root / "lock")
        self._aliases_path = root / "aliases.json"
        self._lock = threading.Lock()
        self._collections = self._load_collections()
        self._aliases: dict[str, str] = self._load_aliases()

    def find(self, name: str) -> Collection:
        """The collection of that name or alias.

        Raises:
            Missing: there is none.
        """
        collection = self._collections.get(self._aliases.get(name, name))
        if collection is None:
            raise Missing(f"Not found: Collection `{name}` doesn't exist!")
        return collection

    def has(self, name: str) -> bool:
        """Whether there is a collection of that name or alias."""
        return self._aliases.get(name, name) in self._collections

    def names(self) -> list[str]:
        """The collections' names, in order."""
        return sorted(self._collections)

    def all(self) -> list[Collection]:
        """Every collection that is open now."""
        return list(self._collections.values())

    def create(self, name: str, body: dict[str, Any]) -> bool:
        """Make an empty collection; always True.

        Raises:
            Exists: the name is taken, by a collection or by an alias.
            BadRequest: the name or the body is not to be used.
        """
        if not _NAME.fullmatch(name):
            raise BadRequest("Wrong input: a collection's name has 1 to 200 letters, digits, '.', '_' and '-'")
        with self._lock:
            if self.has(name):
                raise Exists(f"Wrong input: Collection `{name}` already exists!")
            self._collections[name] = Collection.create(self._folder / name, body)
        return True

    def delete(self, name: str) -> bool:
        """Remove a collection with its aliases; False when there is none."""
        with self._lock:
            name = self._aliases.get(name, name)
            collection = self._collections.pop(name, None)
            if collection is None:
                return False
            kept = {alias: target for alias, target in self._aliases.items() if target != name}
            self._replace_aliases(kept)
            collection.remove()
            return True

    def aliases(self, name: str | None = None) -> list[dict[str, str]]:
        """Every alias, or those of one collection, as they stand in an answer."""
        return [
            {"alias_name": alias, "collection_name": target}
            for alias, target in sorted(self._aliases.items())
            if name is None or target == name
        ]

    def change_aliases(self, actions: list[Any]) -> bool:
        """Apply *actions* in order, all or none; a search sees the aliases before or after, never between; always True.

        Raises:
            Missing: an action names a collection or alias that is not there.
            Exists: an alias would hide a collection.
        """
        with self._lock:
            aliases = dict(self._aliases)
            for action in actions:
                self._apply(action, aliases)
            self._replace_aliases(aliases)
        return True

    def close(self) -> None:
        """Flush and close everything, and let others open the folder."""
        for collection in self.all():
            collection.close()
        self._held.close()

    def _apply(self, action: Any, aliases: dict[str, str]) -> None:
        match action:
            case {"create_alias": {"alias_name": alias, "collection_name": target}}:
                self._check_alias(alias, target)
                aliases[alias] = target
            case {"delete_alias": {"alias_name": alias}}:
                _take(aliases, alias)
            case {"rename_alias": {"old_alias_name": old, "new_alias_name": new}}:
                self._check_alias(new, aliases.get(old, ""))
                aliases[new] = _take(aliases, old)
            case _:
                raise BadRequest("Format error in JSON body: unknown alias action")

    def _check_alias(self, alias: str, target: str) -> None:
        if target not in self._collections:
            raise Missing(f"Not found: Collection `{target}` doesn't exist!")
        if alias in self._collections:
            raise Exists(f"Wrong input: Collection `{alias}` already exists!")

    def _replace_aliases(self, aliases: dict[str, str]) -> None:
        if aliases != self._aliases:
            write_durably(self._aliases_path, aliases)
            self._aliases = aliases

    def _load_collections(self) -> dict[str, Collection]:
        collections: dict[str, Collection] = {}
        for folder in sorted(self._folder.iterdir()):
            if Collection.is_in(folder):
                collections[folder.name] = Collection.load(folder)
            else:
                shutil.rmtree(folder)  # a creation or a removal that was cut short
        return collections

    def _load_aliases(self) -> dict[str, str]:
        if not self._aliases_path.exists():
            return {}
        aliases: dict[str, str] = orjson.loads(self._aliases_path.read_bytes())
        return {alias: target for alias, target in aliases.items() if target in self._collections}


def _take(aliases: dict[str, str], alias: str) -> str:
    if alias not in aliases:
        raise Missing(f"Not found: Alias {alias} does not exists!")
    return aliases.pop(alias)


def _hold(path: Path) -> IO[str]:
    held = path.open("a+", encoding="ascii")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        held.seek(0)
        owner = held.read().strip() or "unknown"
        held.close()
        raise FolderInUse(f"{path.parent} is served by another vector server (process {owner})") from error
    held.seek(0)
    held.truncate()
    held.write(str(os.getpid()))
    held.flush()
    return held
