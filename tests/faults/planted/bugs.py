"""The catalogue of planted bugs: each takes one protection away, and says which tests must notice."""

from dataclasses import dataclass

ORDERS = "tests/faults/protocol/test_every_order.py"
_SCRIPTS = "tests/faults/protocol/test_scripts.py::test_"
_MOVES = "tests/contracts/test_moves.py::test_"
_KEYS = "tests/contracts/test_idempotency.py::test_"
_SEARCHES = "tests/faults/protocol/test_searches.py::test_"
_EXTRACTIONS = "tests/contracts/test_extraction_stage.py::test_"
_LOOPS = "tests/contracts/test_reconciler_loops.py::test_"
_ROOTS = "tests/contracts/test_composition_roots.py::test_"
_UPLOADS = "tests/contracts/test_gateway_uploads.py::test_"

_ENDS = ('""")\n', "\n    def ", "\n    @", "\ndef ", "\nclass ")
"""Where a statement, a method or a function of a module is over."""


class BugDoesNotFit(Exception):
    """The code no longer has what the bug replaces: write the bug anew, or take it out with its protection."""


@dataclass(frozen=True)
class Edit:
    """A piece of one statement, method or class, and what stands there instead."""

    place: str
    """What it begins with, such as `_FINISH = ` or `def finish(`; stands once in the module."""
    old: str
    """Stands once in the place."""
    new: str

    def made_in(self, text: str) -> str:
        """The text of the module with the edit.

        Raises:
            BugDoesNotFit: the place or the piece is not there, or there more than once.
        """
        if text.count(self.place) != 1:
            raise BugDoesNotFit(f"{text.count(self.place)} places {self.place!r}")
        start = text.index(self.place)
        body = start + len(self.place)
        end = min([found for found in (text.find(mark, body) for mark in _ENDS) if found >= 0], default=len(text))
        if text.count(self.old, body, end) != 1:
            raise BugDoesNotFit(f"{text.count(self.old, body, end)} times {self.old!r} in {text[start:end]}")
        return text[:body] + text[body:end].replace(self.old, self.new) + text[end:]


@dataclass(frozen=True)
class Bug:
    """One protection less, in one module."""

    name: str
    removes: str
    """What holds no longer."""
    module: str
    edits: tuple[Edit, ...]
    detectors: tuple[str, ...]
    """Tests that must notice, the quickest first; `ORDERS` may, and notices when its random orders come across it."""

    def planted_in(self, text: str) -> str:
        """The text of the module with the bug; raises BugDoesNotFit."""
        for edit in self.edits:
            text = edit.made_in(text)
        return text


def _in_batches(name: str, removes: str, edit: Edit, *detectors: str) -> Bug:
    return Bug(name, removes, "sluice_common.batches", (edit,), detectors)


def _in_documents(name: str, removes: str, edit: Edit, *detectors: str) -> Bug:
    return Bug(name, removes, "sluice_common.documents", (edit,), detectors)


def _in_reconciling(name: str, removes: str, edit: Edit, *detectors: str) -> Bug:
    return Bug(name, removes, "sluice_common.reconciling", (edit,), detectors)


_LOCK = Edit("def finish(", "one(connection, _LOCK_DOCUMENT, id=claim.document_id)", "pass")

