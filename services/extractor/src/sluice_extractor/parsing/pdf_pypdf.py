"""pypdf as a reader of PDFs: slow, without boxes, and free of native code."""

import logging
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

from pypdf import PageObject, PasswordType, PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError, LimitReachedError, PyPdfError
from pypdf.generic import Destination, DictionaryObject, TextStringObject

from sluice_common.errors import ArchiveBomb, CorruptDocument, Encrypted, TooManyPages
from sluice_extractor.parsing.cleaning import clean_line, clean_text
from sluice_extractor.parsing.garbling import is_garbled
from sluice_extractor.parsing.page import TITLE_CHARS, Heading, Page

_IMAGE_PAGES = 20
_OUTLINE_DEPTH = 10
_ANNOTATIONS = 10_000
_SILENT = frozenset({"/Link", "/Popup"})


class PypdfBook:
    """A PDF opened by pypdf."""

    def __init__(self, content: bytes, *, max_pages: int) -> None:
        """Open *content*, with the empty password where it is encrypted.

        Raises:
            Encrypted: it needs a password.
            TooManyPages: it says so itself; counting them would take long.
            CorruptDocument: pypdf cannot open it.
        """
        logging.getLogger("pypdf").disabled = True  # it writes a line for every flaw of a file
        self._reader = _open(content)
        _check_declared_pages(self._reader, max_pages)
        self.pages_total = _counted(self._reader)
        self._outline: dict[int, list[tuple[int, str]]] | None = None

    def page(self, number: int) -> Page:
        try:
            page = self._reader.pages[number - 1]
            text = _with_notes(clean_text(page.extract_text()), page)
        except LimitReachedError as error:
            raise ArchiveBomb(f"page {number} expands beyond pypdf's limit") from error
        except (MemoryError, RecursionError):
            raise
        except Exception:  # noqa: BLE001 - pypdf raises whatever a damaged page provokes
            return Page(number, "", failed=True)
        return Page(number, text, headings=self._headings(number, text), is_garbled=is_garbled(text))

    def has_images(self) -> bool:
        return any(_shows_image(self._reader, index) for index in range(min(self.pages_total, _IMAGE_PAGES)))

    def _headings(self, number: int, text: str) -> tuple[Heading, ...]:
        if self._outline is None:
            self._outline = _outline_of(self._reader)
        found = [Heading(max(text.find(title), 0), level, title) for level, title in self._outline.get(number, [])]
        return tuple(sorted(found, key=lambda heading: heading.start))


def _open(content: bytes) -> PdfReader:
    try:
        reader = PdfReader(BytesIO(content), strict=False)
        is_open = not reader.is_encrypted or reader.decrypt("") != PasswordType.NOT_DECRYPTED
    except (DependencyError, FileNotDecryptedError, NotImplementedError) as error:
        raise Encrypted("it is protected in a way that pypdf does not know") from error
    except MemoryError:
        raise
    except RecursionError as error:
        raise CorruptDocument("it is nested too deeply", detail_code="too_deep") from error
    except Exception as error:  # pypdf raises whatever a damaged file provokes
        raise CorruptDocument("pypdf cannot open it") from error
    if not is_open:
        raise Encrypted("it needs a password")
    return reader


def _check_declared_pages(reader: PdfReader, max_pages: int) -> None:
    try:
        root = reader.trailer["/Root"].get_object()
        declared = root["/Pages"].get_object()["/Count"]  # type: ignore[index]  # checked by what follows
    except Exception:  # noqa: BLE001 - a damaged tree is judged when it is counted
        return
    if isinstance(declared, int) and declared > max_pages:
        raise TooManyPages(f"{int(declared)} pages, the limit is {max_pages}")


def _counted(reader: PdfReader) -> int:
    try:
        count = len(reader.pages)
    except MemoryError:
        raise
    except Exception as error:  # pypdf raises whatever a damaged file provokes
        raise CorruptDocument("its page tree cannot be read") from error
    if count < 1:
        raise CorruptDocument("it has no pages")
    return count


def _with_notes(text: str, page: PageObject) -> str:
    """The page's text, and below it what annotations and fields say that is not shown on the page."""
    seen = "".join(text.split())
    for note in _notes_of(page):
        key = "".join(note.split())
        if key and key not in seen:
            text = f"{text}\n{note}" if text else note
            seen += key
    return text


def _notes_of(page: PageObject) -> Iterator[str]:
    annotations = page.get("/Annots")
    if annotations is None:
        return
    for reference in list(annotations.get_object() or ())[:_ANNOTATIONS]:
        annotation = reference.get_object()
        if isinstance(annotation, DictionaryObject) and annotation.get("/Subtype") not in _SILENT:
            value = _field_value(annotation) if annotation.get("/Subtype") == "/Widget" else annotation.get("/Contents")
            if isinstance(value, TextStringObject):
                yield clean_text(str(value)).strip()


def _field_value(widget: DictionaryObject) -> Any:  # pypdf's own type of the value, whatever it is
    parent = widget.get("/Parent")
    owner = parent.get_object() if "/V" not in widget and parent is not None else widget
    return owner.get("/V") if isinstance(owner, DictionaryObject) else None


def _outline_of(reader: PdfReader) -> dict[int, list[tuple[int, str]]]:
    """Level and title of the outline's entries by page number."""
    entries: dict[int, list[tuple[int, str]]] = {}
    try:
        _collect(reader, reader.outline, 1, entries)
    except (PyPdfError, KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError):
        return entries  # an outline is an extra; its flaws must not cost the text
    return entries


def _collect(
    reader: PdfReader, outline: Sequence[Any], level: int, entries: dict[int, list[tuple[int, str]]]
) -> None:  # Any: pypdf nests destinations and lists of them
    for entry in outline:
        if isinstance(entry, list):
            if level < _OUTLINE_DEPTH:
                _collect(reader, entry, level + 1, entries)
        elif isinstance(entry, Destination) and entry.title:
            index = reader.get_destination_page_number(entry)
            title = clean_line(str(entry.title)).strip()[:TITLE_CHARS]
            if index is not None and index >= 0 and title:
                entries.setdefault(index + 1, []).append((level, title))


def _shows_image(reader: PdfReader, index: int) -> bool:
    try:
        return len(reader.pages[index].images.keys()) > 0
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - pypdf raises whatever a damaged page provokes
        return False
