import subprocess
import sys
from contextlib import ExitStack

import pytest

from sluice_common.adapters.build import build_spans
from sluice_common.settings import TracingSettings
from sluice_common.spans import NO_SPANS


@pytest.mark.parametrize("module", ["sluice_api.main", "sluice_extractor.main", "sluice_embedder.main"])
def test_who_traces_nothing_loads_no_exporter(module):
    told = f"import sys, {module}; sys.exit(any(name.startswith('opentelemetry.exporter') for name in sys.modules))"

    assert subprocess.run([sys.executable, "-c", told], check=False).returncode == 0


def test_without_an_address_a_span_is_no_span_and_has_no_traceparent():
    with ExitStack() as stack, build_spans(TracingSettings(), "api", stack).span("GET", kind="server") as span:
        span.rename("GET /v1/documents")
        span.note(status=200)

        assert span.traceparent is None


def test_without_an_address_every_span_is_the_same_one():
    with ExitStack() as stack:
        assert build_spans(TracingSettings(), "api", stack) is NO_SPANS
