import time

from prometheus_client import CollectorRegistry, generate_latest

from sluice_api.loops import KINDS, BacklogCollector, LoopMetrics
from sluice_common.errors import DatabaseUnavailable


class AwayTable:
    def backlog(self):
        raise DatabaseUnavailable


def test_every_kind_of_find_is_zero_before_it_is_found_for_the_first_time():
    registry = CollectorRegistry()

    LoopMetrics(registry)

    assert {registry.get_sample_value("sluice_reconciler_found_total", {"kind": kind}) for kind in KINDS} == {0}


def test_a_loop_shows_when_it_last_passed_and_a_failure_is_no_pass():
    registry = CollectorRegistry()
    metrics = LoopMetrics(registry)
    before = time.time()

    metrics.begin("dispatch")
    begun = registry.get_sample_value("sluice_reconciler_last_pass_timestamp_seconds", {"loop": "dispatch"})
    metrics.count_failure("dispatch")

    assert begun >= before
    assert registry.get_sample_value("sluice_reconciler_last_pass_timestamp_seconds", {"loop": "dispatch"}) == begun


def test_while_the_table_cannot_be_read_the_other_metrics_are_still_shown():
    registry = CollectorRegistry()
    LoopMetrics(registry).begin("dispatch")
    registry.register(BacklogCollector(AwayTable()))

    shown = generate_latest(registry).decode()

    assert "sluice_reconciler_last_pass_timestamp_seconds" in shown
    assert "sluice_documents{" not in shown
