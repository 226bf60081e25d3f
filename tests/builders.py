"""Values and small steps for tests that drive the protocol by hand."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import text

from sluice_common.batches import BatchClaim, Batches, Extraction, NewBatch, NewChunk
from sluice_common.catalogue import Catalogue, DocumentView
from sluice_common.database import Database
from sluice_common.documents import Accepted, Documents, ExtractionClaim, NewDocument, Original
from sluice_common.events import Events
from sluice_common.hits import Hits
from sluice_common.keys import Keys
from sluice_common.reconciling import Reconciling
from sluice_common.times import Times

TIMES = Times(lease=timedelta(seconds=60), deadline=timedelta(hours=24))
MODEL = {"model": "test-model", "dimensions": 8}


def make_original(content: bytes = b"", name: str = "report.txt") -> Original:
    content = content or uuid4().bytes
    return Original(
        storage_key=f"aa/{uuid4().hex}",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        name=name,
        declared_type="text/plain",
    )


def make_batches(sizes: list[int], *, first_batch: int = 0, first_chunk: int = 0) -> list[NewBatch]:
    """Batches of so many chunks each."""
    batches = []
    for number, size in enumerate(sizes):
        chunks = [
            NewChunk(chunk_no=no, text=f"chunk {no}", char_start=no * 10, char_end=no * 10 + 9, tokens=2, page_start=1)
            for no in range(first_chunk, first_chunk + size)
        ]
        first_chunk += size
        batches.append(NewBatch(first_batch + number, chunks))
    return batches


def make_extraction(batches: list[NewBatch]) -> Extraction:
    n_chunks = sum(len(batch.chunks) for batch in batches)
    return Extraction(n_chunks, len(batches), "text/plain", pages_done=1, pages_total=1)


@dataclass
class Protocol:
    """Every move over one database, with the steps that tests take again and again."""

    database: Database
    times: Times = TIMES

    def __post_init__(self) -> None:
        self.documents = Documents(self.database, self.times)
        self.batches = Batches(self.database, self.times)
        self.reconciling = Reconciling(self.database, self.times)
        self.catalogue = Catalogue(self.database)
        self.hits = Hits(self.database)
        self.events = Events(self.database)
        self.tenant_id = Keys(self.database).ensure_tenant()
        with self.database.transaction() as connection:
            self.collection_id: UUID = connection.execute(text("SELECT id FROM collections")).scalar_one()

    def accept(self, content: bytes = b"", **options: object) -> Accepted:
        fields = {"may_repeat", "external_id", "attributes", "options"} & set(options)
        new = NewDocument(
            self.tenant_id,
            self.collection_id,
            make_original(content),
            **{name: options.pop(name) for name in fields},  # type: ignore[arg-type]
        )
        return self.documents.accept(new, **options)  # type: ignore[arg-type]

    def claimed(self) -> ExtractionClaim:
        claim = self.documents.claim_extraction(self.accept().document_id, "worker")
        assert claim is not None
        return claim

    def extracted(self, sizes: list[int]) -> ExtractionClaim:
        """A document that is being embedded, with batches of so many chunks."""
        claim = self.claimed()
        self.finish_extraction(claim, sizes)
        return claim

    def finish_extraction(self, claim: ExtractionClaim, sizes: list[int]) -> object:
        batches = make_batches(sizes)
        return self.batches.finish_extraction(claim.document_id, claim.run_id, batches, make_extraction(batches))

    def claim_batch(self, run_id: int, batch_no: int = 0) -> BatchClaim:
        claim = self.batches.claim(run_id, batch_no, "embedder")
        assert claim is not None
        return claim

    def published(self, sizes: list[int] | None = None) -> ExtractionClaim:
        """A document that searches can see."""
        claim = self.extracted(sizes or [2])
        self.publish(claim)
        return claim

    def publish(self, claim: ExtractionClaim) -> None:
        for number in self.pending_batches(claim.run_id):
            self.batches.finish(self.claim_batch(claim.run_id, number))
        outcome = self.batches.publish(claim.document_id, claim.run_id, **MODEL).outcome  # type: ignore[arg-type]
        assert outcome == "published"

    def pending_batches(self, run_id: int) -> list[int]:
        statement = "SELECT batch_no FROM batches WHERE run_id = :run AND state = 'pending' ORDER BY 1"
        return [row[0] for row in self.query(statement, run=run_id)]

    def view(self, document_id: UUID) -> DocumentView:
        view = self.catalogue.find(self.tenant_id, document_id)
        assert view is not None
        return view

    def query(self, statement: str, **values: object) -> list[tuple[object, ...]]:
        with self.database.transaction() as connection:
            result = connection.execute(text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    def value(self, statement: str, **values: object) -> object:
        return self.query(statement, **values)[0][0]

    def let_leases_expire(self) -> None:
        self.query("UPDATE documents SET lease_until = now() - interval '1 s' WHERE lease_until IS NOT NULL")
        self.query("UPDATE batches SET lease_until = now() - interval '1 s' WHERE lease_until IS NOT NULL")

    def let_timers_pass(self) -> None:
        self.query("UPDATE documents SET not_before = now(), dispatch_after = now() WHERE dispatch_after IS NOT NULL")
        self.query("UPDATE batches SET not_before = now(), dispatch_after = now() WHERE dispatch_after IS NOT NULL")
        self.query("UPDATE runs SET gc_at = now() WHERE gc_at IS NOT NULL")
        self.query("UPDATE documents SET purge_at = now() WHERE purge_at IS NOT NULL")