_TOKENS = (
    _in_batches(
        "batch finished without its fence",
        "only the latest claim of a batch may finish it",
        Edit("_FINISH = ", " AND fence = :fence", ""),
        _SCRIPTS + "a_zombie_that_finishes_its_batch_after_a_takeover_is_not_counted",
        _MOVES + "a_zombie_cannot_finish_defer_or_fail_a_batch_that_was_claimed_again",
        ORDERS,
    ),
    _in_batches(
        "batch finished again and again",
        "a batch is finished once",
        Edit("_FINISH = ", " AND state = 'running'", ""),
        _SCRIPTS + "a_batch_that_is_finished_twice_is_counted_once",
        _MOVES + "a_batch_is_finished_once_however_often_it_is_delivered",
        ORDERS,
    ),
    _in_batches(
        "batch put back without its fence",
        "only the latest claim of a batch may put it back",
        Edit("_DEFER = ", " AND fence = :fence", ""),
        _MOVES + "a_zombie_cannot_finish_defer_or_fail_a_batch_that_was_claimed_again",
        ORDERS,
    ),
    _in_batches(
        "batch failed without its fence",
        "only the latest claim of a batch may fail it, and its document with it",
        Edit("_FAIL_BATCH = ", " AND fence = :fence", ""),
        _MOVES + "a_zombie_cannot_finish_defer_or_fail_a_batch_that_was_claimed_again",
        ORDERS,
    ),
    _in_batches(
        "fence that does not grow",
        "every claim of a batch can be told from the one before",
        Edit("_CLAIM = ", "fence = fence + 1", "fence = fence + 0"),
        _SCRIPTS + "a_zombie_that_finishes_its_batch_after_a_takeover_is_not_counted",
        ORDERS,
    ),
    _in_batches(
        "extraction finished without its run",
        "only the active run may hand over what was extracted",
        Edit("_FINISH_EXTRACTION = ", " AND active_run = :run_id", ""),
        _SCRIPTS + "a_zombie_that_finishes_its_extraction_after_a_takeover_changes_nothing",
        _MOVES + "a_zombie_cannot_finish_forward_or_fail_an_extraction_that_was_taken_over",
        ORDERS,
    ),
    _in_batches(
        "batches forwarded without the run",
        "only the active run may hand batches to the embedder",
        Edit("_LOCK_EXTRACTING = ", " AND active_run = :run_id", ""),
        _SCRIPTS + "a_zombie_that_forwards_batches_after_a_takeover_stores_nothing",
        ORDERS,
    ),
    _in_documents(
        "extraction failed without its run",
        "only the active run may give its document up",
        Edit("_FAIL = ", " AND active_run = :run_id", ""),
        _SCRIPTS + "a_zombie_that_gives_up_after_a_takeover_costs_its_heir_nothing",
        _SCRIPTS + "a_worker_that_hands_back_too_late_takes_nothing_from_its_heir",
        ORDERS,
    ),
    _in_documents(
        "heartbeat without the run",
        "a worker that has lost its document is told so",
        Edit("_HEARTBEAT = ", " AND active_run = :run_id", ""),
        _MOVES + "a_zombie_cannot_finish_forward_or_fail_an_extraction_that_was_taken_over",
        ORDERS,
    ),
    Bug(
        "points that do not belong to their run",
        "two runs never write the same point",
        "sluice_common.ids",
        (Edit("def point_id(", 'f"{run_id}:{chunk_no}"', 'f"{chunk_no}"'),),
        (
            _SCRIPTS + "the_old_run_is_retired_in_the_step_that_publishes_the_new_one",
            _MOVES + "the_old_run_serves_until_the_new_one_is_published_and_is_retired_in_the_same_step",
            ORDERS,
        ),
    ),
)

_LOCKS = (
    _in_batches(
        "no document lock when a batch ends",
        "whoever touches several rows locks the document first",
        _LOCK,
        _SCRIPTS + "a_batch_that_ends_while_its_document_is_cancelled_blocks_nobody",
    ),
    Bug(
        "last batch found by looking, without the lock",
        "two batches that end at once cannot each think that the other one is left",
        "sluice_common.batches",
        (
            _LOCK,
            Edit(
                "_COUNT_DONE = ",
                "RETURNING n_done,",
                "RETURNING (SELECT count(*) FROM batches WHERE run_id = :run_id AND state = 'done') AS n_done,",
            ),
        ),
        (_SCRIPTS + "two_last_batches_at_once_are_one_end_of_the_run",),
    ),
    _in_batches(
        "no document lock when a run is published",
        "who publishes sees what another one has just done to the document",
        Edit("_LOCK_DOCUMENT = ", " FOR NO KEY UPDATE", ""),
        _SCRIPTS + "two_verifications_at_once_publish_once",
    ),
)

