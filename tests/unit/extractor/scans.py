"""Pages as a scanner sees them: pictures of text, made of documents that have it."""

import shutil
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium
from debian import require_programs
from numpy.typing import NDArray
from unit.extractor import hostile_files as hostile

from sluice_extractor.parsing.media import Picture

KOREAN = Path(__file__).parents[2] / "data" / "korean-text-with-tables.pdf"
A4 = (595.0, 842.0)
WIDTH, HEIGHT = 600, 800
"""Of the pages in `hostile_files`, in points."""

Grey = NDArray[np.uint8]


def require_tesseract() -> None:
    """Install Tesseract with English, Korean and Hangul, where that is allowed; else skip, and fail in CI."""
    require_programs({"tesseract": "tesseract-ocr"})
    listed = subprocess.run([shutil.which("tesseract"), "--list-langs"], capture_output=True, text=True, check=True)
    if not {"eng", "kor"} <= (languages := set(listed.stdout.split())):
        require_programs({"kor.traineddata": "tesseract-ocr-kor"})
    if not {"Hangul", "script/Hangul"} & languages:
        require_programs({"Hangul.traineddata": "tesseract-ocr-script-hang"})


def written(lines: Sequence[str], *, size: int = 14) -> bytes:
    """A page of lines in Helvetica."""
    said = b"".join(
        b"BT /F %d Tf 60 %d Td (%b) Tj ET\n" % (size, 720 - at * 2 * size, line.encode("latin-1"))
        for at, line in enumerate(lines)
    )
    return hostile.one_page(hostile.stream(said))


def looks_of(document: bytes, page: int = 0, *, dpi: float = 300) -> Grey:
    """A page as it is printed."""
    book = pdfium.PdfDocument(document)
    drawn = book[page].render(scale=dpi / 72, grayscale=True)
    grey = np.array(drawn.to_numpy(), np.uint8)
    return grey.reshape(grey.shape[0], -1)[:, : drawn.width]


def picture(grey: Grey, *, dpi: float | None = 300, is_whole_page: bool = True, at: int = 0) -> Picture:
    height, width = grey.shape
    rect = (0.0, 0.0, width * 72 / dpi, height * 72 / dpi) if dpi else None
    return Picture(grey.tobytes(), width, height, 1, at, is_whole_page, dpi, rect)


def skewed(grey: Grey, degrees: float) -> Grey:
    """The page as it lies on the glass when nobody took care; lines fall to the right."""
    height, width = grey.shape
    rows, columns = np.indices((height, width), dtype=np.float32)
    angle = np.radians(degrees)
    x, y = columns - width / 2, rows - height / 2
    from_x = np.rint(x * np.cos(angle) + y * np.sin(angle) + width / 2).astype(np.int32)
    from_y = np.rint(-x * np.sin(angle) + y * np.cos(angle) + height / 2).astype(np.int32)
    is_inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    turned = np.full_like(grey, 255)
    turned[is_inside] = grey[from_y[is_inside], from_x[is_inside]]
    return turned


def scanned(pages: Sequence[Grey | bytes]) -> bytes:
    """A PDF with a picture that fills the page for each array, and a page of text for each content stream."""
    pictures = {10 + at: _image(page) for at, page in enumerate(pages) if not isinstance(page, bytes)}
    streams = [
        hostile.stream(page if isinstance(page, bytes) else b"%d 0 0 %d 0 0 cm /P%d Do" % (WIDTH, HEIGHT, 10 + at))
        for at, page in enumerate(pages)
    ]
    names = b"/XObject<<%b>>" % b"".join(b"/P%d %d 0 R" % (number, number) for number in pictures)
    return hostile.pages_of(streams, resources=names, more=pictures)


def _image(grey: Grey) -> bytes:
    height, width = grey.shape
    entries = b"/Type/XObject/Subtype/Image/Width %d/Height %d/BitsPerComponent 8" % (width, height)
    return hostile.stream(zlib.compress(grey.tobytes(), 1), entries + b"/ColorSpace/DeviceGray/Filter/FlateDecode")
