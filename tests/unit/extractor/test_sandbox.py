import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest
from unit.extractor import hostile_files as hostile

from sluice_common.errors import (
    ArchiveBomb,
    CorruptDocument,
    CrashError,
    DocumentTooLarge,
    EmptyDocument,
    ExtractionTimeout,
    ExtractorCrashed,
    ExtractorOutOfMemory,
    NoText,
    ObjectMissing,
    OcrRequired,
    TooManyPages,
    UnsupportedFormat,
)
from sluice_extractor.parsing.media import Picture, Sound
from sluice_extractor.parsing.page import NOWHERE, Page, Place
from sluice_extractor.sandbox import ReadingStopped, ReadLimits, ReadRequest, Sandbox
from sluice_extractor.sandbox.frames import LENGTH, MalformedFrame, encoded_page, parse_frame
from sluice_extractor.sandbox.handle import ChildHandle
from sluice_extractor.sandbox.media_frames import encoded_media
from sluice_extractor.sandbox.reading import Reading
from sluice_extractor.sandbox.requests import Part

LIMITS = ReadLimits(
    memory_bytes=512 << 20,
    wall_clock_s=30,
    wall_clock_per_page_s=5,
    wall_clock_max_s=60,
    max_pages=5_000,
    max_text_chars=60_000_000,
    first_range_pages=5_000,
)
"""One child for a document; `test_page_ranges.py` is about several."""


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(LIMITS) as sandbox:
        yield sandbox


@pytest.fixture
def read(sandbox, tmp_path):
    """Reads bytes; returns the text of all pages."""

    def read(content: bytes, name: str = "some.pdf", pdf_reader: str = "pdfium", within: Sandbox = sandbox) -> str:
        with within.read(request_for(tmp_path, content, name, pdf_reader)) as reading:
            return "\n\n".join(page.text for page in reading)

    return read


def request_for(folder, content: bytes, name: str = "some.pdf", pdf_reader: str = "pdfium") -> ReadRequest:
    path = folder / f"original-{len(list(folder.iterdir()))}"
    path.write_bytes(content)
    return ReadRequest(path, name, None, pdf_reader)