_PUBLICATION = (
    _in_batches(
        "published without looking",
        "a run is published only when every one of its points was seen",
        Edit("def publish(", "self._missing(connection, run_id, present)", "[]"),
        _SCRIPTS + "a_run_with_a_missing_point_is_not_published",
        _MOVES + "a_run_is_published_only_when_every_point_was_found",
        ORDERS,
    ),
    _in_batches(
        "published whatever became of the document",
        "only the active run of an active document in verifying is published",
        Edit("def publish(", 'return Published("stale")', "pass"),
        _SCRIPTS + "a_document_deleted_before_its_publication_stays_invisible",
        _SCRIPTS + "a_document_replaced_before_its_publication_never_shows_the_old_content",
        ORDERS,
    ),
    _in_batches(
        "published in another run's place",
        "a verification publishes the run that it verified and no other",
        Edit("def publish(", "(document.active_run, document.state", "(run_id, document.state"),
        _SCRIPTS + "a_run_cancelled_before_its_publication_is_not_published_in_the_next_ones_place",
        ORDERS,
    ),
    _in_batches(
        "counter not lowered when batches are opened again",
        "a run's counter counts its batches",
        Edit("_COUNT_REOPENED = ", "n_done - :n", "n_done - 0 * :n"),
        _SCRIPTS + "a_batch_reopened_by_a_verification_is_not_finished_by_its_former_worker",
        _MOVES + "points_that_a_published_run_lost_are_embedded_again_while_it_goes_on_serving",
        ORDERS,
    ),
    _in_batches(
        "batch opened again without a timer",
        "whatever waits has a time at which it is sent again",
        Edit("_REOPEN = ", "dispatch_after = now() + :grace", "dispatch_after = NULL"),
        _SCRIPTS + "a_run_with_a_missing_point_is_not_published",
        ORDERS,
    ),
    _in_batches(
        "old run not retired",
        "the run that was published before goes in the same step",
        Edit("def publish(", "if document.published_run is not None:", "if document.published_run == run_id:"),
        _SCRIPTS + "the_old_run_is_retired_in_the_step_that_publishes_the_new_one",
        _MOVES + "the_old_run_serves_until_the_new_one_is_published_and_is_retired_in_the_same_step",
        ORDERS,
    ),
    Bug(
        "search that is not told what is hidden",
        "points that nobody may see take no place among what the store returns",
        "sluice_api.searching",
        (Edit("def search(", "hidden_runs=deps.hits.hidden_runs(principal.tenant_id)", "hidden_runs=()"),),
        (_SEARCHES + "a_search_tells_the_store_at_once_which_runs_to_hide",),
    ),
    Bug(
        "search by document instead of run",
        "a search shows chunks of the published run only",
        "sluice_common.hits",
        (
            Edit(
                "_RESOLVE = ",
                "JOIN documents d ON d.published_run = k.run_id\n    JOIN runs r ON r.id = k.run_id",
                "JOIN runs r ON r.id = k.run_id\n    JOIN documents d ON d.id = r.document_id",
            ),
        ),
        (
            _MOVES + "the_old_run_serves_until_the_new_one_is_published_and_is_retired_in_the_same_step",
            _SCRIPTS + "the_old_run_is_retired_in_the_step_that_publishes_the_new_one",
            ORDERS,
        ),
    ),
)

