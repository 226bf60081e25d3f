"""What DOCX, PPTX and XLSX share: parts, and the relationships by which they name each other."""

import posixpath
from collections.abc import Callable
from dataclasses import dataclass

from sluice_common.errors import CorruptDocument
from sluice_extractor.parsing.media import FigureSource
from sluice_extractor.parsing.xml_stream import Attributes, attribute, parse_whole
from sluice_extractor.parsing.zipped import Archive

_MOST_RELATIONSHIPS = 100_000


@dataclass(frozen=True)
class Relationship:
    """That a part uses another; `kind` is the last word of the relationship's type, such as `slide`."""

    kind: str
    target: str


class Package:
    """An OOXML package."""

    def __init__(self, archive: Archive) -> None:
        """Find the main part.

        Raises:
            CorruptDocument: there is none.
        """
        self.archive = archive
        mains = [found.target for found in self.related("").values() if found.kind == "officeDocument"]
        if not mains or not archive.has(mains[0]):
            raise CorruptDocument("its main part is missing")
        self.main = mains[0]

    def related(self, part: str) -> dict[str, Relationship]:
        """The parts that *part* uses, by the id of the relationship; what lies outside of the package is left out."""
        folder, name = posixpath.split(part)
        collected = _Relationships(folder)
        listing = posixpath.join(folder, "_rels", f"{name}.rels")
        if self.archive.has(listing):
            parse_whole(self.archive.pieces(listing), collected)
        return collected.by_id

    def figures_of(self, part: str) -> Callable[[Attributes], FigureSource | None]:
        """What finds the picture that an element of *part* shows, a `blip` or an `imagedata`."""
        related = self.related(part)

        def found(attributes: Attributes) -> FigureSource | None:
            named = attribute(attributes, "embed") or attribute(attributes, "id", of="/relationships") or ""
            target = related[named].target if named in related and related[named].kind == "image" else ""
            return self.archive.figure(target) if target and self.archive.has(target) else None

        return found

    def of_kind(self, part: str, *kinds: str) -> list[str]:
        """The parts of these kinds that *part* uses and that are there, each once."""
        targets = [found.target for found in self.related(part).values() if found.kind in kinds]
        return [target for target in dict.fromkeys(targets) if self.archive.has(target)]


class _Relationships:
    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.by_id: dict[str, Relationship] = {}

    def start(self, name: str, attributes: Attributes) -> None:
        if name != "Relationship" or attributes.get("TargetMode") == "External":
            return
        if len(self.by_id) >= _MOST_RELATIONSHIPS:
            raise CorruptDocument("a part has relationships without end")
        joined = posixpath.normpath(posixpath.join("/", self._folder, attributes.get("Target", "")))
        kind = attributes.get("Type", "").rpartition("/")[2]
        self.by_id[attributes.get("Id", "")] = Relationship(kind, joined.lstrip("/"))

    def end(self, name: str) -> None:
        pass

    def text(self, text: str) -> None:
        pass