def wait_until(condition, what: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, what
        threading.Event().wait(0.01)


def still_works(sandbox, folder) -> bool:
    with sandbox.read(request_for(folder, hostile.plain_pdf())) as reading:
        return [page.text for page in reading] == ["Hello world"]


@pytest.mark.parametrize("pdf_reader", ["pdfium", "pypdf"])
def test_an_ordinary_document_comes_with_its_type_pages_and_walls(sandbox, tmp_path, pdf_reader):
    with sandbox.read(request_for(tmp_path, hostile.plain_pdf(), pdf_reader=pdf_reader)) as reading:
        pages = list(reading)

    assert (reading.media_type, reading.reader, reading.pages_total) == ("application/pdf", pdf_reader, 1)
    assert [(page.number, page.text.strip()) for page in pages] == [(1, "Hello world")]
    assert {"session", "cores", "file_size", "descriptors", "cpu"} <= set(reading.walls)


HOSTILE = {
    "a stream that inflates to a gigabyte": (hostile.inflating, (ExtractorOutOfMemory, ArchiveBomb)),
    "a stream deflated twice": (hostile.twice_inflating, (ExtractorOutOfMemory, ArchiveBomb)),
    "two to the thirty-first draws": (
        hostile.nested_forms,
        (ExtractorOutOfMemory, ExtractionTimeout, ExtractorCrashed),
    ),
    "six million pieces of text": (
        hostile.millions_of_operators,
        (ExtractorOutOfMemory, ExtractionTimeout, ExtractorCrashed, ArchiveBomb),
    ),
    "a page tree that is its own child": (hostile.page_tree_cycle, (CorruptDocument,)),
    "a hundred thousand pages": (lambda: hostile.many_pages(100_000), (TooManyPages,)),
    "a truncated file": (hostile.truncated, (CorruptDocument,)),
    "random bytes behind a header": (hostile.random_after_header, (CorruptDocument,)),
    "a form that draws itself": (hostile.form_in_itself, (NoText,)),
    "a picture of 60,000 by 60,000 pixels": (hostile.picture_only, (OcrRequired,)),
    "nothing": (lambda: b"", (EmptyDocument,)),
    "white space": (lambda: b" \n\t ", (EmptyDocument,)),
    "json a million deep": (lambda: b"[" * 1_000_000, (UnsupportedFormat, CorruptDocument)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_ends_with_a_code_and_the_next_one_is_read(sandbox, read, tmp_path, what):
    make, expected = HOSTILE[what]

    with pytest.raises(expected):
        read(make(), "some.json" if "json" in what else "some.pdf")

    assert still_works(sandbox, tmp_path)


@pytest.mark.parametrize("what", [what for what in HOSTILE if not {"draws", "itself", "pieces"} & set(what.split())])
def test_with_pypdf_alone_the_same_files_end_with_a_code(read, what):
    make, expected = HOSTILE[what]

    with pytest.raises((*expected, CorruptDocument)):
        read(make(), "some.json" if "json" in what else "some.pdf", "pypdf")


@pytest.mark.parametrize("make", [hostile.previous_table_is_itself, hostile.nested_arrays])
def test_a_flawed_file_with_text_is_read(read, make):
    assert read(make()) == "Hello world"


@pytest.mark.parametrize("make", [hostile.page_without_measure, hostile.box_in_a_circle, hostile.pdf_that_is_a_zip_too])
def test_a_strange_page_with_text_is_read(read, make):
    assert read(make()).strip() == "Hello world"


def test_html_that_is_named_as_a_pdf_is_read_as_what_it_is(sandbox, tmp_path):
    request = request_for(tmp_path, b"<!DOCTYPE html><html><body><p>No PDF at all.</p></body></html>", "page.pdf")

    with sandbox.read(request) as reading:
        text = "".join(page.text for page in reading)

    assert (reading.media_type, text) == ("text/html", "No PDF at all.")
    assert [remark.code for remark in reading.remarks] == ["type_mismatch"]


def test_invisible_text_is_text_like_any_other(read):
    assert read(hostile.invisible_text()).split("\n") == ["Nobody sees this sentence", "nor this one", "but this"]


def test_forbidden_characters_do_not_leave_the_reader(read):
    text = read(hostile.forbidden_characters())

    assert text.encode().decode() == text
    assert not set(text) & {"\0", "\ufffe", "\uffff"}
    assert text.startswith("A")


def test_html_two_hundred_thousand_deep_keeps_its_text(read):
    assert read(b"<div>" * 200_000 + b"deep text" + b"</div>" * 200_000, "deep.html") == "deep text"


def test_a_document_that_takes_too_long_is_killed_and_says_so(tmp_path):
    limits = ReadLimits(1 << 30, 0.2, 0, 0.2, 5_000, 1_000_000)
    with Sandbox(limits) as sandbox, pytest.raises(ExtractionTimeout):
        list(sandbox.read(request_for(tmp_path, hostile.nested_forms())))


def test_too_much_text_is_refused(tmp_path):
    limits = ReadLimits(512 << 20, 30, 0, 30, 5_000, 1_000)
    with Sandbox(limits) as sandbox, pytest.raises(DocumentTooLarge):
        list(sandbox.read(request_for(tmp_path, b"word " * 500, "long.txt")))


def test_too_many_pages_are_refused_before_one_is_read(tmp_path):
    limits = ReadLimits(512 << 20, 30, 0, 30, 5, 1_000)
    with Sandbox(limits) as sandbox, pytest.raises(TooManyPages, match="6 pages"):
        sandbox.read(request_for(tmp_path, hostile.many_pages(6)))


def test_a_missing_file_is_named(sandbox, tmp_path):
    with pytest.raises(ObjectMissing):
        sandbox.read(ReadRequest(tmp_path / "nowhere", "x.pdf"))


def test_kill_from_another_thread_stops_the_reading_and_the_child(sandbox, tmp_path):
    reading = sandbox.read(request_for(tmp_path, hostile.many_pages(4_000)))
    next(reading)

    threading.Thread(target=reading.kill, args=("cancelled",)).start()

    with pytest.raises(ReadingStopped, match="cancelled"):
        list(reading)
    reading.close()
    wait_until(lambda: not children_of(sandbox), "the child lives on")
    assert still_works(sandbox, tmp_path)


def test_leaving_a_reading_early_ends_its_child(sandbox, tmp_path):
    with sandbox.read(request_for(tmp_path, hostile.many_pages(4_000))) as reading:
        next(reading)

    wait_until(lambda: not children_of(sandbox), "the child lives on")


def test_a_child_killed_by_others_is_a_crash_of_its_document_only(sandbox, tmp_path):
    with sandbox.read(request_for(tmp_path, hostile.many_pages(4_000))) as reading:
        next(reading)
        os.kill(children_of(sandbox)[0].pid, signal.SIGKILL)

        with pytest.raises(ExtractorCrashed):
            list(reading)

    assert still_works(sandbox, tmp_path)


def test_a_dead_fork_server_is_replaced(sandbox, tmp_path):
    with sandbox.read(request_for(tmp_path, hostile.many_pages(4_000))) as reading:
        next(reading)
        sandbox._server.kill()
        sandbox._server.wait()

        with pytest.raises(CrashError):
            list(reading)

    assert still_works(sandbox, tmp_path)


def test_several_threads_read_at_once(sandbox, tmp_path):
    requests = [request_for(tmp_path, hostile.many_pages(20)) for _ in range(8)]

    def pages_of(request):
        with sandbox.read(request) as reading:
            return [page.number for page in reading]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(pages_of, requests)) == [list(range(1, 21))] * 8


def test_closing_the_sandbox_leaves_no_process(tmp_path):
    sandbox = Sandbox(LIMITS)
    sandbox.start()
    server = psutil.Process(sandbox._server.pid)
    reading = sandbox.read(request_for(tmp_path, hostile.many_pages(4_000)))
    child = children_of(sandbox)[0]

    sandbox.close()

    wait_until(lambda: not server.is_running() and not child.is_running(), "something lives on")
    reading.close()


def test_the_fork_server_has_nothing_of_our_environment_and_no_descriptor_of_ours(sandbox, tmp_path):
    with (tmp_path / "secret").open("w"):
        sandbox.start()
        server = psutil.Process(sandbox._server.pid)

        forbid_threads = {"OMP_THREAD_LIMIT": "1", "OPENBLAS_NUM_THREADS": "1"}
        assert {name: value for name, value in server.environ().items() if name != "LC_CTYPE"} == forbid_threads
        assert not [file for file in server.open_files() if "secret" in file.path]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[1]",
        b'{"kind":"page"}',
        b'{"kind":"page","page":[1]}',
        b'{"kind":"page","page":[1,"a",false,[],[]]}',
        b'{"kind":"page","page":[1,"a",false,[0,9,0,0,0,0],[],null]}',
        b'{"kind":"page","page":[1,"a",false,["0",1,0,0,0,0],[],null]}',
        b'{"kind":"page","page":[1,"a\\u0000",false,[],[],null]}',
        b'{"kind":"page","page":["1","a",false,[],[],null]}',
        b'{"kind":"page","page":[1,"a",false,[],[[5,1,"t"]],null]}',
        b'{"kind":"page","page":[1,"a",false,[],[],"here"]}',
        b'{"kind":"page","page":[1,"a",false,[],[],["s",null,null]]}',
        b'{"kind":"page","page":[1,"a",false,[],[],["s\\u0000",null,null,null]]}',
        b'{"kind":"page","page":[1,"a",false,[],[],["' + b"s" * 256 + b'",null,null,null]]}',
        b'{"kind":"page","page":[1,"a",false,[],[],[null,0,null,null]]}',
        b'{"kind":"page","page":[1,"a",false,[],[],[null,true,null,null]]}',
        b'{"kind":"page","page":[1,"a",false,[],[],[null,null,2,1]]}',
        b'{"kind":"page","page":[1,"a",false,[],[],[null,null,1,null]]}',
        b'{"kind":"page","page":[1,"a",false,[],[],[null,null,-1,1e300]]}',
        b'{"kind":"hello","media_type":"<script>","reader":"x","pages_total":1,"walls":[]}',
        b'{"kind":"error","code":"no_text","detail":"x","detail_code":null,"more":1}',
        b"\xff",
    ],
)
def test_a_frame_that_no_honest_child_sends_is_refused(body):
    with pytest.raises(MalformedFrame):
        parse_frame(body)