_BUDGETS = (
    _in_documents(
        "handing back costs a try",
        "a worker that is told to stop costs its document nothing",
        Edit("def release_extraction(", 'Setback("released")', 'Setback("released", costs_a_try=True)'),
        _SCRIPTS + "handing_back_costs_neither_a_try_nor_a_loss_however_often_it_happens",
        _EXTRACTIONS + "a_worker_that_is_told_to_stop_hands_back_what_it_has_just_claimed",
    ),
    _in_batches(
        "waiting costs a try",
        "a batch that waits for others gets its try back",
        Edit("_DEFER = ", "THEN 0 ELSE 1 END", "THEN 0 ELSE 0 END"),
        _SCRIPTS + "a_batch_that_waits_for_others_never_runs_out_of_tries",
        _MOVES + "waiting_for_the_provider_gives_the_try_back",
        ORDERS,
    ),
    _in_documents(
        "extraction without a try",
        "the try is counted before the work starts",
        Edit("_CLAIM = ", "tries = tries + 1", "tries = tries"),
        _MOVES + "the_try_is_counted_before_the_work_starts",
        ORDERS,
    ),
    _in_documents(
        "failure that is never the last",
        "a document that is out of tries fails",
        Edit(
            "_FAIL = ",
            "SET state = CASE WHEN :permanent OR (:counts AND tries >= max_tries)",
            "SET state = CASE WHEN :permanent",
        ),
        _MOVES + "a_document_that_crashes_its_child_fails_after_three_tries",
        ORDERS,
    ),
    _in_reconciling(
        "lost workers cost nothing",
        "a document whose workers are lost again and again comes to an end",
        Edit("_REAP_DOCUMENTS = ", "losses = losses + 1", "losses = losses"),
        _MOVES + "a_lost_worker_costs_a_loss_and_not_a_try",
    ),
    _in_reconciling(
        "a loss that costs a try too",
        "a lost lease is nobody's proven fault",
        Edit("_REAP_DOCUMENTS = ", "tries = tries - 1", "tries = tries"),
        _MOVES + "a_lost_worker_costs_a_loss_and_not_a_try",
    ),
)

_ENDINGS = (
    _in_reconciling(
        "run left behind by the reaper",
        "a run that is taken back is abandoned",
        Edit("def reap(", "[row.active_run for row in lost]", "[]"),
        _SCRIPTS + "a_heartbeat_that_comes_after_the_reaper_is_told_that_all_is_lost",
        ORDERS,
    ),
    _in_reconciling(
        "reaper that leaves no history",
        "every move leaves a line of history",
        Edit("def reap(", "events.record(connection, [row.id for row in lost]", "events.record(connection, []"),
        _SCRIPTS + "a_heartbeat_that_comes_after_the_reaper_is_told_that_all_is_lost",
        ORDERS,
    ),
    _in_reconciling(
        "reaper that does not look at the lease",
        "a lease that has not run out is not taken back",
        Edit("_REAP_DOCUMENTS = ", "lease_until < now()", "lease_until > now()"),
        _SCRIPTS + "a_heartbeat_keeps_a_lease_that_had_run_out_and_was_not_taken_back_yet",
        ORDERS,
    ),
    _in_reconciling(
        "lease that a clock put far ahead",
        "a time that lies further ahead than any timer is set counts as passed",
        Edit("_REAP_DOCUMENTS = ", "(lease_until < now() OR lease_until > now() + :far)", "lease_until < now()"),
        _MOVES + "a_lease_far_in_the_future_because_the_clock_jumped_counts_as_expired",
    ),
    _in_documents(
        "run left behind by a replacement",
        "new content abandons the run of the old",
        Edit("def _request_again(", "self._abandon(connection, row.active_run)", "pass"),
        _SCRIPTS + "a_document_replaced_before_its_publication_never_shows_the_old_content",
        ORDERS,
    ),
    _in_documents(
        "replacement that leaves the old run active",
        "new content takes the document from whoever works on the old",
        Edit("_REQUEST_AGAIN = ", "active_run = NULL, ", ""),
        _MOVES + "replacing_a_document_in_the_middle_of_its_work_fences_the_work",
        ORDERS,
    ),
    _in_documents(
        "run left behind by a cancellation",
        "a cancelled run is abandoned",
        Edit("def cancel(", "self._abandon(connection, row.active_run)", "pass"),
        _SCRIPTS + "a_batch_that_ends_while_its_document_is_cancelled_blocks_nobody",
        ORDERS,
    ),
    _in_documents(
        "deletion that leaves the document published",
        "from a deletion's commit on no search shows the document",
        Edit("_DELETE = ", "published_run = NULL, ", ""),
        _SCRIPTS + "a_deletion_in_any_state_leaves_nothing",
        ORDERS,
    ),
    _in_documents(
        "deletion that leaves the document worked on",
        "from a deletion's commit on nobody works on the document",
        Edit("_DELETE = ", "active_run = NULL, ", ""),
        _SCRIPTS + "a_deletion_in_any_state_leaves_nothing",
        ORDERS,
    ),
)

