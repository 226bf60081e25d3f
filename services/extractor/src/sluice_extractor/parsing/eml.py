"""Reads mails as they travel (EML), and web pages that were saved like one (MHTML)."""

import codecs
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from email.message import Message
from email.parser import BytesParser
from email.policy import Compat32
from functools import partial

from sluice_common.errors import CorruptDocument, DecodeFailed, Encrypted
from sluice_extractor.parsing.encodings import decode
from sluice_extractor.parsing.html import read_html
from sluice_extractor.parsing.mail import Attachment, Body, Mail, MailOpener
from sluice_extractor.parsing.mail_headers import decoded_header, readable_charset
from sluice_extractor.parsing.original import Allowance, OpenDocument, Original, Reader
from sluice_extractor.parsing.text import read_text

_FIELDS = ("Subject", "From", "To", "Cc", "Bcc", "Reply-To", "Date")
_WEB_ARCHIVES = frozenset({".mht", ".mhtml"})
_MAILS = frozenset({".eml", ".mbox", *_WEB_ARCHIVES})
_MAIL_TYPES = frozenset({"message/rfc822", "multipart/related", "application/mbox"})
_HEAD_BYTES = 4096
_HEADERS_AT_LEAST = 2
_SAMPLE_BYTES = 1 << 14
_HEADER_BLOCK = re.compile(rb"(?:From [^\r\n]*\r?\n)?(?:[!-9;-~]+:[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*\r?\n)+")
_KNOWN_HEADER = re.compile(
    rb"^(?:from|to|subject|date|message-id|mime-version|received|return-path|content-type|delivered-to):",
    re.IGNORECASE | re.MULTILINE,
)
_PROOF = re.compile(rb"^(?:received|message-id|mime-version|return-path|delivered-to):", re.IGNORECASE | re.MULTILINE)
_SIGNATURES = frozenset({"application/pkcs7-signature", "application/x-pkcs7-signature", "application/pgp-signature"})
_REPORTS = frozenset({"message/delivery-status", "message/disposition-notification"})


class _AsWritten(Compat32):
    """Gives headers as they stand, with raw bytes as surrogates, instead of replacing what is not ASCII."""

    def header_fetch_parse(self, name: str, value: str) -> str:  # noqa: ARG002 - the policy's interface
        return value


def fits_eml(original: Original) -> bool:
    """It begins with headers of mails, and either comes as one or has one that only mails have.

    A mail that was saved as text is read as text.
    """
    head = original.content[:_HEAD_BYTES].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    block = _HEADER_BLOCK.match(head)
    if block is None or len(_KNOWN_HEADER.findall(block[0])) < _HEADERS_AT_LEAST:
        return False
    if original.suffix in _MAILS or original.hinted_type in _MAIL_TYPES:
        return True
    return not original.suffix and original.hinted_type != "text/plain" and bool(_PROOF.search(block[0]))


def read_eml(original: Original, open_document: Reader) -> OpenDocument:
    """Open a mail; *open_document* reads what is attached.

    Raises:
        CorruptDocument: it is nested more deeply than anybody can follow.
        Encrypted: its body is.
    """
    try:
        message = BytesParser(policy=_AsWritten()).parsebytes(_eight_bit(original.content))
    except RecursionError as error:
        raise CorruptDocument("the mail is nested too deeply", detail_code="too_deep") from error
    if original.suffix in _WEB_ARCHIVES or message["Snapshot-Content-Location"]:
        return _read_web_archive(message, original)
    allowance = original.allowance or Allowance(original.max_text_chars)
    opener = MailOpener(open_document, allowance)
    return opener.open(mail_of(message), original, media_type="message/rfc822", reader="eml")


