"""Which reader reads which format; a new format is a module and one line here.

The content decides; the name and the declared type are hints, which matter where bytes prove nothing (a table with
commas is a text, too), and a remark says where they contradict what was found.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sluice_common.errors import EmptyDocument, UnsupportedFormat
from sluice_extractor.parsing.audio import fits_audio, read_audio
from sluice_extractor.parsing.delimited import fits_delimited, read_delimited
from sluice_extractor.parsing.eml import fits_eml, read_eml
from sluice_extractor.parsing.encodings import is_binary
from sluice_extractor.parsing.figures import with_pictures
from sluice_extractor.parsing.foreign import foreign_format
from sluice_extractor.parsing.html import fits_html, read_html
from sluice_extractor.parsing.hwp import fits_hwp, read_hwp
from sluice_extractor.parsing.image import fits_image, read_image
from sluice_extractor.parsing.json_text import fits_json, read_json
from sluice_extractor.parsing.markdown import fits_markdown, read_markdown
from sluice_extractor.parsing.msg import fits_msg, read_msg
from sluice_extractor.parsing.notebook import fits_notebook, read_notebook
from sluice_extractor.parsing.ole import (
    fits_damaged_ole,
    fits_encrypted_office,
    refuse_damaged_ole,
    refuse_encrypted_office,
)
from sluice_extractor.parsing.original import OpenDocument, Original, Reader
from sluice_extractor.parsing.outlines import fits_outline, read_outline
from sluice_extractor.parsing.pdf import fits_pdf, read_pdf
from sluice_extractor.parsing.rtf import fits_rtf, read_rtf
from sluice_extractor.parsing.subtitles import fits_subtitles, read_subtitles
from sluice_extractor.parsing.text import read_text
from sluice_extractor.parsing.type_hints import mismatches
from sluice_extractor.parsing.xls import fits_xls, read_xls
from sluice_extractor.parsing.xml_text import fits_xml, read_xml
from sluice_extractor.parsing.zip_formats import fits_zip, read_zip


@dataclass(frozen=True)
class Format:
    """A format with a reader; the first that fits is taken."""

    fits: Callable[[Original], bool]
    read: Reader
    is_text: bool = True


FORMATS = (
    Format(fits_pdf, read_pdf, is_text=False),
    Format(fits_zip, read_zip, is_text=False),
    Format(fits_encrypted_office, refuse_encrypted_office, is_text=False),
    Format(fits_xls, read_xls, is_text=False),
    Format(fits_hwp, read_hwp, is_text=False),
    Format(fits_msg, lambda original: read_msg(original, open_document), is_text=False),
    Format(fits_damaged_ole, refuse_damaged_ole, is_text=False),
    Format(fits_audio, read_audio, is_text=False),
    Format(fits_image, read_image, is_text=False),
    Format(fits_rtf, read_rtf, is_text=False),
    Format(fits_eml, lambda original: read_eml(original, open_document), is_text=False),
    Format(fits_html, read_html),
    Format(fits_xml, read_xml),
    Format(fits_notebook, read_notebook),
    Format(fits_json, read_json),
    Format(fits_subtitles, read_subtitles),
    Format(fits_delimited, read_delimited),
    Format(fits_outline, read_outline),
    Format(fits_markdown, read_markdown),
    Format(lambda _: True, read_text),
)


def open_document(original: Original) -> OpenDocument:
    """Open the document with the reader for what its bytes are.

    Raises:
        PermanentError: the branch says why; `UnsupportedFormat` names what the document is.
    """
    if not original.content or original.content.isspace():
        raise EmptyDocument("there is nothing but white space" if original.content else "there are no bytes")
    chosen = next(known for known in FORMATS if known.fits(original))
    if chosen.is_text:
        _refuse_what_is_no_text(original, is_html=chosen.read is read_html)
    document = with_pictures(chosen.read(original), original)
    document.remarks += mismatches(original, document.media_type)
    return document


def _refuse_what_is_no_text(original: Original, *, is_html: bool) -> None:
    kind = None if is_html else foreign_format(original)
    if kind is None and is_binary(original.content):
        kind = "binary and of no known format"
    if kind:
        raise UnsupportedFormat(f"this is {kind}, which has no reader")