_CLEANING = (
    _in_reconciling(
        "no second collection",
        "what a zombie writes after the first collection goes with the second",
        Edit("_COLLECTED = ", "THEN now() + :longest END", "THEN CAST(NULL AS timestamptz) END"),
        _SCRIPTS + "what_a_zombie_writes_after_the_first_collection_is_gone_after_the_second",
        _MOVES + "an_unpublished_run_is_collected_twice",
        ORDERS,
    ),
    _in_reconciling(
        "no second purge",
        "what a zombie writes after the first purge goes with the second",
        Edit("_PURGED = ", "CASE WHEN purge_pass = 0 THEN 'deleting' ELSE 'deleted' END", "'deleted'"),
        _SCRIPTS + "what_a_zombie_writes_after_the_first_purge_is_gone_after_the_second",
        ORDERS,
    ),
    Bug(
        "no repair",
        "what the store loses is embedded again",
        "sluice_api.loops",
        (Edit("def _repair_published(", "in self.reconciling.published_runs():", "in ():"),),
        (_SCRIPTS + "points_that_the_store_lost_are_there_again_after_one_audit", ORDERS),
    ),
    Bug(
        "no removal of orphans",
        "points of runs that are gone are removed",
        "sluice_api.loops",
        (Edit("def _remove_orphans(", "self.vectors.delete_points(orphans)", "pass"),),
        (_SCRIPTS + "what_a_zombie_writes_when_all_is_collected_is_removed_by_the_audit", ORDERS),
    ),
    Bug(
        "live runs read before the page",
        "a run that begins while the audit reads keeps its points",
        "sluice_api.loops",
        (
            Edit(
                "def _remove_orphans(", "live = self.reconciling.live_runs({point.run_id for point in points})", "pass"
            ),
            Edit(
                "def _remove_orphans(",
                "points, after = self.vectors",
                "live = self.reconciling.live_runs(range(10_000)); points, after = self.vectors",
            ),
        ),
        (_SCRIPTS + "a_run_that_begins_while_the_audit_reads_the_store_keeps_its_points",),
    ),
    _in_batches(
        "repair of a run that is no longer published",
        "only what is published is repaired",
        Edit("def repair(", "document is None or document.published_run != run_id", "document is None"),
        _SCRIPTS + "a_repair_that_comes_after_a_reprocessing_touches_only_what_is_still_published",
    ),
)

_KEEPING = (
    Bug(
        "no dispatch",
        "what waits is sent again until somebody takes it",
        "sluice_api.reconciler",
        (Edit("def _schedule(", 'Loop("dispatch", loops.dispatch, lease / 60),', ""),),
        (_ROOTS + "the_reconciler_sends_the_hints_of_what_waits_and_takes_back_what_lost_its_worker",),
    ),
    Bug(
        "no reaper",
        "what lost its worker is taken back",
        "sluice_api.reconciler",
        (Edit("def _schedule(", 'Loop("reap", loops.reap, lease / 12),', ""),),
        (_ROOTS + "the_reconciler_sends_the_hints_of_what_waits_and_takes_back_what_lost_its_worker",),
    ),
    Bug(
        "janitor without grace",
        "an original whose row may still come is left alone",
        "sluice_api.loops",
        (Edit("def tidy(", "datetime.now(UTC) - self.originals_grace", "datetime.now(UTC)"),),
        (_LOOPS + "a_young_original_without_a_row_is_kept_however_often_it_is_looked_at",),
    ),
    Bug(
        "heartbeat on the pool of the work",
        "work that has every connection does not cost a document its lease",
        "sluice_extractor.main",
        (
            Edit("def build(", "_open_leases(settings, times, stack)", "_open_leases(database, times, stack)"),
            Edit(
                "def _open_leases(",
                'open_database(settings.database, application="sluice-extractor-leases", pool_size=_LEASE_CONNECTIONS)',
                "settings",
            ),
        ),
        (_ROOTS + "a_heartbeat_comes_while_the_work_has_every_connection_of_its_pool",),
    ),
    Bug(
        "extractor that is not told to stop",
        "SIGTERM ends the readings, and their documents are handed back",
        "sluice_extractor.main",
        (
            Edit(
                "def build(",
                "open_broker(settings.broker, OnShutdown(leases.release_all))",
                "open_broker(settings.broker)",
            ),
        ),
        (_ROOTS + "an_extractor_that_is_told_to_stop_ends_its_reading_and_hands_the_document_back",),
    ),
    Bug(
        "embedder that is not told to stop",
        "SIGTERM hands back the batches that others would have to wait for",
        "sluice_embedder.main",
        (
            Edit(
                "def build(",
                "open_broker(settings.broker, OnShutdown(claims.release_all))",
                "open_broker(settings.broker)",
            ),
        ),
        (_ROOTS + "an_embedder_that_is_told_to_stop_hands_its_batch_back_while_the_provider_is_still_silent",),
    ),
)

