"""Finds out how bytes encode text; Korean encodings before all others."""

import codecs
import re
from contextlib import suppress
from dataclasses import dataclass

import charset_normalizer

from sluice_common.errors import DecodeFailed

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"\x84\x31\x95\x33", "gb18030"),
)
_ESCAPES = (
    (re.compile(rb"\x1b\$\)C"), "iso2022_kr"),
    (re.compile(rb"\x1b(?:\$[@B]|\([IJ]|\$\(D)"), "iso2022_jp_3"),
    (re.compile(rb"~\{(?:[\x21-\x77][\x21-\x7e])+~\}"), "hz"),
)
_SUPERSETS = {
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "iso8859-1": "cp1252",
    "ascii": "cp1252",
    "iso8859-9": "cp1254",
    "tis-620": "cp874",
}
_SAMPLE_BYTES = 1 << 16
_SCORED_CHARS = 4_000
_LEAST_SCORE = 0.3
_SAME_SCRIPT = 0.8
_CHANCE = 8

_COMMON_KOREAN = (
    "이다는을에의가고지사로하기인도은한대를서자들어그시있정나과아라니수부일리해전만주보상게여조제장구원문면경공스동안성국"
    "관연것방신우회실분선비중개위용거않없각생발계했또오세유때습요합까네년월후호민간내무음당력물행지학교마진금할와적되"
    "된및등법업본화치재모식번말두영저김박최씨님녕입출심가글파청소명속통결체모더외설양크그단터드트르"
)
_COMMON_CHINESE = (
    "的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能"
    "好都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进把"
    "法此实回二理美点月明其种声全工己话儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西"
    "這來國個說們為時會著過學對後麼沒於還發當無開見經頭從動兩長樣現將與進實點種聲話問機給幾業間電門東請測試漢語"
)
_WESTERN_LETTERS = (
    "àâäçéèêëîïôöùûüÿœæßñáíóúåøìòãõÀÂÄÇÉÈÊËÎÏÔÖÙÛÜŒÆÑÁÍÓÚÅØ«»°§€£©®·¡¿\u2018\u2019\u201c\u201d\u201e\u2013\u2014\u2026"
)
_WESTERN_BYTES = bytes(range(128)) + _WESTERN_LETTERS.encode("cp1252")
_KANA = range(0x3041, 0x3100)
_HANGUL = range(0xAC00, 0xD7A4)
_HAN = range(0x4E00, 0xA000)


@dataclass(frozen=True)
class Decoded:
    """A text and the codec it was read with; `is_whole` is False where bytes had to be replaced by U+FFFD."""

    text: str
    encoding: str
    is_whole: bool = True


@dataclass(frozen=True)
class _Candidate:
    """A codec, the characters that its texts are mostly made of, and its charset for ordinary words."""

    encoding: str
    common: frozenset[str]
    script: tuple[range, ...]
    charset: str


_KOREAN = frozenset(_COMMON_KOREAN)
_CHINESE = frozenset(_COMMON_CHINESE)
_JAPANESE = frozenset(map(chr, _KANA)) | frozenset("日本年人大国会中出一上生十時行見月分後前間")
_CANDIDATES = (
    _Candidate("cp949", _KOREAN, (_HANGUL,), "euc_kr"),
    _Candidate("johab", _KOREAN, (_HANGUL,), "euc_kr"),
    _Candidate("cp932", _JAPANESE, (_KANA, _HAN), "shift_jis"),
    _Candidate("euc_jp", _JAPANESE, (_KANA, _HAN), "shift_jis"),
    _Candidate("gb18030", _CHINESE, (_HAN,), "gb2312"),
    _Candidate("big5hkscs", _CHINESE, (_HAN,), "big5"),
)
_UTF16_CANDIDATES = tuple(
    _Candidate(encoding, common, script, charset)
    for encoding in ("utf-16-le", "utf-16-be")
    for common, script, charset in (
        (_KOREAN, (_HANGUL,), "euc_kr"),
        (_JAPANESE, (_KANA, _HAN), "shift_jis"),
        (_CHINESE, (_HAN,), "gb2312"),
    )
)

