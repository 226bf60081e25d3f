"""Embeds again what the index has lost of a published run; for the audit and for a rebuild."""

from dataclasses import dataclass

from sluice_common.batches import Batches
from sluice_common.contract import EmbedBatch
from sluice_common.hints import Hints
from sluice_common.ports import VectorStore
from sluice_common.reconciling import PublishedRun, Reconciling

MOST_WAITING_CHUNKS = 20_000
"""Repairs that may wait at once: few enough that new documents hardly wait behind them and none are refused."""


@dataclass(frozen=True)
class Repair:
    """What one run lacked, and how many of its batches are open again."""

    points: int
    batches: int


@dataclass(frozen=True)
class Repairs:
    """Opens batches again; the embedders do the rest, in the pace of all other work."""

    reconciling: Reconciling
    batches: Batches
    vectors: VectorStore
    hints: Hints

    def has_room(self) -> bool:
        """Whether so few repairs wait that another may be begun."""
        return self.reconciling.repairs_waiting() < MOST_WAITING_CHUNKS

    def is_whole(self, run: PublishedRun) -> bool:
        """Whether the index has every point of *run*."""
        return self.vectors.count_of_run(run.run_id) == run.n_chunks

    def begin(self, run: PublishedRun) -> Repair:
        """Open the batches of *run* whose points are missing; the run goes on serving, and nothing happens twice."""
        present = self.vectors.ids_of_run(run.run_id)
        reopened = self.batches.repair(run.document_id, run.run_id, present)
        self.hints.send([EmbedBatch(run_id=run.run_id, batch_no=number) for number in reopened])
        return Repair(max(run.n_chunks - len(present), 0), len(reopened))
