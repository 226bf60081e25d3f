"""What the annotations and form fields of a page say, and what of it is not shown on the page."""

from collections.abc import Sequence
from dataclasses import dataclass

import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # generated bindings, without types

from sluice_extractor.parsing.page import TextSpan, TextSpans, numbers_of
from sluice_extractor.parsing.pdf_lines import PageFrame
from sluice_extractor.parsing.pdf_strings import string_of

MOST_ANNOTATIONS = 10_000
_SHOWN = frozenset({pdfium.FPDF_ANNOT_WIDGET, pdfium.FPDF_ANNOT_FREETEXT, pdfium.FPDF_ANNOT_STAMP})
_SILENT = frozenset({pdfium.FPDF_ANNOT_LINK, pdfium.FPDF_ANNOT_POPUP})
_TEXT_FIELDS = frozenset(
    {pdfium.FPDF_FORMFIELD_TEXTFIELD, pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX}
)


@dataclass(frozen=True)
class Note:
    """What one annotation or field says, and where it stands: left, top, right and bottom in the page's coordinates."""

    text: str
    sides: tuple[float, float, float, float]


@dataclass(frozen=True)
class Notes:
    """What the annotations and fields of a page say."""

    are_shown: bool
    notes: tuple[Note, ...]


NO_NOTES = Notes(are_shown=False, notes=())


def notes_of(page: pdfium.FPDF_PAGE, form: pdfium.FPDF_FORMHANDLE | None) -> Notes:
    notes: list[Note] = []
    are_shown = False
    for at in range(min(pdfium.FPDFPage_GetAnnotCount(page), MOST_ANNOTATIONS)):
        annotation = pdfium.FPDFPage_GetAnnot(page, at)
        if not annotation:
            continue
        kind = pdfium.FPDFAnnot_GetSubtype(annotation)
        if kind not in _SILENT:
            are_shown = are_shown or kind in _SHOWN or pdfium.FPDFAnnot_GetObjectCount(annotation) > 0
            notes.append(Note(_text_of_annotation(annotation, kind, form), _sides_of(annotation)))
        pdfium.FPDFPage_CloseAnnot(annotation)
    return Notes(are_shown, tuple(note for note in notes if note.text))


def _text_of_annotation(annotation: pdfium.FPDF_ANNOTATION, kind: int, form: pdfium.FPDF_FORMHANDLE | None) -> str:
    if kind == pdfium.FPDF_ANNOT_WIDGET:
        if not form or pdfium.FPDFAnnot_GetFormFieldType(form, annotation) not in _TEXT_FIELDS:
            return ""
        return string_of(lambda buffer, size: pdfium.FPDFAnnot_GetFormFieldValue(form, annotation, buffer, size))
    return string_of(lambda buffer, size: pdfium.FPDFAnnot_GetStringValue(annotation, b"Contents", buffer, size))


def _sides_of(annotation: pdfium.FPDF_ANNOTATION) -> tuple[float, float, float, float]:
    rect = pdfium.FS_RECTF()
    pdfium.FPDFAnnot_GetRect(annotation, rect)
    return rect.left, rect.top, rect.right, rect.bottom


def with_notes(text: str, spans: Sequence[TextSpan], notes: Notes, frame: PageFrame) -> tuple[str, Sequence[TextSpan]]:
    """The page's text and the places of its lines, and below them what notes say that is not shown on the page."""
    numbers = list(numbers_of(spans)) if notes.notes else []
    seen = "".join(text.split())
    for note in notes.notes:
        key = "".join(note.text.split())
        if key and key not in seen:
            text = f"{text}\n{note.text}" if text else note.text
            numbers += _span_of(len(text) - len(note.text), len(text), note, frame)
            seen += key
    return text, TextSpans(numbers) if notes.notes else spans


def _span_of(start: int, end: int, note: Note, frame: PageFrame) -> tuple[int, ...]:
    """The numbers of the note's span; none where it has no place that could be shown."""
    sides = frame.shown_rect(*note.sides)
    return (start, end, *sides) if sides else ()
