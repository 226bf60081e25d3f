"""Reads Outlook messages (MSG): properties in the streams of an OLE container ([MS-OXMSG])."""

import codecs
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import compressed_rtf  # type: ignore[import-untyped]  # the package has no types

from sluice_common.errors import CorruptDocument, Encrypted
from sluice_extractor.parsing.cleaning import clean_line
from sluice_extractor.parsing.compound import CompoundFile
from sluice_extractor.parsing.encodings import decode
from sluice_extractor.parsing.html import read_html
from sluice_extractor.parsing.mail import Attachment, Body, Mail, MailOpener
from sluice_extractor.parsing.mail_headers import decoded_header, readable_charset
from sluice_extractor.parsing.ole import streams_of
from sluice_extractor.parsing.original import Allowance, OpenDocument, Original, Reader
from sluice_extractor.parsing.rtf import read_rtf
from sluice_extractor.parsing.text import read_text

_PROPERTIES = "__properties_version1.0"
_SUBJECT, _CLASS, _BODY, _HTML, _RTF, _HEADERS = "0037", "001A", "1000", "1013", "1009", "007D"
_SENDER_NAME, _SENDER_ADDRESSES = ("0C1A", "0042"), ("5D01", "5D02", "0C1F", "0065")
_DISPLAYED = {"To": "0E04", "Cc": "0E03", "Bcc": "0E02"}
_NAME, _ADDRESSES = "3001", ("39FE", "3003")
_ATTACHED, _ATTACHED_NAMES, _ATTACHED_TYPE, _CONTENT_ID = "3701", ("3707", "3704", "3001"), "370E", "3712"
_SENT, _DELIVERED, _CODEPAGE, _INTERNET_CODEPAGE, _RECIPIENT_TYPE = 0x0039, 0x0E06, 0x3FFD, 0x3FDE, 0x0C15
_RECIPIENT_KINDS = {1: "To", 2: "Cc", 3: "Bcc"}
_ENTRY = struct.Struct("<HHI8s")
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_HEADER_BYTES = {"root": 32, "embedded": 24, "other": 8}
_CODECS = {65001: "utf-8", 949: "cp949", 51949: "cp949", 1361: "johab", 932: "cp932", 936: "gb18030", 950: "big5hkscs"}
_CODECS |= {20127: "ascii", 28591: "cp1252", 1200: "utf-16-le"}
_MOST_TICKS = 0x24C85A5ED1C018000 >> 2  # the year 9999, about


def fits_msg(original: Original) -> bool:
    """The root of the container has the properties of a message."""
    return _PROPERTIES in streams_of(original)


def read_msg(original: Original, open_document: Reader) -> OpenDocument:
    """Open a message; *open_document* reads what is attached.

    Raises:
        CorruptDocument: a stream cannot be read.
        Encrypted: its body is.
    """
    mail = _mail_of(_Storage(CompoundFile(original.content), (), "root"))
    opener = MailOpener(open_document, original.allowance or Allowance(original.max_text_chars))
    return opener.open(mail, original, media_type="application/vnd.ms-outlook", reader="msg")


