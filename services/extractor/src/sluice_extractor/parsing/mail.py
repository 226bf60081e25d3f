"""Turns a mail into text: its headers, its body, and what is attached, within limits for all of it together."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from sluice_common.errors import DocumentTooLarge, EmptyDocument, PipelineError
from sluice_extractor.parsing.cleaning import clean_line
from sluice_extractor.parsing.media import Figure, FigureSource, Picture
from sluice_extractor.parsing.original import Allowance, OpenDocument, Original, Reader
from sluice_extractor.parsing.page import TITLE_CHARS, Heading, Page, Remark

MOST_DEPTH = 5
_NAME_CHARS = 80
_MAIL_LEVEL, _ATTACHMENT_LEVEL = 1, 2


@dataclass(frozen=True)
class Attachment:
    """Something attached; `load` gives its bytes, or the mail that it is."""

    name: str
    load: "Callable[[], bytes | Mail]"
    declared_type: str | None = None


@dataclass(frozen=True)
class Body:
    """What a mail says, with the reader for the form in which it says so."""

    content: bytes
    read: Reader


@dataclass(frozen=True)
class Mail:
    """A mail, however it was stored; `fields` are the headers that people read, in order."""

    fields: tuple[tuple[str, str], ...]
    bodies: tuple[Body, ...]
    attachments: tuple[Attachment, ...]
    pictures: tuple[Attachment, ...] = ()
    """Those that the body shows."""

    @property
    def subject(self) -> str:
        return next((value for name, value in self.fields if name == "Subject"), "")


@dataclass(frozen=True)
class MailOpener:
    """Gives the pages of a mail: its headers and its body, then each attachment below a heading with its name."""

    open_document: Reader
    allowance: Allowance

    def open(self, mail: Mail, original: Original, *, media_type: str, reader: str) -> OpenDocument:
        """The document that *mail* is.

        Raises:
            EmptyDocument: it has no headers that people read, no text and no attachments.
        """
        if not (mail.fields or mail.bodies or mail.attachments):
            raise EmptyDocument("there is nothing in the mail")
        pages = self._pages_of(mail, original)
        if original.depth == 0:
            pages = self._counted(pages)
        return OpenDocument(media_type, reader, None, pages, self.allowance.remarks if original.depth == 0 else [])

    def _counted(self, pages: Iterator[Page]) -> Iterator[Page]:
        for page in pages:
            self.allowance.chars -= len(page.text)
            yield page

    def _pages_of(self, mail: Mail, original: Original) -> Iterator[Page]:
        yield _head_of(mail)
        for body in mail.bodies:
            yield from self._body_pages(body, original)
        if mail.pictures and original.wants_media:
            yield Page(None, "", figures=tuple(map(_figure_of, mail.pictures)))
        for number, attachment in enumerate(mail.attachments):
            if self.allowance.attachments <= 0:
                self._remark(attachment.name, f"{len(mail.attachments) - number} attachments are not read any more")
                return
            self.allowance.attachments -= 1
            yield _heading_page(attachment.name)
            yield from self._attachment_pages(attachment, replace(original, depth=original.depth + 1))

    def _body_pages(self, body: Body, original: Original) -> Iterator[Page]:
        try:
            document = body.read(replace(original, content=body.content, name="", max_text_chars=self.allowance.chars))
        except EmptyDocument:
            return
        self.allowance.remarks += document.remarks
        yield from (_below(page, _MAIL_LEVEL) for page in document.pages)
        yield Page(None, "\n\n")

    def _attachment_pages(self, attachment: Attachment, original: Original) -> Iterator[Page]:
        """The text of an attachment; a remark where there can be none."""
        try:
            for page in self._opened(attachment, original):
                if len(page.text) > self.allowance.chars:
                    raise DocumentTooLarge("there is too much text in the attachments together")
                yield _below(page, _ATTACHMENT_LEVEL)
        except (PipelineError, RecursionError) as error:
            reason = f"{error.code}: {error.detail}" if isinstance(error, PipelineError) else "it is nested too deeply"
            self._remark(attachment.name, reason)
        yield Page(None, "\n\n")

    def _opened(self, attachment: Attachment, original: Original) -> Iterator[Page]:
        if original.depth > MOST_DEPTH:
            raise DocumentTooLarge(f"mails are followed {MOST_DEPTH} deep")
        loaded = attachment.load()
        if isinstance(loaded, Mail):
            return self._pages_of(loaded, original)
        if len(loaded) > self.allowance.bytes:
            raise DocumentTooLarge("the attachments are too large together")
        self.allowance.bytes -= len(loaded)
        inner = replace(
            original,
            content=loaded,
            name=attachment.name,
            declared_type=attachment.declared_type,
            page_range=None,
            max_text_chars=self.allowance.chars,
            allowance=self.allowance,
        )
        return self._read(inner, attachment.name)

    def _read(self, inner: Original, name: str) -> Iterator[Page]:
        document = self.open_document(inner)
        yield from document.pages
        self.allowance.remarks += [
            replace(remark, detail=f"{_short(name)}: {remark.detail}", page=None) for remark in document.remarks
        ]

    def _remark(self, name: str, reason: str) -> None:
        self.allowance.remarks.append(Remark("attachment_unreadable", f"{_short(name)}: {reason}"))


def _head_of(mail: Mail) -> Page:
    lines = [f"{name}: {value}" for name, value in mail.fields]
    text = "\n".join(lines) + "\n\n" if lines else ""
    title = clean_line(mail.subject)[:TITLE_CHARS].strip()
    return Page(None, text, headings=(Heading(0, _MAIL_LEVEL, title),) if title else ())


def _figure_of(picture: Attachment) -> Figure:
    def load() -> bytes:
        loaded = picture.load()
        return b"" if isinstance(loaded, Mail) else loaded

    return Figure(0, FigureSource("", load))


def _heading_page(name: str) -> Page:
    return Page(None, f"Attachment: {name}\n\n", headings=(Heading(0, _ATTACHMENT_LEVEL, name[:TITLE_CHARS] or "?"),))


def _below(page: Page, level: int) -> Page:
    """The page as a part of a document without pages, its headings below the one that it stands under."""
    headings = tuple(Heading(h.start, min(h.level + level, 99), h.title) for h in page.headings)
    text = page.text if page.number is None else page.text + "\n\n"
    media = tuple(replace(media, rect=None) if isinstance(media, Picture) else media for media in page.media)
    return replace(page, number=None, text=text, spans=(), headings=headings, failed=False, media=media)


def _short(name: str) -> str:
    return name if len(name) <= _NAME_CHARS else name[: _NAME_CHARS - 3] + "..."
