"""Reading a form piece by piece."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_api.multipart import FormReader, boundary_of
from sluice_api.problems import Problem

BOUNDARY = b"frontier"
FIELDS = frozenset({"collection", "attributes"})
FILE = b'Content-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: Text/Plain; charset=utf-8\r\n'


def part(headers: bytes, content: bytes) -> bytes:
    return b"--" + BOUNDARY + b"\r\n" + headers + b"\r\n" + content + b"\r\n"


def field(name: str, value: bytes) -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"\r\n'.encode(), value)


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


class Read:
    def __init__(self, *pieces: bytes) -> None:
        taken: list[bytes] = []
        self.reader = FormReader(BOUNDARY, known_fields=FIELDS, take=taken.append)
        for piece in pieces:
            self.reader.feed(piece)
        self.reader.finish()
        self.content = b"".join(taken)


def refusal_of(*pieces: bytes) -> Problem:
    with pytest.raises(Problem) as refused:
        Read(*pieces)
    return refused.value


def test_the_parts_may_come_in_any_order():
    before = Read(form(field("collection", b"c"), part(FILE, b"content")))
    after = Read(form(part(FILE, b"content"), field("collection", b"c")))

    assert before.reader.fields == after.reader.fields == {"collection": "c"}
    assert before.content == after.content == b"content"
    assert before.reader.file.name == "a.txt"
    assert before.reader.file.declared_type == "text/plain"


@given(st.binary(max_size=2000), st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_the_content_is_the_same_however_the_body_was_cut(content, cuts):
    body = form(field("attributes", b"{}"), part(FILE, content.replace(b"\r\n--frontier", b"")))
    pieces = []
    while body:
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(body[:size])
        body = body[size:]

    assert Read(*pieces).content == content.replace(b"\r\n--frontier", b"")


def test_an_empty_file_is_a_file():
    read = Read(form(part(FILE, b"")))

    assert read.content == b""
    assert read.reader.file is not None


def test_a_known_field_may_come_as_a_blob():
    blob = b'Content-Disposition: form-data; name="attributes"; filename="blob"\r\nContent-Type: application/json\r\n'

    assert Read(form(part(blob, b"{}"), part(FILE, b"x"))).reader.fields == {"attributes": "{}"}


def test_short_padding_around_the_parts_is_no_harm():
    read = Read(b"\r\n" + form(part(FILE, b"x")) + b"\r\n")

    assert read.content == b"x"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form at all",
        b"\r\n" * 2000 + form(part(FILE, b"x")),
        form(part(FILE, b"x"))[:-6],
        part(FILE, b"x"),
        form(*[field("collection", b"c")] * 1, part(b"X: " + b"y" * 9000 + b"\r\n", b"")),
        form(part(b"".join(b"X%d: y\r\n" % number for number in range(20)), b"")),
        b"--frontier\r\nbad header\r\n\r\n",
        b"--other\r\n",
    ],
)
def test_what_is_no_form_is_refused(body):
    assert (refusal_of(body).status, refusal_of(body).code) == (400, "invalid_request")


def test_headers_of_a_part_are_bounded_together():
    headers = b"".join(b"X%d: %s\r\n" % (number, b"y" * 3000) for number in range(3))

    assert refusal_of(form(part(FILE + headers, b"x"))).status == 400


def test_much_behind_the_last_part_is_refused():
    assert refusal_of(form(part(FILE, b"x")), b"z" * 1000, b"z" * 1000).status == 400


def test_an_eleventh_part_is_refused():
    reader = FormReader(BOUNDARY, known_fields=frozenset(f"f{number}" for number in range(20)), take=lambda _: None)

    with pytest.raises(Problem, match="parts"):
        reader.feed(form(*(field(f"f{number}", b"") for number in range(11))))


@pytest.mark.parametrize(
    ("parts", "pointer"),
    [
        ((field("state", b"ready"),), "/state"),
        ((field("collection", b"a"), field("collection", b"b")), "/collection"),
        ((field("collection", b"x" * (64 * 2**10 + 1)),), "/collection"),
        ((field("collection", b"\xff"),), "/collection"),
        ((part(FILE, b"x"), part(FILE, b"y")), "/file"),
        ((field("a/../b", b""),), "/?"),
    ],
)
def test_a_field_that_may_not_be_there_is_named(parts, pointer):
    refused = refusal_of(form(*parts))

    assert (refused.status, refused.code) == (422, "validation_failed")
    assert refused.errors[0].pointer == pointer


@pytest.mark.parametrize("headers", [b'; filename=""', b"", b'; filename="../"'])
def test_a_file_without_a_name_is_refused(headers):
    refused = refusal_of(form(part(b'Content-Disposition: form-data; name="file"' + headers + b"\r\n", b"x")))

    assert (refused.status, refused.code) == (400, "filename_missing")


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (None, 415),
        ("application/json", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=" + "x" * 71, 400),
    ],
)
def test_another_type_of_body_is_refused(content_type, status):
    with pytest.raises(Problem) as refused:
        boundary_of(content_type)

    assert refused.value.status == status


def test_the_boundary_is_read_from_the_header():
    assert boundary_of('Multipart/Form-Data; charset=utf-8; boundary="a b"') == b"a b"