def test_a_page_survives_its_frame(read, sandbox, tmp_path):
    with sandbox.read(request_for(tmp_path, hostile.with_outline())) as reading:
        page = next(reading)

    assert parse_frame(encoded_page(page)) == page
    assert [(heading.level, heading.title) for heading in page.headings] == [(1, "Chapter"), (2, "Hello")]


@pytest.mark.parametrize("place", [NOWHERE, Place("매출", None), Place(None, 3), Place(None, None, 0.5, 12.25)])
def test_a_place_survives_its_frame(place):
    page = Page(None, "text", place=place)

    assert parse_frame(encoded_page(page)) == page


@pytest.mark.parametrize(
    "media",
    [
        Picture(bytes(range(6)), 3, 2, 1, at=4),
        Picture(bytes(range(18)), 2, 3, 3, at=0, is_whole_page=True, dpi=300.0, rect=(0.0, 0.5, 595.3, 842.0)),
        Sound(b"\x00\x01\xff\x7f", 16_000),
    ],
)
def test_media_survive_their_frame(media):
    assert parse_frame(encoded_media(media)) == media


def media_frame(header: bytes, content: bytes = b"") -> bytes:
    return b"\0" + len(header).to_bytes(4, "big") + header + content


@pytest.mark.parametrize(
    "body",
    [
        b"\0",
        b"\0\0\0\xff\xff{}",
        media_frame(b"{}"),
        media_frame(b"[]"),
        media_frame(b'{"picture":[1,1,1,0,false,null]}', b"x"),
        media_frame(b'{"picture":[2,1,1,0,false,null,null]}', b"x"),
        media_frame(b'{"picture":[1,1,2,0,false,null,null]}', b"xx"),
        media_frame(b'{"picture":[0,1,1,0,false,null,null]}'),
        media_frame(b'{"picture":[100000,100000,1,0,false,null,null]}'),
        media_frame(b'{"picture":[1,1,1,-1,false,null,null]}', b"x"),
        media_frame(b'{"picture":[true,1,1,0,false,null,null]}', b"x"),
        media_frame(b'{"picture":[1,1,1,0,false,0,null]}', b"x"),
        media_frame(b'{"picture":[1,1,1,0,false,null,[0,0,1e9,1]]}', b"x"),
        media_frame(b'{"picture":[1,1,1,0,false,null,[0,0,1]]}', b"x"),
        media_frame(b'{"sound":16000}', b"x"),
        media_frame(b'{"sound":1}', b"xx"),
        media_frame(b'{"sound":"16000"}', b"xx"),
    ],
)
def test_media_that_no_honest_child_sends_are_refused(body):
    with pytest.raises(MalformedFrame):
        parse_frame(body)