USED_CODECS = (
    "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "ascii", "latin-1",
    "cp949", "euc_kr", "johab", "iso2022_kr", "cp932", "shift_jis", "euc_jp", "iso2022_jp_3",
    "gb2312", "gb18030", "gbk", "hz", "big5", "big5hkscs", "cp950", "koi8_r", "koi8_u", "mac_roman", "mac_cyrillic",
    *(f"cp125{n}" for n in range(9)), *(f"iso8859_{n}" for n in (*range(1, 12), *range(13, 17))),
    "cp437", "cp850", "cp852", "cp866", "cp874", "tis_620", "utf-7", "unicode_escape", "raw_unicode_escape", "idna",
)  # fmt: skip
"""To be looked up before the sandbox closes the file system, because Python imports codecs late."""


def decode(content: bytes, *, declared: str | None = None) -> Decoded:
    """Decode *content*; *declared* is a charset that the document itself names and is believed when it fits.

    Raises:
        DecodeFailed: nobody recognises the encoding.
    """
    found = _by_mark(content) or _by_zeros(content) or _by_utf8(content) or _by_declaration(content, declared)
    return found or _by_script(content) or _by_statistics(content)


def is_binary(content: bytes) -> bool:
    """Whether the bytes look like no text in any encoding: control characters that no text has."""
    sample = content[:_SAMPLE_BYTES]
    if _by_mark(sample) or _by_zeros(content):
        return False
    controls = len(re.findall(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]", sample))
    return controls * 20 > len(sample) or (sample.count(0) > 0 and not _looks_like_ascii(sample))


def _looks_like_ascii(sample: bytes) -> bool:
    return len(sample.translate(None, bytes(range(32, 127)) + b"\t\r\n\x0c\x00")) * 4 < len(sample)


def _by_mark(content: bytes) -> Decoded | None:
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return _decoded(content[len(mark) :], encoding)
    for pattern, encoding in _ESCAPES:
        if pattern.search(content, 0, _SAMPLE_BYTES) and _is_seven_bit(content):
            return _strictly(content, encoding)
    return None


def _is_seven_bit(content: bytes) -> bool:
    return content.isascii()


def _by_zeros(content: bytes) -> Decoded | None:
    """UTF-16 and UTF-32 without a mark: units of ASCII, be it only spaces and line ends, have zeros at one side."""
    sample = content[: _SAMPLE_BYTES // 4 * 4]
    if 0 not in sample:
        return None
    if len(content) % 4 == 0:
        for encoding, at in (("utf-32-le", 3), ("utf-32-be", 0)):
            if not any(sample[at::4]) and not any(sample[(2 if at else 1) :: 4].translate(None, bytes(range(17)))):
                return _strictly(content, encoding)
    if len(content) % 2:
        return None
    ratings = {encoding: _rating_as_utf16(sample, encoding) for encoding in ("utf-16-le", "utf-16-be")}
    best = max(ratings, key=lambda encoding: ratings[encoding])
    return _strictly(content, best) if ratings[best] > _SAME_SCRIPT else None


def _rating_as_utf16(sample: bytes, encoding: str) -> float:
    """Share of characters that ordinary texts are made of."""
    text = sample.decode(encoding, "replace")
    plain = len(_ORDINARY.findall(text))
    return plain / len(text) if text else 0.0


_ORDINARY = re.compile(
    "[\t\n\r\x20-\x7e\u00a0-\u024f\u0370-\u05ff\u2010-\u203a\u3000-\u30ff\u4e00-\u9fa5\uac00-\ud7a3\uff01-\uff5e]"
)


def _by_utf8(content: bytes) -> Decoded | None:
    whole = _strictly(content, "utf-8")
    if whole:
        return whole
    with suppress(UnicodeDecodeError):
        return Decoded(content.decode("utf-8", "surrogatepass"), "utf-8", is_whole=False)
    damaged = content.decode("utf-8", "replace")
    # A legacy encoding hardly ever forms valid sequences by chance, so a majority of them is proof.
    followers_of_valid, replaced = len(content) - len(damaged), damaged.count("\ufffd")
    if followers_of_valid <= _CHANCE * replaced and _strictly(content, "cp949"):
        return None  # some Korean names and words are half valid: three bytes of six in the commonest name there is
    return Decoded(damaged, "utf-8", is_whole=False) if followers_of_valid > 2 * replaced else None


def _by_declaration(content: bytes, declared: str | None) -> Decoded | None:
    if not declared:
        return None
    try:
        name = codecs.lookup(declared.strip().lower()).name
    except (LookupError, ValueError):
        return None
    return _strictly(content, _SUPERSETS.get(name, name))


def _by_script(content: bytes) -> Decoded | None:
    start = _first_foreign_line(content)
    sample = content[start : start + _SAMPLE_BYTES]
    candidates = _CANDIDATES if len(content) % 2 else _CANDIDATES + _UTF16_CANDIDATES
    scores = [(_score(sample, candidate), candidate.encoding) for candidate in candidates]
    best_score, best = max(scores, key=lambda pair: pair[0])
    return _decoded(content, best) if best_score >= _LEAST_SCORE else None


def _first_foreign_line(content: bytes) -> int:
    found = re.search(rb"[\x80-\xff]", content)
    if found is None:
        return 0
    return content.rfind(b"\n", 0, found.start()) + 1 if b"\0" not in content[: found.start()] else 0


def _score(sample: bytes, candidate: _Candidate) -> float:
    """How much the sample looks like an ordinary text in the candidate's language, up to 1."""
    try:
        text = codecs.getincrementaldecoder(candidate.encoding)("replace").decode(sample)
    except LookupError:
        return 0.0
    foreign = [char for char in text if char > "\x7f"][:_SCORED_CHARS]
    if not foreign:
        return 0.0
    count = len(foreign)
    common = sum(char in candidate.common for char in foreign) / count
    ordinary = sum(_is_ordinary(char, candidate) for char in foreign) / count
    broken = (foreign.count("\ufffd") + sum("\ue000" <= char <= "\uf8ff" for char in foreign)) / count
    preferred = 0.15 * ordinary if candidate.encoding == "cp949" and ordinary > _SAME_SCRIPT else 0.0
    return 0.35 * ordinary + 0.5 * common + preferred - 3 * broken


def _is_ordinary(char: str, candidate: _Candidate) -> bool:
    if not any(ord(char) in script for script in candidate.script):
        return False
    try:
        encoded = char.encode(candidate.charset)
    except UnicodeEncodeError:
        return False
    # The first level of GB 2312 and Big5 holds the usual characters, the second the rare ones.
    return {"gb2312": encoded < b"\xd8", "big5": encoded < b"\xc9"}.get(candidate.charset, True)


def _by_statistics(content: bytes) -> Decoded:
    if _is_western(content) and not content.translate(None, _WESTERN_BYTES):
        return Decoded(content.decode("cp1252"), "cp1252")
    best = charset_normalizer.from_bytes(content[:_SAMPLE_BYTES], enable_fallback=False).best()
    encoding = best.encoding if best else "cp1252"
    found = _strictly(content, encoding) or _strictly(content, "cp1252")
    if found is None or (best is None and not _is_western(content)):
        raise DecodeFailed("the encoding of the text was not recognised")
    return found


def _is_western(content: bytes) -> bool:
    """Mostly ASCII with single letters of Latin-1 between, too few for statistics."""
    foreign = re.findall(rb"[\x80-\xff]+", content[:_SAMPLE_BYTES])
    return all(len(run) <= 2 for run in foreign) and sum(map(len, foreign)) * 2 < len(content)  # noqa: PLR2004 - longer runs are another script


def _strictly(content: bytes, encoding: str) -> Decoded | None:
    try:
        return Decoded(content.decode(encoding), encoding)
    except (UnicodeError, LookupError):  # a document may name a codec that is none of text
        return None


def _decoded(content: bytes, encoding: str) -> Decoded:
    return _strictly(content, encoding) or Decoded(content.decode(encoding, "replace"), encoding, is_whole=False)
