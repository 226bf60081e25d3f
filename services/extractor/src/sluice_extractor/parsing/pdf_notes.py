"""What the annotations and form fields of a page say, and what of it is not shown on the page."""

from dataclasses import dataclass

import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # generated bindings, without types

from sluice_extractor.parsing.pdf_strings import string_of

MOST_ANNOTATIONS = 10_000
_SHOWN = frozenset({pdfium.FPDF_ANNOT_WIDGET, pdfium.FPDF_ANNOT_FREETEXT, pdfium.FPDF_ANNOT_STAMP})
_SILENT = frozenset({pdfium.FPDF_ANNOT_LINK, pdfium.FPDF_ANNOT_POPUP})
_TEXT_FIELDS = frozenset(
    {pdfium.FPDF_FORMFIELD_TEXTFIELD, pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX}
)


@dataclass(frozen=True)
class Notes:
    """What the annotations and fields of a page say."""

    are_shown: bool
    texts: tuple[str, ...]


NO_NOTES = Notes(are_shown=False, texts=())


def notes_of(page: pdfium.FPDF_PAGE, form: pdfium.FPDF_FORMHANDLE | None) -> Notes:
    texts: list[str] = []
    are_shown = False
    for at in range(min(pdfium.FPDFPage_GetAnnotCount(page), MOST_ANNOTATIONS)):
        annotation = pdfium.FPDFPage_GetAnnot(page, at)
        if not annotation:
            continue
        kind = pdfium.FPDFAnnot_GetSubtype(annotation)
        if kind not in _SILENT:
            are_shown = are_shown or kind in _SHOWN or pdfium.FPDFAnnot_GetObjectCount(annotation) > 0
            texts.append(_text_of_annotation(annotation, kind, form))
        pdfium.FPDFPage_CloseAnnot(annotation)
    return Notes(are_shown, tuple(text for text in texts if text))


def _text_of_annotation(annotation: pdfium.FPDF_ANNOTATION, kind: int, form: pdfium.FPDF_FORMHANDLE | None) -> str:
    if kind == pdfium.FPDF_ANNOT_WIDGET:
        if not form or pdfium.FPDFAnnot_GetFormFieldType(form, annotation) not in _TEXT_FIELDS:
            return ""
        return string_of(lambda buffer, size: pdfium.FPDFAnnot_GetFormFieldValue(form, annotation, buffer, size))
    return string_of(lambda buffer, size: pdfium.FPDFAnnot_GetStringValue(annotation, b"Contents", buffer, size))


def with_notes(text: str, notes: Notes) -> str:
    """The page's text, and below it what notes say that is not shown on the page."""
    if not notes.texts:
        return text
    seen = "".join(text.split())
    for note in notes.texts:
        key = "".join(note.split())
        if key and key not in seen:
            text = f"{text}\n{note}" if text else note
            seen += key
    return text
