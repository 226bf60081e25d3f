"""What a document is called, row by row of what clients send."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_api.names import clean_name, file_name_of, parameters_of

KOREAN = "보고서.pdf"


def name_in(disposition: bytes) -> str | None:
    return file_name_of(parameters_of(disposition))


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b'filename="report.pdf"', "report.pdf"),
        (f'filename="{KOREAN}"'.encode(), KOREAN),
        (f'filename="{unicodedata.normalize("NFD", KOREAN)}"'.encode(), KOREAN),
        (b"filename*=UTF-8''%EB%B3%B4%EA%B3%A0%EC%84%9C.pdf", KOREAN),
        (b"filename*=utf-8'ko'%EB%B3%B4%EA%B3%A0%EC%84%9C.pdf", KOREAN),
        (b"filename=\"x.pdf\"; filename*=UTF-8''%EB%B3%B4%EA%B3%A0%EC%84%9C.pdf", KOREAN),
        (b"filename*=UTF-8''%FF; filename=\"x.pdf\"", "x.pdf"),
        (b"filename*=klingon''x; filename=\"x.pdf\"", "x.pdf"),
        (b'filename*=broken; filename="x.pdf"', "x.pdf"),
        (f'filename="{KOREAN}"'.encode("cp949"), KOREAN),
        (b'filename="a%22b%0D%0Ac.pdf"', 'a"bc.pdf'),
        (b'filename="100%25.pdf"', "100%25.pdf"),
        (rb'filename="a\"b.pdf"', 'a"b.pdf'),
        (b'filename="=?utf-8?B?67O06rOg7IScLnBkZg==?="', KOREAN),
        (b'filename="=?utf-8?Q?caf=C3=A9.pdf?="', "café.pdf"),
        (b'filename="=?klingon?B?eA==?="', "=?klingon?B?eA==?="),
        (b'filename="../../etc/passwd"', "passwd"),
        (rb'filename="C:\Documents\report.pdf"', "report.pdf"),
        (b'filename="=?utf-8?B?Li4vLi4vZXRjL3Bhc3N3ZA==?="', "passwd"),
        ('filename="\u202etxt.exe"'.encode(), "txt.exe"),
        ('filename="a\u2066b\u2069\u200f.txt"'.encode(), "ab.txt"),
        (b'filename="a\x00\x07b.txt"', "ab.txt"),
        (b"filename=plain.txt", "plain.txt"),
        (b"FileName=plain.txt", "plain.txt"),
        (b'filename=""', ""),
        (b'filename=".."', ""),
        (b'filename="folder/"', ""),
        (b'filename="   "', ""),
        (b"", None),
    ],
)
def test_a_name_is_shown_as_the_user_knows_it(sent, shown):
    assert name_in(b'form-data; name="file"; ' + sent) == shown


def test_a_semicolon_in_quotes_does_not_end_the_name():
    assert parameters_of(b'form-data; name="a; filename=b"; filename="c;d.txt"') == {
        "name": b"a; filename=b",
        "filename": b"c;d.txt",
    }


def test_a_long_name_keeps_its_extension():
    shown = clean_name("가" * 300 + ".pdf")

    assert len(shown) == 255
    assert shown.endswith("가.pdf")


def test_a_long_name_without_extension_is_cut():
    assert clean_name("x" * 300) == "x" * 255


@given(st.binary(max_size=400))
def test_whatever_is_sent_the_name_is_short_and_without_path_or_control(sent):
    shown = name_in(b'form-data; name="file"; filename="' + sent + b'"')

    assert shown is not None
    assert len(shown) <= 255
    assert not set("/\\") & set(shown)
    assert all(unicodedata.category(character) not in {"Cc", "Cs"} for character in shown)
    assert shown == unicodedata.normalize("NFC", shown)
