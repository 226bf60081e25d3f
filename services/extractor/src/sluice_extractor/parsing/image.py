"""Reads pictures as documents: pages without text, each with the picture that it is, for those who recognise text."""

from collections.abc import Iterator
from dataclasses import replace

from sluice_common.errors import CorruptDocument, DocumentTooLarge, OcrRequired, PermanentError, TooManyPages
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import Page, Remark
from sluice_extractor.parsing.picture_decoding import MOST_PIXELS, PictureFile, kind_of

_MOST_COLOURED_PIXELS = 24_000_000
"""They take three bytes each; what has more comes in grey."""


def fits_image(original: Original) -> bool:
    return kind_of(original.content) is not None


def read_image(original: Original) -> OpenDocument:
    """Open a picture, or several in one file, which are pages then; of an animation the first is read.

    The rectangle of a page is that of the upright picture, in its pixels.

    Raises:
        OcrRequired: nobody asked for what is in pictures.
        CorruptDocument: it is damaged; where there are several pages, all of them.
        DocumentTooLarge: it has more pixels than the limit.
        TooManyPages: before one of them is decoded.
    """
    kind = kind_of(original.content)
    assert kind is not None, "it fits"
    if not original.wants_media:
        raise OcrRequired(f"this is {kind.called}")
    file = PictureFile(original.content, kind)
    pages_total = file.frames(original.max_pages)
    if pages_total > original.max_pages:
        raise TooManyPages(f"more than {original.max_pages} pictures in one file")
    if original.allowance and not original.allowance.figures.has_room():
        raise DocumentTooLarge("there are too many pictures in the attachments together")
    remarks: list[Remark] = []
    in_colour = original.wants_colour and file.size[0] * file.size[1] <= _MOST_COLOURED_PIXELS
    pages = _pages(file, pages_total, remarks, in_colour=in_colour)
    return OpenDocument(kind.media_type, "pillow", pages_total, pages, remarks)


def _pages(file: PictureFile, pages_total: int, remarks: list[Remark], *, in_colour: bool) -> Iterator[Page]:
    failures: list[PermanentError] = []
    for number in range(1, pages_total + 1):
        try:
            most_pixels = _MOST_COLOURED_PIXELS if in_colour else MOST_PIXELS
            picture = file.picture(number - 1, most_pixels=most_pixels, in_colour=in_colour)
        except (CorruptDocument, DocumentTooLarge) as error:
            failures.append(error)
            remarks.append(Remark("page_unreadable", f"The page could not be read: {error.detail}.", number))
            yield Page(number, "", failed=True)
        else:
            yield Page(number, "", media=(replace(picture, is_whole_page=True),))
    if len(failures) == pages_total:
        raise failures[0]
