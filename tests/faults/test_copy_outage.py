"""The one statement that SQLAlchemy does not see: chunks are copied in by the driver itself."""

import psycopg
import pytest
from builders import Protocol, make_batches

from sluice_common.database import open_database
from sluice_common.errors import DatabaseUnavailable
from sluice_common.settings import DatabaseSettings

TEXT = "quernstone in the text"


class Ending(str):
    """A text at which the statement under way is cancelled, as soon as it is written."""

    __slots__ = ("url",)

    def encode(self, *arguments: str) -> bytes:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'copying'")
        return super().encode(*arguments)


def test_a_statement_that_is_cancelled_while_chunks_are_copied_is_an_outage_and_quotes_no_text(database_url):
    database = open_database(DatabaseSettings(url=database_url), application="copying")
    protocol = Protocol(database)
    claim = protocol.claimed()
    (batch,) = make_batches([2000])
    for chunk in batch.chunks:
        object.__setattr__(chunk, "text", TEXT)
    ending = Ending(TEXT)
    ending.url = database_url
    object.__setattr__(batch.chunks[-1], "text", ending)

    with pytest.raises(DatabaseUnavailable) as caught:
        protocol.batches.forward(claim.document_id, claim.run_id, [batch])

    error = caught.value
    while error is not None:
        assert TEXT not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert protocol.batches.forward(claim.document_id, claim.run_id, make_batches([2])), "the pool recovers at once"
    database.close()
