"""Reads RTF: its words in the order they are written, by its code pages and its Unicode; never its markup."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sluice_common.errors import CorruptDocument, DocumentTooLarge
from sluice_extractor.parsing.cleaning import clean_text
from sluice_extractor.parsing.figure_marks import MARK, without_marks
from sluice_extractor.parsing.media import FigureSource
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import parts_of
from sluice_extractor.parsing.text import checked_text

_TOKEN = re.compile(
    rb"\\(?:(?P<word>[a-zA-Z]{1,32})(?P<number>-?\d{1,10})? ?|'(?P<hex>[0-9a-fA-F]{2})|(?P<symbol>[^a-zA-Z]))"
    rb"|(?P<brace>[{}])|(?P<words>[^\\{}\r\n]+)|[\r\n]+|\\"
)
_DEEPEST = 10_000
_UNREAD = frozenset(
    b"fonttbl colortbl stylesheet info pict object objdata fldinst datafield themedata colorschememapping latentstyles "
    b"listtable listoverridetable rsidtbl generator xmlnstbl datastore wgrffmtfilter revtbl filetbl bkmkstart bkmkend "
    b"nonshppict panose falt pntxta pntxtb mmathPr operator author company sp sn sv".split()
)
_TEXT_OF = {
    b"line": "\n", b"sect": "\n\n", b"page": "\n\n", b"row": "\x1e", b"nestrow": "\x1e", b"column": "\n",
    b"cell": "\x1d", b"nestcell": "\x1d", b"tab": "\t", b"emdash": "\u2014", b"endash": "\u2013", b"bullet": "\u2022",
    b"lquote": "\u2018", b"rquote": "\u2019", b"ldblquote": "\u201c", b"rdblquote": "\u201d",
    b"emspace": " ", b"enspace": " ", b"qmspace": " ",
}  # fmt: skip
_SYMBOLS = {b"~": "\u00a0", b"_": "-", b"\\": "\\", b"{": "{", b"}": "}", b"\n": "\n", b"\r": "\n"}
_CODEC_BY_CHARSET = {
    0: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "gb18030", 136: "big5hkscs",
    161: "cp1253", 162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251",
    222: "cp874", 238: "cp1250", 255: "cp437",
}  # fmt: skip
_CODEC_BY_PAGE = {
    949: "cp949", 1361: "johab", 932: "cp932", 936: "gb18030", 950: "big5hkscs", 65001: "utf-8", 10000: "mac_roman",
    437: "cp437", 850: "cp850", 852: "cp852", 866: "cp866", 874: "cp874",
}  # fmt: skip
_WINDOWS_PAGES = range(1250, 1259)
_ROW_END = re.compile("(?<![\x1d ])[\x1d ]*\x1e")  # cells and rows end with control characters until the text is whole
_CELL_END = re.compile("(?<! ) *\x1d *")  # looks back, so that many spaces take no square of their time
_BLANK_LINES = re.compile(r"\n{3,}")


def fits_rtf(original: Original) -> bool:
    """It begins as every RTF does, or as a piece of one and its name says so."""
    head = original.content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    is_named = original.suffix == ".rtf" or original.hinted_type in {"application/rtf", "text/rtf"}
    return head.startswith(b"{\\rt") or (is_named and head.startswith(b"{\\"))


def read_rtf(original: Original) -> OpenDocument:
    """Open an RTF document.

    Raises:
        CorruptDocument: its groups are nested absurdly deep.
        DocumentTooLarge: more characters than the limit.
        EmptyDocument: it has no words.
    """
    words = _Words(original.max_text_chars, pictures=[] if original.wants_media else None)
    _read(original.content, words)
    rows = _CELL_END.sub(" | ", _ROW_END.sub("\n", words.text()))
    cleaned = MARK.join(map(clean_text, rows.split(MARK))) if words.pictures else clean_text(rows)
    marked = _BLANK_LINES.sub("\n\n", cleaned).strip()
    text, _, figures = without_marks(marked, (), [FigureSource("", held.content) for held in words.pictures or ()])
    text = checked_text(text, original, has_figures=bool(figures))
    return OpenDocument("application/rtf", "rtf", None, parts_of(text, figures=figures))


@dataclass
class _Picture:
    """A picture as it is written: bytes as they are, or two digits for each."""

    raw: bytearray = field(default_factory=bytearray)
    digits: bytearray = field(default_factory=bytearray)

    def content(self) -> bytes:
        try:
            return bytes(self.raw) or bytes.fromhex(self.digits.decode("ascii"))
        except ValueError as error:
            raise CorruptDocument("a picture in the document is damaged") from error


@dataclass(frozen=True)
class _Group:
    """What holds until the group ends."""

    is_unread: bool = False
    font: int | None = None
    fallback_chars: int = 1
    is_markup: bool = False  # RTF that only repeats what stands in HTML around it
    in_fonts: bool = False
    in_table: bool = False
    picture: _Picture | None = None
    is_repeated: bool = False  # what stands in it is another form of what was read before


@dataclass
class _Words:
    """The text so far; bytes wait until it is sure that their character is whole."""

    max_chars: int
    pieces: list[str] = field(default_factory=list)
    held: bytearray = field(default_factory=bytearray)
    page: str = "cp1252"
    font_codecs: dict[int, str] = field(default_factory=dict)
    codec: str = "cp1252"
    default_font: int | None = None
    length: int = 0
    pictures: list[_Picture] | None = None
    """Those whose marks are in the text, in their order; None where nobody wants them."""

    def begin_picture(self) -> _Picture:
        """A new picture at this place."""
        assert self.pictures is not None, "it is wanted"
        self.pictures.append(_Picture())
        self.write(MARK)
        return self.pictures[-1]

    def hold(self, content: bytes, codec: str) -> None:
        if codec != self.codec:
            self.flush()
            self.codec = codec
        self.held += content

    def write(self, text: str) -> None:
        self.flush()
        self._append(text)

    def flush(self) -> None:
        if self.held:
            self._append(self.held.decode(self.codec, "replace"))
            self.held.clear()

    def text(self) -> str:
        """All of it, with the halves of characters beyond the first plane put together."""
        self.flush()
        return "".join(self.pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def _append(self, text: str) -> None:
        self.pieces.append(text)
        self.length += len(text)
        if self.length > self.max_chars:
            raise DocumentTooLarge(f"more than {self.max_chars} characters of text")


@dataclass
class _State:
    words: _Words
    group: _Group = _Group()
    outer: list[_Group] = field(default_factory=list)
    to_skip: int = 0  # characters that stand for a \u before them
    is_optional: bool = False  # \* was the last token
    defined_font: int | None = None


def _read(content: bytes, words: _Words) -> None:
    state = _State(words)
    at = 0
    while at < len(content):
        found = _TOKEN.match(content, at)
        at = found.end() if found else at + 1
        if found is None:
            continue
        if found["word"]:
            size = _take_word(found["word"], found["number"], state)
            if size and state.group.picture is not None:
                state.group.picture.raw += content[at : at + size]
            at += size
        else:
            _take_other(found, state)


def _take_other(found: re.Match[bytes], state: _State) -> None:
    if found["brace"]:
        _take_brace(found["brace"], state)
    elif found["words"]:
        _take_bytes(found["words"], state)
    elif found["hex"]:
        _take_bytes(bytes.fromhex(found["hex"].decode()), state)
    elif found["symbol"] == b"*":
        state.is_optional = True
    elif found["symbol"] in _SYMBOLS:
        _take_text(_SYMBOLS[found["symbol"]], state)


def _take_brace(brace: bytes, state: _State) -> None:
    state.to_skip = 0
    state.is_optional = False
    if brace == b"{":
        if len(state.outer) >= _DEEPEST:
            raise CorruptDocument("its groups are nested too deeply", detail_code="too_deep")
        state.outer.append(state.group)
    elif state.outer:
        state.group = state.outer.pop()


def _take_bytes(content: bytes, state: _State) -> None:
    if state.group.picture is not None:
        state.group.picture.digits += content
        return
    skipped = min(state.to_skip, len(content))
    state.to_skip -= skipped
    if not (state.group.is_unread or state.group.is_markup):
        state.words.hold(content[skipped:], _codec_of(state))


def _take_text(text: str, state: _State) -> None:
    if state.to_skip:
        state.to_skip -= 1
    elif not (state.group.is_unread or state.group.is_markup):
        state.words.write(text)


def _codec_of(state: _State) -> str:
    font = state.words.default_font if state.group.font is None else state.group.font
    return state.words.font_codecs.get(font, state.words.page) if font is not None else state.words.page


def _take_word(word: bytes, written: bytes | None, state: _State) -> int:
    """Obey a control word; returns how many raw bytes follow it that are none of the text."""
    number = int(written) if written else None
    if word == b"bin":
        return max(number or 0, 0)
    if word in _UNREAD or (state.is_optional and word not in {b"htmltag", b"shptxt", b"footnote"}):
        is_repeated = state.group.is_repeated or word == b"nonshppict"
        state.group = replace(
            state.group, is_unread=True, in_fonts=word == b"fonttbl", picture=None, is_repeated=is_repeated
        )
    state.is_optional = False
    if word == b"pict" and state.words.pictures is not None and not state.group.is_repeated:
        state.group = replace(state.group, picture=state.words.begin_picture())
    if word in _OBEYED:
        _OBEYED[word](state, number)
    elif word in _TEXT_OF:
        _take_text(_TEXT_OF[word], state)
    return 0


def _set_page(state: _State, number: int | None) -> None:
    page = number or 0
    state.words.page = _CODEC_BY_PAGE.get(page) or (f"cp{page}" if page in _WINDOWS_PAGES else "cp1252")


def _choose_font(state: _State, number: int | None) -> None:
    if state.group.in_fonts:
        state.defined_font = number
    else:
        state.group = replace(state.group, font=number)


def _end_paragraph(state: _State, _number: int | None) -> None:
    _take_text(" " if state.group.in_table else "\n", state)


def _enter_table(state: _State, _number: int | None) -> None:
    state.group = replace(state.group, in_table=True)


def _leave_table(state: _State, _number: int | None) -> None:
    state.group = replace(state.group, in_table=False)


def _forget_font(state: _State, _number: int | None) -> None:
    state.group = replace(state.group, font=None)


def _set_default_font(state: _State, number: int | None) -> None:
    state.words.default_font = number


def _set_charset(state: _State, number: int | None) -> None:
    codec = _CODEC_BY_CHARSET.get(number or 0)
    if state.group.in_fonts and state.defined_font is not None and codec and number:
        state.words.font_codecs[state.defined_font] = codec


def _write_unicode(state: _State, number: int | None) -> None:
    if not (state.group.is_unread or state.group.is_markup):
        state.words.write(chr((number or 0) & 0xFFFF))
    state.to_skip = state.group.fallback_chars


def _set_fallback(state: _State, number: int | None) -> None:
    state.group = replace(state.group, fallback_chars=min(max(1 if number is None else number, 0), 16))


def _mark_html(state: _State, number: int | None) -> None:
    state.group = replace(state.group, is_markup=number != 0)


def _hide(state: _State, number: int | None) -> None:
    state.group = replace(state.group, is_unread=number != 0)


def _begin_tag(state: _State, _number: int | None) -> None:
    state.group = replace(state.group, is_unread=True)


def _set_mac(state: _State, _number: int | None) -> None:
    state.words.page = "mac_roman"


_OBEYED: dict[bytes, Callable[[_State, int | None], None]] = {
    b"ansicpg": _set_page,
    b"mac": _set_mac,
    b"f": _choose_font,
    b"par": _end_paragraph,
    b"pard": _leave_table,
    b"intbl": _enter_table,
    b"plain": _forget_font,
    b"deff": _set_default_font,
    b"fcharset": _set_charset,
    b"u": _write_unicode,
    b"uc": _set_fallback,
    b"htmlrtf": _mark_html,
    b"htmltag": _begin_tag,
    b"v": _hide,
}
