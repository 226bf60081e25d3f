"""What is explored: the whole protocol in small and in large, and every protection left out once."""

from dataclasses import dataclass

from model.protections import Protection
from model.rules import Rules
from model.world import Budget

WISHES = frozenset({"cancel", "delete", "reprocess", "replace", "embed_again"})
FAULTS = frozenset({"crash", "expire", "setback", "release", "defer", "refuse", "deadline"})
TAKEN_AWAY = frozenset({"crash", "expire"})

EMBEDDED_AGAIN = Rules(
    "an ended document is embedded again",
    frozenset({"reprocess", "replace", "cancel", "embed_again"}),
    frozenset({"setback"}),
    Budget(3, 1, 0),
    max_batches=1,
    max_workers=1,
)

SMALL = (
    Rules("everything goes wrong once", WISHES, FAULTS, Budget(1, 1, 0), max_batches=1, max_workers=2, max_runs=2),
    Rules("work of three is taken away", faults=TAKEN_AWAY, budget=Budget(0, 1, 0), max_runs=2),
    Rules("two things go wrong", faults=FAULTS, budget=Budget(0, 2, 0), max_batches=1, max_workers=2, max_runs=2),
    Rules("the store forgets", faults=TAKEN_AWAY, budget=Budget(0, 1, 1), wipe=True, has_noise=True, max_workers=2),
    EMBEDDED_AGAIN,
    Rules("users change their minds", WISHES, budget=Budget(2, 0, 0), max_batches=1, max_workers=2, reconcilers=2),
)
"""Half a minute on an idle core, all together."""

ONLY_SAVED_WORK = Rules(
    "batches are claimed whatever has become of their document",
    WISHES,
    TAKEN_AWAY,
    Budget(1, 1, 0),
    max_batches=1,
    max_workers=2,
    max_runs=2,
)

LARGE = (
    Rules("everything goes wrong twice", WISHES, FAULTS, Budget(1, 2, 0), max_batches=1, reconcilers=2),
    Rules("two batches and a wish", WISHES, TAKEN_AWAY, Budget(1, 1, 0), max_workers=2, reconcilers=2),
    Rules("work of many is taken away", faults=TAKEN_AWAY, budget=Budget(0, 2, 0), max_batches=3),
    Rules("the store forgets twice", WISHES, TAKEN_AWAY, Budget(1, 1, 2), max_batches=1, wipe=True, has_noise=True),
)
"""A quarter of an hour on an idle core, all together."""


@dataclass(frozen=True)
class Plant:
    """A protection that is left out, and the promise that breaks for it."""

    protection: Protection
    rules: Rules
    broken: str
    """How the broken promise is told, or its beginning."""


def _plant(protection: Protection, broken: str, *also: Protection, **values: object) -> Plant:
    without = frozenset({protection, *also})
    name = f"without {protection.name.lower().replace('_', ' ')}: {broken}"
    return Plant(protection, Rules(**({"name": name, "without": without, "max_workers": 2} | values)), broken)


_EXPIRE = frozenset({"expire"})
_CRASH = frozenset({"crash"})

