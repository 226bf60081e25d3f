"""Reads Jupyter notebooks: their prose, their code, and what the code printed."""

import base64
import re
from collections.abc import Iterator
from functools import partial

from sluice_common.errors import CorruptDocument
from sluice_extractor.parsing.cleaning import clean_text
from sluice_extractor.parsing.encodings import decode
from sluice_extractor.parsing.figure_marks import MARK, without_marks
from sluice_extractor.parsing.json_text import Fields, Value, parse_json
from sluice_extractor.parsing.markdown import headings_of
from sluice_extractor.parsing.media import FigureSource
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import parts_of
from sluice_extractor.parsing.text import checked_text, joined_within, remarks_on

_HEAD_BYTES = 4096
_IMAGES = ("image/png", "image/jpeg", "png", "jpeg")
"""The last two are of the third format of notebooks."""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def fits_notebook(original: Original) -> bool:
    """It is JSON, and the name or the sender says so."""
    is_named = original.suffix == ".ipynb" or original.hinted_type == "application/x-ipynb+json"
    return is_named and original.content[:_HEAD_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def read_notebook(original: Original) -> OpenDocument:
    """Open a notebook.

    Raises:
        CorruptDocument: it is no notebook.
        EmptyDocument: its cells have no words.
    """
    decoded = decode(original.content)
    notebook = parse_json(decoded.text)
    cells = list(_cells_of(notebook))
    if not isinstance(notebook, Fields) or not {"cells", "worksheets"} & dict(notebook).keys():
        raise CorruptDocument("there are no cells in the notebook")
    language = _text(_inner(_inner(notebook, "metadata"), "language_info"), "name") or "python"
    sources: list[FigureSource] = []
    found = (piece for cell in cells for piece in _pieces_of(cell, language))
    pieces = (_marked(piece, sources) for piece in found if original.wants_media or isinstance(piece, str))
    marked = joined_within((piece for piece in pieces if piece.strip()), original).strip()
    text, _, figures = without_marks(marked, (), sources)
    text = checked_text(text, original, has_figures=bool(figures))
    pages = parts_of(text, tuple(headings_of(text)), figures=figures)
    return OpenDocument("application/x-ipynb+json", decoded.encoding, None, pages, remarks_on(decoded))


def _cells_of(notebook: Value) -> Iterator[Fields]:
    """The cells, which the third format of notebooks keeps in worksheets."""
    for sheet in (notebook, *_lists(notebook, "worksheets")):
        yield from _lists(sheet, "cells")


def _marked(piece: str | FigureSource, sources: list[FigureSource]) -> str:
    """A piece of text as it is kept; for a figure the mark of its place."""
    if isinstance(piece, FigureSource):
        sources.append(piece)
        return MARK
    text = clean_text(piece).strip("\n")
    return f"{text}\n\n" if text.strip() else ""


def _pieces_of(cell: Fields, language: str) -> Iterator[str | FigureSource]:
    kind = _text(cell, "cell_type")
    source = _text(cell, "source", "input")
    if kind == "code":
        if source.strip():
            yield f"```{language}\n{source}\n```"
        for output in _lists(cell, "outputs"):
            yield _ESCAPES.sub("", _output_of(output))
            yield from _images_of(_inner(output, "data") or output)
    elif kind == "heading":
        yield f"{'#' * max(1, min(6, int(_text(cell, 'level') or 1)))} {source}"
    else:
        yield source
    for attached in dict(_inner(cell, "attachments") or Fields()).values():
        yield from _images_of(attached)


def _images_of(values: object) -> Iterator[FigureSource]:
    """The picture that a value is, in the first form that it has."""
    for name in _IMAGES:
        encoded = _text(values, name)
        if encoded:
            yield FigureSource("", partial(_decoded, encoded))
            return


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded)
    except ValueError as error:
        raise CorruptDocument("a picture in the notebook is no base64") from error


def _output_of(output: Fields) -> str:
    """What a person would read of it: printed text, a value as text, or the sentence of an error."""
    if _text(output, "output_type") in {"error", "pyerr"}:
        return f"{_text(output, 'ename')}: {_text(output, 'evalue')}"
    values = _inner(output, "data") or output
    return _text(values, "text/markdown", "text/plain", "text") or _text(output, "text")


def _inner(value: object, name: str) -> Fields | None:
    found = dict(value).get(name) if isinstance(value, Fields) else None
    return found if isinstance(found, Fields) else None


def _lists(value: object, *names: str) -> list[Fields]:
    """The objects in the first list of these names."""
    fields = dict(value) if isinstance(value, Fields) else {}
    found = next((fields[name] for name in names if isinstance(fields.get(name), list)), [])
    return [item for item in found if isinstance(item, Fields)]  # type: ignore[attr-defined]  # it is a list


def _text(value: object, *names: str) -> str:
    """The first of these fields that has text, which notebooks keep whole or as a list of lines."""
    fields = dict(value) if isinstance(value, Fields) else {}
    for name in names:
        written = fields.get(name)
        text = "".join(map(str, written)) if isinstance(written, list) else written
        if isinstance(text, str) and text:
            return text
    return ""
