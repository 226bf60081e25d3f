"""Images of pages: asked for by the gateway, drawn by an extractor, and kept for a while."""

from dataclasses import dataclass

import sqlalchemy as sa

from sluice_common.contract import RenderPage
from sluice_common.database import Database, one

MOST_KEPT = 1_000
"""Images, of all documents together; who asks for more pushes out the oldest."""

# Of a document that is being deleted no image is begun; one that is drawn too late finds no row to be kept in.
_ASK = sa.text("""
    INSERT INTO page_images (document_id, original_no, page, dpi)
    SELECT d.id, :original_no, :page, :dpi FROM documents d
    WHERE d.id = :document_id AND d.lifecycle = 'active' FOR KEY SHARE
    ON CONFLICT DO NOTHING
""")

_FIND = sa.text("""
    SELECT png, drawn_dpi, error_code FROM page_images
    WHERE document_id = :document_id AND original_no = :original_no AND page = :page AND dpi = :dpi
""")

_WANTED = sa.text("""
    SELECT o.storage_key FROM page_images i
    JOIN originals o ON o.document_id = i.document_id AND o.request_no = i.original_no
    JOIN documents d ON d.id = i.document_id AND d.lifecycle = 'active'
    WHERE i.document_id = :document_id AND i.original_no = :original_no AND i.page = :page AND i.dpi = :dpi
      AND i.png IS NULL AND i.error_code IS NULL
""")

_ANSWER = sa.text("""
    UPDATE page_images SET png = :png, drawn_dpi = :drawn_dpi, error_code = :error_code
    WHERE document_id = :document_id AND original_no = :original_no AND page = :page AND dpi = :dpi
      AND png IS NULL AND error_code IS NULL
""")

_PUSH_OUT = sa.text("""
    DELETE FROM page_images
    WHERE asked_at < (SELECT asked_at FROM page_images ORDER BY asked_at DESC OFFSET :most LIMIT 1)
""")


@dataclass(frozen=True)
class PageImage:
    """What there is of an image: its bytes, or why there are none, or neither while it waits to be drawn."""

    png: bytes | None = None
    drawn_dpi: float | None = None
    """Pixels per inch of the page, which are fewer than asked for where it is very large."""
    error_code: str | None = None

    @property
    def is_answered(self) -> bool:
        return self.png is not None or self.error_code is not None


class PageImages:
    """The only writer of images; the reconciler forgets them when they are old, or with their document."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, wanted: RenderPage) -> PageImage | None:
        """The image as it stands; None when nobody has asked for it."""
        with self._database.single() as connection:
            row = one(connection, _FIND, **wanted.model_dump())
        return None if row is None else PageImage(row.png, row.drawn_dpi, row.error_code)

    def ask(self, wanted: RenderPage) -> None:
        """Note that somebody waits for it; asking again changes nothing."""
        with self._database.single() as connection:
            connection.execute(_ASK, wanted.model_dump())

    def original_of(self, wanted: RenderPage) -> str | None:
        """The storage key to draw it from; None when nobody waits for it any more."""
        with self._database.single() as connection:
            row = one(connection, _WANTED, **wanted.model_dump())
        return None if row is None else str(row.storage_key)

    def answer(self, wanted: RenderPage, image: PageImage) -> None:
        """Keep what was drawn, or why it cannot be; whoever came first wins."""
        with self._database.transaction() as connection:
            connection.execute(_ANSWER, {**wanted.model_dump(), **vars(image)})
            connection.execute(_PUSH_OUT, {"most": MOST_KEPT})