@dataclass(frozen=True)
class _Storage:
    """A message, a recipient or an attachment, and its properties."""

    file: CompoundFile
    path: tuple[str, ...]
    kind: str

    def text(self, *tags: str) -> str:
        """The first of these properties that has text."""
        return next((text for text in map(self._text, tags) if text), "")

    def _text(self, tag: str) -> str:
        wide = self.file.stream(*self.path, f"__substg1.0_{tag}001F")
        if wide:
            return wide.decode("utf-16-le", "replace").rstrip("\0")
        narrow = self.file.stream(*self.path, f"__substg1.0_{tag}001E").rstrip(b"\0")
        return decode(narrow, declared=self.codec()).text if narrow else ""

    def binary(self, tag: str) -> bytes:
        return self.file.stream(*self.path, f"__substg1.0_{tag}0102")

    def number(self, tag: int) -> int | None:
        """A property of fixed length, as an unsigned number."""
        fixed = self.file.stream(*self.path, _PROPERTIES)[_HEADER_BYTES[self.kind] :]
        entries = _ENTRY.iter_unpack(fixed[: len(fixed) // _ENTRY.size * _ENTRY.size])
        return next((int.from_bytes(value, "little") for _, found, _, value in entries if found == tag), None)

    def codec(self) -> str | None:
        page = self.number(_CODEPAGE) or self.number(_INTERNET_CODEPAGE)
        return _CODECS.get(page, f"cp{page}") if page else None

    def inside(self, name: str, kind: str) -> "_Storage":
        return _Storage(self.file, (*self.path, name), kind)

    def storages(self, prefix: str) -> Iterator["_Storage"]:
        names = self.file.names_in(*self.path)
        yield from (self.inside(name, "other") for name in names if name.startswith(prefix))


def _mail_of(message: _Storage) -> Mail:
    if (
        message.text(_CLASS).upper().startswith("IPM.NOTE.SMIME")
        and "MULTIPARTSIGNED" not in message.text(_CLASS).upper()
    ):
        raise Encrypted("the message is encrypted")
    attached = list(message.storages("__attach_version1.0_#"))
    if any(storage.text(_ATTACHED_TYPE) == "application/pgp-encrypted" for storage in attached):
        raise Encrypted("the message is encrypted")
    shown = [storage for storage in attached if _is_shown_picture(storage)]
    return Mail(
        fields=tuple((name, value) for name, value in _fields_of(message) if value),
        bodies=tuple(_bodies_of(message)),
        attachments=tuple(_attachment_of(storage) for storage in attached if storage not in shown),
        pictures=tuple(map(_attachment_of, shown)),
    )


def _fields_of(message: _Storage) -> Iterator[tuple[str, str]]:
    yield "Subject", clean_line(message.text(_SUBJECT)).strip()
    yield "From", _person(message.text(*_SENDER_NAME), message.text(*_SENDER_ADDRESSES)) or _header(message, "From")
    people: dict[str, list[str]] = {name: [] for name in _DISPLAYED}
    for recipient in message.storages("__recip_version1.0_#"):
        kind = _RECIPIENT_KINDS.get((recipient.number(_RECIPIENT_TYPE) or 0) & 0xFFFFFFFF, "To")
        people[kind].append(_person(recipient.text(_NAME), recipient.text(*_ADDRESSES)))
    for name, tag in _DISPLAYED.items():
        yield name, ", ".join(filter(None, people[name])) or clean_line(message.text(tag)).strip()
    yield "Date", _date_of(message) or _header(message, "Date")


def _person(name: str, address: str) -> str:
    name, address = clean_line(name).strip(), clean_line(address).strip()
    if "@" not in address or address == name:  # addresses within Exchange tell people nothing
        return name or address
    return f"{name} <{address}>" if name else address


def _header(message: _Storage, name: str) -> str:
    """A header as it travelled, which drafts and notes do not have."""
    for line in message.text(_HEADERS).splitlines():
        if line.lower().startswith(f"{name.lower()}:"):
            return decoded_header(line.partition(":")[2])
    return ""


def _date_of(message: _Storage) -> str:
    ticks = message.number(_SENT) or message.number(_DELIVERED)
    if not ticks or ticks > _MOST_TICKS:
        return ""
    try:
        return (_EPOCH + timedelta(microseconds=ticks // 10)).strftime("%Y-%m-%d %H:%M UTC")
    except OverflowError:
        return ""


def _bodies_of(message: _Storage) -> Iterator[Body]:
    """The plain text, else the HTML, else the RTF: Outlook keeps the same words in up to three forms."""
    plain = message.text(_BODY)
    html = message.binary(_HTML) or message.text(_HTML).encode("utf-8", "replace")
    packed = message.binary(_RTF)
    if plain.strip():
        yield Body(codecs.BOM_UTF8 + plain.encode("utf-8", "replace"), read_text)
    elif html.strip(b"\0 \r\n"):
        charset = readable_charset(message.codec())
        is_named = b"charset" in html[:4096].lower() or not charset
        yield Body(html if is_named else _as_utf8(html, charset), read_html)
    elif packed:
        yield Body(_unpacked(packed), read_rtf)


def _as_utf8(content: bytes, charset: str | None) -> bytes:
    return codecs.BOM_UTF8 + decode(content, declared=charset).text.encode("utf-8", "replace")


def _unpacked(packed: bytes) -> bytes:
    try:
        return bytes(compressed_rtf.decompress(packed))
    except (ValueError, IndexError, struct.error) as error:
        raise CorruptDocument("the body of the message cannot be unpacked") from error


def _is_shown_picture(storage: _Storage) -> bool:
    return storage.text(_ATTACHED_TYPE).startswith("image/") and bool(storage.text(_CONTENT_ID))


def _attachment_of(storage: _Storage) -> Attachment:
    name = clean_line(storage.text(*_ATTACHED_NAMES)).strip()
    kind = storage.text(_ATTACHED_TYPE)
    embedded = storage.inside(f"__substg1.0_{_ATTACHED}000D", "embedded")
    if embedded.path in storage.file:
        return Attachment(name or clean_line(embedded.text(_SUBJECT)) or "message", partial(_mail_in, embedded))
    load: Callable[[], bytes] = partial(storage.binary, _ATTACHED)
    return Attachment(name or "attachment", load, kind or None)


def _mail_in(embedded: _Storage) -> Mail:
    if (*embedded.path, _PROPERTIES) not in embedded.file:
        raise CorruptDocument("an embedded object of another program")
    return _mail_of(embedded)