# Nothing hangs on the acknowledgement of a message here: it is acknowledged whatever happened, and a row brings the
# work back. What must come after the commit is the answer to an upload and the hint.
_COMMITS = (
    Bug(
        "answered before the row is committed",
        "a document is accepted, and hinted at, when its row is committed",
        "sluice_common.documents",
        (
            Edit("def _insert(", "with self._database.single() as", "with self._database._engine.connect() as"),
            Edit(
                "def _insert(",
                "        assert row is not None",
                "            connection.detach()\n"
                "            import threading; threading.Timer(1, connection.commit).start()\n"
                "        assert row is not None",
            ),
        ),
        (_UPLOADS + "the_hint_goes_out_when_the_row_is_there_and_the_answer_behind_both",),
    ),
    Bug(
        "hint before its batch is stored",
        "a hint goes out when whoever is quick finds its row",
        "sluice_extractor.forwarding",
        (
            Edit(
                "def _forward(",
                "if not self._batches.forward(",
                "self._hints.send([EmbedBatch(run_id=self._claim.run_id, batch_no=batch.batch_no)])\n"
                "        if not self._batches.forward(",
            ),
        ),
        (_EXTRACTIONS + "every_hint_of_a_batch_goes_out_when_its_batch_can_be_claimed",),
    ),
)

_TENANT = " AND tenant_id = :tenant_id"
_STRANGER = (
    _SCRIPTS + "nobody_moves_a_document_of_another_tenant",
    _MOVES + "another_tenant_can_neither_see_nor_touch_a_document",
    ORDERS,
)

_TENANTS = (
    _in_documents(
        "cancelled by a stranger",
        "a tenant's documents are nobody else's: cancel",
        Edit("_CANCEL = ", _TENANT, ""),
        _SCRIPTS + "nobody_moves_a_document_of_another_tenant",
        ORDERS,
    ),
    _in_documents(
        "deleted by a stranger",
        "a tenant's documents are nobody else's: delete",
        Edit("_DELETE = ", _TENANT, ""),
        *_STRANGER,
    ),
    _in_documents(
        "reprocessed by a stranger",
        "a tenant's documents are nobody else's: reprocess",
        Edit("_REQUEST_AGAIN = ", _TENANT, ""),
        *_STRANGER,
    ),
    _in_batches(
        "embedded again by a stranger",
        "a tenant's documents are nobody else's: embed again",
        Edit("_LOCK_PUBLISHED = ", _TENANT, ""),
        *_STRANGER,
    ),
    Bug(
        "looked at by a stranger",
        "a tenant's documents are nobody else's: find",
        "sluice_common.catalogue",
        (Edit("_ONE = ", ':id AND d.tenant_id = :tenant_id")', ':id")'),),
        _STRANGER,
    ),
    Bug(
        "read by a stranger",
        "a tenant's documents are nobody else's: chunks",
        "sluice_common.catalogue",
        (Edit("_CHUNKS = ", " AND d.tenant_id = :tenant_id", ""),),
        (_SCRIPTS + "nobody_moves_a_document_of_another_tenant", ORDERS),
    ),
    Bug(
        "watched by a stranger",
        "a tenant's documents are nobody else's: history",
        "sluice_common.events",
        (Edit("_HISTORY = ", " AND d.tenant_id = :tenant_id", ""),),
        (_SCRIPTS + "nobody_moves_a_document_of_another_tenant", ORDERS),
    ),
    Bug(
        "found by a stranger",
        "a tenant's documents are nobody else's: search",
        "sluice_common.hits",
        (Edit("_RESOLVE = ", " AND d.tenant_id = :tenant_id", ""),),
        (_MOVES + "another_tenant_can_neither_see_nor_touch_a_document", ORDERS),
    ),
)

