"""A long document is read by several children, and nobody can tell."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import psutil
import pytest
from unit.extractor import hostile_files as hostile
from unit.extractor.test_sandbox import LIMITS, children_of, reading_of, wait_until

from sluice_common.errors import (
    DocumentTooLarge,
    ExtractionTimeout,
    ExtractorCrashed,
    ExtractorOutOfMemory,
    PipelineError,
    TooManyPages,
)
from sluice_extractor.chunking import Chunk, Chunker
from sluice_extractor.parsing.page import Page
from sluice_extractor.sandbox import ReadingStopped, ReadRequest, Sandbox
from sluice_extractor.sandbox.frames import encoded_page

IN_RANGES = replace(LIMITS, first_range_pages=3, range_pages=3)


@pytest.fixture(scope="module")
def whole() -> Iterator[Sandbox]:
    with Sandbox(LIMITS) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def divided() -> Iterator[Sandbox]:
    with Sandbox(IN_RANGES, children=3) as sandbox:
        yield sandbox


@pytest.fixture
def original(tmp_path):
    """Keeps bytes as a file; returns its path."""

    def original(content: bytes, name: str = "some.pdf") -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}-{name}"
        path.write_bytes(content)
        return path

    return original


def outcome(sandbox: Sandbox, path: Path, pdf_reader: str = "pdfium") -> object:
    """Everything that comes out of a document: pages, remarks and chunks, or its error."""
    try:
        with sandbox.read(ReadRequest(path, path.name, None, pdf_reader)) as reading:
            pages = list(reading)
            return reading.media_type, reading.reader, reading.pages_total, pages, reading.remarks, chunks_of(pages)
    except PipelineError as error:
        return type(error), error.detail


def chunks_of(pages: list[Page]) -> list[Chunk]:
    chunker = Chunker(300, 50)
    return [chunk for page in pages for chunk in chunker.feed(page)] + chunker.finish()


def divided_hello(*, first: int | None = 1, last: int = 3, pages_total: int = 6, reader: str = "pdfium") -> bytes:
    """What the child says that reads these pages."""
    said = {"kind": "hello", "media_type": "application/pdf", "reader": reader, "pages_total": pages_total, "walls": []}
    return json.dumps(said | {"page_range": first and [first, last]}).encode()


def numbered_pages(count: int, instead: dict[int, bytes] | None = None) -> bytes:
    """A PDF whose pages say their numbers; *instead* are the content streams of some of them."""
    said = {
        number: hostile.stream(b"BT /F 12 Tf 50 700 Td (Page %d tells of weir %d) Tj ET" % (number, number))
        for number in range(1, count + 1)
    }
    return hostile.pages_of(list((said | (instead or {})).values()))


def with_outline(whole: bytes, entries: int) -> bytes:
    """The document with an outline; its entries point to the first ten pages in turn, further down each time."""
    pages = re.findall(rb"(\d+) 0 obj\n<</Type/Page/", whole)[:10]
    more = {10_000: b"<</Type/Outlines/First 10001 0 R/Last %d 0 R/Count %d>>" % (10_000 + entries, entries)}
    for number in range(entries):
        following = b"/Next %d 0 R" % (10_002 + number) if number + 1 < entries else b""
        where = b"%b 0 R/XYZ 0 %d 0" % (pages[number % len(pages)], 800 - number % 700)
        more[10_001 + number] = b"<</Title(Entry %d)/Parent 10000 0 R%b/Dest[%b]>>" % (number, following, where)
    objects = {int(number): body for number, body in re.findall(rb"(?s)(\d+) 0 obj\n(.*?)\nendobj\n", whole)}
    objects[1] = objects[1].replace(b"/Type/Catalog", b"/Type/Catalog/Outlines 10000 0 R")
    return hostile.pdf(objects | more)


def silent_pages(count: int, texts: dict[int, bytes]) -> bytes:
    """A PDF of empty pages, but for *texts*."""
    shown = {number: hostile.stream(b"BT /F 12 Tf 50 700 Td (%b) Tj ET" % text) for number, text in texts.items()}
    return numbered_pages(count, {number: hostile.stream(b"") for number in range(1, count + 1)} | shown)


def test_pages_come_in_order_from_several_children(divided, original):
    path = original(numbered_pages(20))

    with divided.read(ReadRequest(path, path.name)) as reading:
        pages = list(reading)

    assert [page.number for page in pages] == list(range(1, 21))
    assert all(page.text == f"Page {page.number} tells of weir {page.number}" for page in pages)


SAID = hostile.stream(hostile.HELLO)
DOCUMENTS = {
    "as many pages as a range": lambda: numbered_pages(3),
    "one page more than a range": lambda: numbered_pages(4),
    "many pages": lambda: numbered_pages(25),
    "text on the last page only": lambda: silent_pages(11, {11: b"At last"}),
    "text in the second range only": lambda: silent_pages(11, {5: b"In between"}),
    "no text on any page": lambda: silent_pages(11, {}),
    "an outline": lambda: with_outline(numbered_pages(10), entries=10),
    "an outline larger than any pipe": lambda: with_outline(numbered_pages(10), entries=3_000),
    "a header that is not at the start": lambda: b"%!PS\n%PDF-1.4\n" + numbered_pages(8),
    "a broken table": lambda: numbered_pages(8).replace(b"startxref\n", b"startxref\n1"),
    "half of it": lambda: numbered_pages(8)[: len(numbered_pages(8)) // 2],
    "pages that are only images": hostile.picture_only,
    "a page without measure": lambda: hostile.pages_of([SAID] * 9, boxes={8: hostile.ENDLESS_BOX}),
    "boxes in a circle": lambda: hostile.pages_of([SAID] * 9, boxes={8: hostile.BOX_IN_A_CIRCLE}, more=hostile.CIRCLE),
    "a page tree that is its own child": hostile.page_tree_cycle,
    "a table before the table that is itself": hostile.previous_table_is_itself,
    "deeply nested arrays": hostile.nested_arrays,
    "forbidden characters": hostile.forbidden_characters,
    "a container behind it": hostile.pdf_that_is_a_zip_too,
    "noise behind a header": hostile.random_after_header,
    "a name of another format": lambda: numbered_pages(8),
}


@pytest.mark.parametrize("what", DOCUMENTS)
def test_nobody_can_tell_whether_a_document_was_read_in_ranges(whole, divided, original, what):
    path = original(DOCUMENTS[what](), "letter.docx" if "name" in what else "some.pdf")

    assert outcome(divided, path) == outcome(whole, path)


def test_pypdf_reads_a_document_with_one_child(divided, whole, original):
    path = original(numbered_pages(10))

    assert outcome(divided, path, "pypdf") == outcome(whole, path, "pypdf")


def test_an_attachment_is_read_whole_however_long_it_is(divided, original):
    mail = EmailMessage()
    mail["Subject"] = "The weirs"
    mail.set_content("They are attached.")
    mail.add_attachment(numbered_pages(10), maintype="application", subtype="pdf", filename="weirs.pdf")
    path = original(mail.as_bytes(), "mail.eml")

    with divided.read(ReadRequest(path, path.name)) as reading:
        text = "".join(page.text for page in reading)

    assert all(f"Page {number} tells" in text for number in range(1, 11))


def test_a_remark_on_the_whole_document_is_made_once(divided, original):
    path = original(numbered_pages(8), "letter.docx")

    with divided.read(ReadRequest(path, path.name)) as reading:
        list(reading)

    assert [remark.code for remark in reading.remarks] == ["type_mismatch"]


@pytest.mark.corpus
def test_nobody_can_tell_of_any_real_pdf_whether_it_was_read_in_ranges(whole, corpus):
    paths = sorted(path for path in corpus.rglob("*.pdf"))
    limits = replace(LIMITS, first_range_pages=3, range_pages=7, wall_clock_max_s=600, wall_clock_s=600)
    with Sandbox(limits, children=4) as divided:
        different = [path.name for path in paths if outcome(divided, path) != outcome(whole, path)]

    assert len(paths) > 100
    assert not different


def read_all(sandbox: Sandbox, path: Path) -> list[Page]:
    with sandbox.read(ReadRequest(path, path.name)) as reading:
        return list(reading)


BOMB = hostile.stream(hostile.deflated_spaces(1 << 30), b"/Filter/FlateDecode")


@pytest.mark.parametrize("at", [2, 5, 12])
def test_the_pages_before_one_that_kills_its_reader_arrive(divided, original, at):
    path = original(numbered_pages(12, {at: BOMB}))
    arrived = []

    with divided.read(ReadRequest(path, path.name)) as reading, pytest.raises(ExtractorOutOfMemory):
        arrived.extend(page.number for page in reading)

    wait_until(lambda: not children_of(divided), "a child lives on")
    assert arrived == list(range(1, at))


@pytest.mark.parametrize("at", [1, 8])
def test_the_limit_of_time_is_the_documents_and_not_each_childs(original, at):
    said = [hostile.DRAWS_TOWER if number == at else hostile.stream(hostile.HELLO) for number in range(1, 10)]
    path = original(hostile.pages_of(said, resources=hostile.TOWER, more=hostile.tower()))
    limits = replace(IN_RANGES, wall_clock_s=1, wall_clock_per_page_s=0, wall_clock_max_s=1)

    with Sandbox(limits, children=3) as sandbox, pytest.raises(ExtractionTimeout):
        read_all(sandbox, path)


def test_the_text_of_all_ranges_together_is_limited(original):
    path = original(numbered_pages(20))

    with Sandbox(replace(IN_RANGES, max_text_chars=200), children=3) as sandbox, pytest.raises(DocumentTooLarge):
        read_all(sandbox, path)


def test_too_many_pages_are_refused_before_one_is_read(original):
    path = original(numbered_pages(7))

    with Sandbox(replace(IN_RANGES, max_pages=6), children=3) as sandbox, pytest.raises(TooManyPages):
        sandbox.read(ReadRequest(path, path.name))


LARGE_PAGE = hostile.stream(b"BT /F 1 Tf 50 700 Td %b ET" % (b"(%b) Tj 0 -20 Td " % (b"weir " * 5_000) * 20))
LARGE_TEXT = b"weir after weir\n" * 300_000


@pytest.fixture
def large(original) -> Path:
    """A document whose children cannot run ahead of their reader: no pipe takes three of its pages."""
    return original(hostile.pages_of([LARGE_PAGE] * 12))


def test_no_child_runs_ahead_by_more_than_its_pipe(divided, large):
    with divided.read(ReadRequest(large, large.name)) as reading:
        next(reading)
        wait_until(lambda: len(children_of(divided)) == 3, "the children ahead did not begin")
        wait_until(lambda: all_wait(divided), "a child goes on")

        assert [page.number for page in reading] == list(range(2, 13))


def all_wait(sandbox: Sandbox) -> bool:
    try:
        return all(child.status() == psutil.STATUS_SLEEPING for child in children_of(sandbox))
    except psutil.NoSuchProcess:  # one has ended since it was listed
        return False


def test_killing_a_reading_ends_all_its_children_at_once(divided, large):
    reading = divided.read(ReadRequest(large, large.name))
    next(reading)
    wait_until(lambda: len(children_of(divided)) == 3, "the children ahead did not begin")

    threading.Thread(target=reading.kill, args=("cancelled",)).start()

    wait_until(lambda: not children_of(divided), "a child lives on")
    with pytest.raises(ReadingStopped, match="cancelled"):
        next(reading)
    reading.close()


def test_leaving_a_reading_early_ends_all_its_children(divided, large):
    with divided.read(ReadRequest(large, large.name)) as reading:
        next(reading)

    wait_until(lambda: not children_of(divided), "a child lives on")


def test_a_document_begins_while_long_ones_have_all_the_places_they_may_have(divided, large, original):
    with divided.read(ReadRequest(large, large.name)) as reading:
        for _ in range(3):
            next(reading)
        wait_until(lambda: len(children_of(divided)) == 2, "the first child lives on")

        assert [page.text for page in read_all(divided, original(hostile.plain_pdf()))] == ["Hello world"]


def test_documents_that_begin_leave_a_place_to_one_that_goes_on(divided, original):
    long, beginning = original(numbered_pages(12)), original(LARGE_TEXT, "large.txt")
    request = ReadRequest(beginning, beginning.name)
    with divided.read(ReadRequest(long, long.name)) as reading:
        pages = [next(reading)]
        with divided.read(request), divided.read(request):
            pages += list(reading)

    assert len(pages) == 12


def test_a_document_that_waits_for_its_place_can_be_stopped(original):
    beginning = original(LARGE_TEXT, "large.txt")
    request = ReadRequest(beginning, beginning.name)

    with Sandbox(IN_RANGES, children=2) as sandbox, sandbox.read(request):
        with pytest.raises(ReadingStopped, match="cancelled"):
            sandbox.read(request, when_it_waits(sandbox, lambda kill: kill("cancelled")))

        assert len(children_of(sandbox)) == 1


def test_the_fork_server_never_learns_the_name_of_a_document(original):
    beginning, secret = original(LARGE_TEXT, "large.txt"), original(b"text", "Kohl-Wirsing-4711.txt")
    found = []

    def look(kill: Callable[[str], None]) -> None:
        found.append(holds(sandbox, b"Kohl-Wirsing-4711"))
        kill("seen")

    with Sandbox(IN_RANGES, children=2) as sandbox, sandbox.read(ReadRequest(beginning, beginning.name)):
        with pytest.raises(ReadingStopped, match="seen"):
            sandbox.read(ReadRequest(secret, secret.name), when_it_waits(sandbox, look))

        assert holds(sandbox, b"sluice_extractor.sandbox")
    assert found == [False]


Kill = Callable[[str], None]


def when_it_waits(sandbox: Sandbox, act: Callable[[Kill], None]) -> Callable[[Kill], None]:
    """Lets another thread *act* as soon as the fork server has an order for which there is no place."""
    server = psutil.Process(sandbox._server.pid)
    descriptors = server.num_fds()

    def wait_and_act(kill: Kill) -> None:
        wait_until(lambda: server.num_fds() > descriptors, "the order did not arrive")
        act(kill)

    return lambda kill: threading.Thread(target=wait_and_act, args=(kill,)).start()


def holds(sandbox: Sandbox, words: bytes) -> bool:
    """Whether the memory of the fork server, which its children inherit, has *words* anywhere."""
    server = Path(f"/proc/{sandbox._server.pid}")
    with (server / "mem").open("rb", buffering=0) as memory:
        for area in psutil.Process(sandbox._server.pid).memory_maps(grouped=False):
            if area.perms.startswith("rw"):
                start, end = (int(at, 16) for at in area.addr.split("-"))
                memory.seek(start)
                if words in memory.read(end - start):
                    return True
    return False


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (divided_hello(), divided_hello(first=4, last=6, pages_total=7)),
        (divided_hello(), divided_hello(first=4, last=6, reader="pypdf")),
        (divided_hello(), divided_hello(first=1, last=3)),
        (divided_hello(), divided_hello(first=None)),
        (divided_hello(first=1, last=2), divided_hello(first=4, last=6)),
    ],
)
def test_children_that_do_not_agree_about_their_document_are_not_believed(first, second):
    pages = [encoded_page(Page(number, "text")) for number in range(1, 7)]
    done = b'{"kind":"done","remarks":[]}'

    with pytest.raises(ExtractorCrashed, match="do not agree"):
        list(reading_of([first, *pages[:3], done], [second, *pages[3:], done], limits=IN_RANGES))


def test_a_page_of_anothers_range_is_not_believed():
    with pytest.raises(ExtractorCrashed, match="out of order"):
        list(reading_of([divided_hello(), encoded_page(Page(4, "text"))], limits=IN_RANGES))
