"""Everything that keeps the protocol's promises, one by one, so that the model can leave each of them out."""

from enum import StrEnum


class Protection(StrEnum):
    """One condition or one step of a statement; the value says what the protocol does thanks to it."""

    FORWARD_FENCE = "only the active run forwards batches"
    FINISH_EXTRACTION_FENCE = "only the active run finishes its extraction"
    LATE_N_BATCHES = "how many batches a run has is written when it is closed, not when the first one is forwarded"
    STRAIGHT_TO_VERIFYING = "a run whose batches are all done when it is closed goes on to verifying"
    RELEASE_IS_FREE = "handing back a lease costs no try"
    LOSS_IS_NO_TRY = "a lease that runs out costs a loss and no try"

    CLAIM_SEES_DOCUMENT = "batches of runs that nobody wants any more are not claimed"
    FINISH_BATCH_FENCE = "only the present claim finishes its batch"
    COUNT_UNDER_LOCK = "a finished batch is counted under its document's lock"
    CLOSED_BEFORE_LAST = "no batch is the last one before it is known how many there are"
    DEFER_IS_FREE = "waiting for the provider costs no try"
    RUN_SCOPED_IDS = "the ids of points are made from the run"

    VERIFICATION = "a run is published only after its points were seen in the store"
    PUBLISH_GUARD = "only the active run of a verifying, active document is published"
    COUNT_REOPENED = "reopened batches are no longer counted as done"
    SUPERSEDE = "the run that was published before is retired"
    SEARCH_BY_RUN = "a search shows points of the published run only"
    NEWEST_CONTENT = "only a run of the document's newest content is embedded again"

    REAP_ABANDONS = "a run whose lease ran out is abandoned"
    EXHAUSTED_FAILS = "a batch without tries left fails its document"
    AUDIT_OF_PUBLISHED = "lost points of published runs are found and embedded again"
    AUDIT_OF_ORPHANS = "points of runs that nobody wants are found and removed"
    PAGE_BEFORE_LIVE_RUNS = "the audit reads a page of points first, and the live runs afterwards"
    POINTS_BEFORE_ROWS = "a run's rows are dropped only after its points"
    SECOND_COLLECTION = "what a zombie writes after the first collection is removed by the second"
    COLLECTED_AS_FOUND = "a collection counts only if no other one has counted since it took the points away"
    SECOND_PURGE = "what a zombie writes after the first purge is removed by the second"
    PURGED_AS_FOUND = "a purge counts only if no other one has counted since it took the points away"

    CANCEL_ENDS_RUN = "a cancelled document has no active run"
    DELETE_HIDES = "a deleted document has no published run"


ONLY_SAVE_WORK = frozenset({Protection.CLAIM_SEES_DOCUMENT})
"""Without these no promise breaks, and the model must not find one."""