def test_media_belong_to_the_page_after_them_and_must_fit_it():
    pictures = [Picture(b"x", 1, 1, 1, at=at) for at in (0, 3)]

    with_both = reading_of(
        [HELLO, *map(encoded_media, pictures), encoded_page(Page(None, "abc")), encoded_page(Page(None, "d"))]
    )
    outside = reading_of([HELLO, encoded_media(pictures[1]), encoded_page(Page(None, "ab"))])

    assert [page.media for page in (next(with_both), next(with_both))] == [tuple(pictures), ()]
    with pytest.raises(ExtractorCrashed):
        next(outside)


HELLO = b'{"kind":"hello","media_type":"text/plain","reader":"x","pages_total":null,"walls":[]}'


class Sent:
    """In place of the sandbox: children that have sent these frames."""

    def __init__(self, *children: list[bytes]) -> None:
        self._children = iter(children)

    def begin(self, part: Part) -> ChildHandle:
        results, child = os.pipe()
        writing = threading.Thread(target=write_frames, args=(child, *next(self._children)), daemon=True)
        writing.start()
        return ChildHandle(results, socket.socketpair()[0], part)

    def close(self) -> None:
        pass


def write_frames(fd: int, *bodies: bytes) -> None:
    with os.fdopen(fd, "wb") as pipe, suppress(BrokenPipeError):
        for body in bodies:
            pipe.write(LENGTH.pack(len(body)) + body)


def reading_of(*children: list[bytes], limits: ReadLimits = LIMITS) -> Reading:
    """A reading whose children have sent these frames."""
    reading = Reading(Sent(*children), limits)
    reading.open()
    return reading


def test_a_child_that_sends_more_sound_than_a_recording_may_have_is_not_believed():
    minute = encoded_media(Sound(bytes(2 * 8_000 * 60), 8_000)), encoded_page(Page(None, ""))
    limits = replace(LIMITS, max_audio_s=120)

    with reading_of([HELLO, *minute * 3], limits=limits) as reading:
        next(reading)
        next(reading)
        with pytest.raises(ExtractorCrashed, match="more sound"):
            next(reading)


def children_of(sandbox) -> list[psutil.Process]:
    return psutil.Process(sandbox._server.pid).children()
