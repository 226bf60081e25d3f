import pytest

from sluice_common.errors import DecodeFailed
from sluice_extractor.parsing.encodings import decode, is_binary

KOREAN = [
    "안녕하세요",
    "안녕하세요. 반갑습니다.",
    "대한민국의 주권은 국민에게 있고, 모든 권력은 국민으로부터 나온다.",
    "계약서",
    "서울특별시 강남구 테헤란로 123",
    "이름,나이\n홍길동,30\n김철수,25\n",
    "제1조(목적) 이 법은 개인정보의 처리에 관한 사항을 정함을 목적으로 한다.",
    "회의록 2026-01-05: 참석자 김영희, 이민수",
    "1\n00:00:01,000 --> 00:00:02,000\n어디 가세요?\n",
    "품목\t수량\t가격\n사과\t3\t1,500원\n",
    "※ 주의: 반드시 전원을 끄고 작업하십시오.",
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949", "euc_kr", "iso2022_kr", "utf-16", "utf-32"])
@pytest.mark.parametrize("text", KOREAN)
def test_short_korean_texts_are_read_as_written(text, encoding):
    assert decode(text.encode(encoding)).text == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", KOREAN)
def test_korean_texts_without_a_byte_order_mark_are_read_as_written(text, encoding):
    assert decode(text.encode(encoding)).text == text


@pytest.mark.parametrize("text", [text for text in KOREAN if len(text) > 30])
def test_korean_sentences_in_johab_are_read_as_written(text):
    assert decode(text.encode("johab")).text == text


def test_syllables_that_only_cp949_has_are_read():
    assert decode("똠방각하와 펲시콜라를 마셨다".encode("cp949")).text == "똠방각하와 펲시콜라를 마셨다"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("これは日本語の文章です。漢字とかなが混ざっています。", "cp932"),
        ("これは日本語の文章です。漢字とかなが混ざっています。", "euc_jp"),
        ("これは日本語の文章です。", "iso2022_jp"),
        ("这是一个中文句子，用来测试我们的编码识别。", "gb18030"),
        ("這是一個中文句子，用來測試我們的編碼。", "big5"),
        ("Zürich, Köln und die Straße über den Fluß", "cp1252"),
        ("Le café est fermé à cause de l'été.", "latin-1"),
        ("Привет, это обычный русский текст для проверки кодировки.", "cp1251"),
        ("plain ASCII", "ascii"),
    ],
)
def test_other_encodings_are_read_as_written(text, encoding):
    assert decode(text.encode(encoding)).text == text


def test_a_declared_charset_is_believed_where_it_fits():
    assert decode("Ünïcödé".encode("iso8859_15"), declared="iso-8859-15").text == "Ünïcödé"
    assert decode("한글".encode("cp949"), declared="euc-kr").text == "한글"


def test_utf8_with_a_broken_byte_stays_utf8_and_says_so():
    decoded = decode("한국어 문장이 있고 ".encode() * 10 + b"\xed\x95 end")

    assert decoded.encoding == "utf-8"
    assert not decoded.is_whole
    assert decoded.text.startswith("한국어 문장이 있고 한국어")


def test_cp949_with_a_broken_byte_stays_korean_and_says_so():
    decoded = decode("한국어 문장이 있고 ".encode("cp949") * 10 + b"\xff end")

    assert (decoded.encoding, decoded.is_whole) == ("cp949", False)


def test_bytes_that_are_no_text_are_binary_or_not_decoded():
    noise = bytes(range(256)) * 8

    assert is_binary(noise)
    with pytest.raises(DecodeFailed):
        decode(b"\xfd\xfe\xff" * 51)


def test_korean_that_is_half_valid_as_utf_8_is_korean():
    assert decode("번호,이름\n1,홍길동\n2,홍길동\n".encode("cp949")).encoding == "cp949"
    assert decode("한국어 문서입니다 ".encode() * 20 + b"\xff").encoding == "utf-8"