PLANTS = (
    _plant(
        Protection.FORWARD_FENCE, "the batches of run 1 stay", faults=_EXPIRE, budget=Budget(faults=1), max_batches=1
    ),
    _plant(
        Protection.FINISH_EXTRACTION_FENCE,
        "run 1 is neither active nor published, and embedding",
        faults=_EXPIRE,
        budget=Budget(faults=1),
        max_batches=1,
    ),
    _plant(Protection.LATE_N_BATCHES, "run 1 says 1 batches and has 2"),
    _plant(Protection.STRAIGHT_TO_VERIFYING, "the document is stuck in embedding", max_batches=1),
    _plant(
        Protection.RELEASE_IS_FREE,
        "the document has used 1 tries for 0 faults",
        faults=frozenset({"release"}),
        budget=Budget(faults=1),
    ),
    _plant(
        Protection.LOSS_IS_NO_TRY, "the document has used 1 tries for 0 faults", faults=_EXPIRE, budget=Budget(faults=1)
    ),
    _plant(
        Protection.FINISH_BATCH_FENCE,
        "run 1 counts 2 done batches and has 1",
        faults=_EXPIRE,
        budget=Budget(faults=1),
        max_batches=1,
    ),
    _plant(Protection.COUNT_UNDER_LOCK, "the document is stuck in embedding"),
    _plant(Protection.CLOSED_BEFORE_LAST, "the document is verifying and its active run extracting"),
    _plant(
        Protection.DEFER_IS_FREE,
        "batch 0 of run 1 has used 1 tries for 0 faults",
        faults=frozenset({"defer"}),
        budget=Budget(faults=1),
        max_batches=1,
    ),
    _plant(
        Protection.RUN_SCOPED_IDS,
        "run 1 is published without the points of batch 0 of run 1",
        wishes=frozenset({"reprocess"}),
        budget=Budget(wishes=1),
        max_batches=1,
    ),
    _plant(Protection.VERIFICATION, "run 1 is published without", budget=Budget(losses=1), max_batches=1),
    _plant(
        Protection.PUBLISH_GUARD,
        "the document is completed and nothing is published",
        wishes=frozenset({"cancel"}),
        budget=Budget(wishes=1),
        max_batches=1,
    ),
    _plant(Protection.COUNT_REOPENED, "run 1 counts 1 done batches and has 0", budget=Budget(losses=1), max_batches=1),
    _plant(
        Protection.SUPERSEDE,
        "run 1 is neither active nor published, and published",
        wishes=frozenset({"reprocess"}),
        budget=Budget(wishes=1),
        max_batches=1,
    ),
    _plant(Protection.SEARCH_BY_RUN, "a search shows the points of batch 0 of run 1", max_batches=1),
    _plant(
        Protection.NEWEST_CONTENT,
        "the document is ready with original 1, and original 2 is newer",
        wishes=frozenset({"replace", "embed_again"}),
        faults=frozenset({"setback"}),
        budget=Budget(wishes=2, faults=1),
        max_batches=1,
        max_workers=1,
    ),
    _plant(
        Protection.REAP_ABANDONS,
        "run 1 is neither active nor published, and extracting",
        faults=_EXPIRE,
        budget=Budget(faults=1),
    ),
    _plant(
        Protection.EXHAUSTED_FAILS,
        "the document is stuck in embedding",
        faults=frozenset({"refuse", "defer"}),
        budget=Budget(faults=2),
        max_batches=1,
    ),
    _plant(Protection.AUDIT_OF_PUBLISHED, "the store has nothing", budget=Budget(losses=1), max_batches=1),
    _plant(
        Protection.AUDIT_OF_ORPHANS,
        "the store has the points of batch 0 of run 1",
        wishes=frozenset({"delete"}),
        budget=Budget(wishes=1),
        max_batches=1,
    ),
    _plant(
        Protection.PAGE_BEFORE_LIVE_RUNS,
        "run 1 is published without the points of batch 0 of run 1",
        has_noise=True,
        max_batches=1,
    ),
    _plant(
        Protection.POINTS_BEFORE_ROWS,
        "the store has the points of batch 0 of run 1",
        Protection.AUDIT_OF_ORPHANS,  # it would make up for it
        faults=_CRASH,
        wishes=frozenset({"cancel"}),
        budget=Budget(wishes=1, faults=2),
        max_batches=1,
        pause_outlasts_zombies=True,
    ),
    _plant(
        Protection.SECOND_COLLECTION,
        "the store has the points of batch 0 of run 1",
        Protection.AUDIT_OF_ORPHANS,  # it would make up for it
        wishes=frozenset({"cancel"}),
        budget=Budget(wishes=1),
        max_batches=1,
        pause_outlasts_zombies=True,
    ),
    _plant(
        Protection.COLLECTED_AS_FOUND,
        "the store has the points of batch 0 of run 1",
        Protection.AUDIT_OF_ORPHANS,  # it would make up for it
        wishes=frozenset({"cancel"}),
        budget=Budget(wishes=1),
        max_batches=1,
        max_workers=3,
        reconcilers=2,
        pause_outlasts_zombies=True,
    ),
    _plant(
        Protection.SECOND_PURGE,
        "the store has the points of batch 0 of run 1 of a deleted document",
        Protection.AUDIT_OF_ORPHANS,  # it would make up for it
        wishes=frozenset({"cancel", "delete"}),
        budget=Budget(wishes=2),
        max_batches=1,
        pause_outlasts_zombies=True,
    ),
    _plant(
        Protection.PURGED_AS_FOUND,
        "the store has the points of batch 0 of run 1 of a deleted document",
        Protection.AUDIT_OF_ORPHANS,  # it would make up for it
        wishes=frozenset({"cancel", "delete"}),
        budget=Budget(wishes=2),
        max_batches=1,
        max_workers=3,
        reconcilers=2,
        pause_outlasts_zombies=True,
    ),
    _plant(
        Protection.CANCEL_ENDS_RUN,
        "the document is cancelled with an active run",
        wishes=frozenset({"cancel"}),
        budget=Budget(wishes=1),
    ),
    _plant(
        Protection.DELETE_HIDES,
        "a deleted document has a run",
        wishes=frozenset({"delete"}),
        budget=Budget(wishes=1),
        max_batches=1,
    ),
)