def _eight_bit(content: bytes) -> bytes:
    """A mail whose file was saved as UTF-16 is one of UTF-8; any other stays as it is."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or 0 in content[:_HEAD_BYTES]:
        return decode(content).text.encode("utf-8", "replace")
    return content.removeprefix(codecs.BOM_UTF8)


def _read_web_archive(message: Message, original: Original) -> OpenDocument:
    pages = [part for part in message.walk() if part.get_content_type() in {"text/html", "application/xhtml+xml"}]
    if not pages:
        raise CorruptDocument("there is no page in the web archive")
    document = read_html(replace(original, content=_as_utf8(pages[0]), name=""))
    return replace(document, media_type="multipart/related")


def mail_of(message: Message) -> Mail:
    """The parts of a parsed mail that people read.

    Raises:
        Encrypted: the body is.
    """
    charset = _charset_of(message)
    leaves = list(_leaves_of(message))
    told = {leaf.alternative for leaf in leaves if leaf.is_plain_body and _payload(leaf.part).strip()}
    chosen = [leaf for leaf in leaves if not (leaf.is_html_body and leaf.alternative in told - {None})]
    return Mail(
        fields=tuple(_fields_of(message, charset)),
        bodies=tuple(_body_of(leaf.part) for leaf in chosen if leaf.is_body),
        attachments=tuple(_attachment_of(leaf.part, charset) for leaf in chosen if leaf.is_attachment),
        pictures=tuple(_attachment_of(leaf.part, charset) for leaf in chosen if leaf.is_shown_picture),
    )


def _charset_of(message: Message) -> str | None:
    """The charset that the mail names, else the one that its headers and its first words look like together."""
    declared = (readable_charset(part.get_content_charset()) for part in message.walk())
    named = next(filter(None, declared), None)
    if named:
        return named
    raw = "\n".join(value for name in _FIELDS for value in message.get_all(name, ()) if not value.isascii())
    if not raw:
        return None
    with suppress(DecodeFailed):
        words = _payload(message)[:_SAMPLE_BYTES]
        return decode(raw.encode("utf-8", "surrogateescape") + b"\n" + words).encoding
    return None


def _fields_of(message: Message, charset: str | None) -> Iterator[tuple[str, str]]:
    for name in _FIELDS:
        values = [decoded_header(value, charset) for value in message.get_all(name, ())]
        if any(values):
            yield name, ", ".join(value for value in values if value)


@dataclass(frozen=True)
class _Leaf:
    """A part without parts, and the innermost choice (`multipart/alternative`) that it belongs to."""

    part: Message
    alternative: int | None
    is_inside_related: bool

    @property
    def is_named(self) -> bool:
        return self.part.get_content_disposition() == "attachment" or bool(self.part.get_filename())

    @property
    def is_plain_body(self) -> bool:
        return self.part.get_content_type() == "text/plain" and not self.is_named

    @property
    def is_html_body(self) -> bool:
        return self.part.get_content_type() == "text/html" and not self.is_named

    @property
    def is_body(self) -> bool:
        return self.is_plain_body or self.is_html_body or self.part.get_content_type() in _REPORTS

    @property
    def is_shown_picture(self) -> bool:
        """Whether it is a picture that the body shows."""
        is_picture = self.part.get_content_type().startswith("image/")
        is_meant = self.is_inside_related or "Content-ID" in self.part
        return is_picture and is_meant and self.part.get_content_disposition() != "attachment"

    @property
    def is_attachment(self) -> bool:
        """Neither the body, nor a picture in it, nor a signature, nor another form of the same words."""
        is_other_form = self.alternative is not None and not self.is_named
        is_signature = self.part.get_content_type() in _SIGNATURES
        return not (self.is_body or self.is_shown_picture or is_other_form or is_signature)


def _leaves_of(message: Message) -> Iterator[_Leaf]:
    """The leaves in order; a mail in a mail is one of them."""
    waiting: list[tuple[Message, int | None, bool]] = [(message, None, False)]
    while waiting:
        part, alternative, is_related = waiting.pop()
        kind = part.get_content_type()
        _refuse_encrypted(part, kind)
        if part.is_multipart() and kind.startswith("multipart/"):
            alternative = id(part) if kind == "multipart/alternative" and alternative is None else alternative
            is_related = is_related or kind == "multipart/related"
            waiting += [(child, alternative, is_related) for child in reversed(_parts_of(part))]
        else:
            yield _Leaf(part, alternative, is_related)


def _parts_of(part: Message) -> list[Message]:
    payload = part.get_payload()
    return [child for child in payload if isinstance(child, Message)] if isinstance(payload, list) else []


def _refuse_encrypted(part: Message, kind: str) -> None:
    is_sealed = kind in {"application/pkcs7-mime", "application/x-pkcs7-mime"} and (
        part.get_param("smime-type", "enveloped-data") in {"enveloped-data", "authenveloped-data"}
    )
    if kind == "multipart/encrypted" or is_sealed:
        raise Encrypted("the mail is encrypted")


def _body_of(part: Message) -> Body:
    if part.get_content_type() in _REPORTS:
        lines = [f"{name}: {value}" for block in _parts_of(part) for name, value in block.items()]
        return Body(codecs.BOM_UTF8 + "\n".join(lines).encode("utf-8", "replace"), read_text)
    return Body(_as_utf8(part), read_html if part.get_content_type() == "text/html" else read_text)


def _as_utf8(part: Message) -> bytes:
    """The words of a part, decoded by the charset that it names, else by what the bytes are."""
    payload = _payload(part)
    charset = readable_charset(part.get_content_charset())
    if not charset and part.get_content_type() == "text/html":
        return payload  # it may name its charset itself
    return codecs.BOM_UTF8 + decode(payload, declared=charset).text.encode("utf-8", "replace") if payload else b""


def _payload(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _attachment_of(part: Message, charset: str | None) -> Attachment:
    kind = part.get_content_type()
    name = decoded_header(part.get_filename() or "", charset) or decoded_header(part.get("Content-Description", ""))
    if kind == "message/rfc822" and part.is_multipart():
        inner = part.get_payload(0)
        assert isinstance(inner, Message)  # what the parser makes of this type
        subject = decoded_header(inner.get("Subject", ""), charset)
        return Attachment(name or subject or "message", partial(mail_of, inner))
    load: Callable[[], bytes] = partial(_payload, part)
    return Attachment(name or kind.replace("/", "."), load, kind)