_REQUESTS = (
    _in_documents(
        "upload with a key that is another's",
        "a request stores nothing once its repeat has taken the idempotency key over",
        Edit(
            "_ACCEPT = ", "FROM place WHERE CAST(:token AS uuid) IS NULL OR EXISTS (SELECT 1 FROM claim)", "FROM place"
        ),
        _KEYS + "a_request_whose_key_was_taken_over_brings_nothing_back_that_was_deleted_since",
        _KEYS + "a_request_does_nothing_when_its_repeat_has_failed_and_given_the_key_up",
    ),
    _in_documents(
        "replacement with a key that is another's",
        "a request replaces nothing once its repeat has taken the idempotency key over",
        Edit("def _resolve(", "token is not None and one(connection, _HOLD_KEY, token=token) is None", "False"),
        _KEYS + "a_replacement_whose_key_is_taken_over_at_the_last_moment_changes_nothing",
    ),
    _in_documents(
        "upload into a deleted collection",
        "a deleted collection takes no document, and an upload waits for the deletion beside it",
        Edit("_ACCEPT = ", " AND lifecycle = 'active' FOR SHARE", ""),
        _MOVES + "a_collection_that_was_deleted_since_the_upload_began_takes_no_document",
        _MOVES + "an_upload_beside_the_deletion_of_its_collection_waits_for_it_and_is_refused",
    ),
)

_HINTS = (
    Bug(
        "hint with a text in it",
        "a message is a hint and holds nothing but ids",
        "sluice_common.contract",
        (Edit("class EmbedBatch(", "    batch_no: int\n", '    batch_no: int\n    text: str = ""\n'),),
        (_SCRIPTS + "a_hint_holds_nothing_but_ids",),
    ),
    _in_reconciling(
        "Redis forgets and nobody notices",
        "when the broker forgets, every waiting row is due at once",
        Edit("def notice_epoch(", "known.redis_run == run and seq", "known.redis_run == run or seq"),
        _MOVES + "when_redis_forgets_every_waiting_row_is_due_at_once",
    ),
)

_SECOND_LOOKS = (
    Bug(
        "janitor without the second look",
        "an original goes only when it had no row at two looks, whatever the wall clock says",
        "sluice_api.second_look",
        (Edit("def confirmed(", "return unknown & due", "return unknown"),),
        (
            "tests/unit/api/test_second_look.py",
            _LOOPS + "a_janitor_whose_clock_is_wrong_keeps_the_original_of_an_upload_that_is_under_way",
        ),
    ),
    Bug(
        "purged without a look into the store",
        "a document is purged when the store has none of its points",
        "sluice_api.loops",
        (Edit("def _drop(", "purge.is_last and self._has_points(purge.document_id)", "False"),),
        (_LOOPS + "a_document_is_purged_only_when_the_store_has_none_of_its_points",),
    ),
)

# Not planted, because nothing could notice: an extraction that is finished, or a batch that is forwarded, without
# `lifecycle = 'active'`. A deletion takes the active run away in the same statement, and without its run neither of
# them finds the document; that statement is what is planted, "deletion that leaves the document worked on".

BUGS: dict[str, Bug] = {
    bug.name: bug
    for bug in (
        *(*_TOKENS, *_LOCKS, *_PUBLICATION, *_BUDGETS, *_ENDINGS),
        *(*_CLEANING, *_KEEPING, *_COMMITS, *_TENANTS, *_REQUESTS, *_HINTS, *_SECOND_LOOKS),
    )
}
"""The whole catalogue, by name."""
