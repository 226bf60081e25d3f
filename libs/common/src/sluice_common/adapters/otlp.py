"""Spans for any collector that speaks OTLP over HTTP, by OpenTelemetry's SDK."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span as VendorSpan
from opentelemetry.trace import SpanKind, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sluice_common import __version__
from sluice_common.settings import TracingSettings
from sluice_common.spans import Fact, Span

SENT_EVERY_MS = 1000
TIMEOUT_S = 5
"""Of one request to the collector; it delays no work, only the end of the process."""

_KINDS = {"server": SpanKind.SERVER, "consumer": SpanKind.CONSUMER, "internal": SpanKind.INTERNAL}
_W3C = TraceContextTextMapPropagator()


class OtlpSpan:
    """One span of the SDK's."""

    def __init__(self, span: VendorSpan) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, set_span_in_context(self._span, Context()))
        return carrier.get("traceparent")

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def note(self, **facts: Fact) -> None:
        self._span.set_attributes({f"sluice.{name}": value for name, value in facts.items()})


class OtlpSpans:
    """Sends spans from a thread of its own; what the collector does not take in time is dropped."""

    def __init__(self, settings: TracingSettings, *, service: str) -> None:
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": f"sluice-{service}", "service.version": __version__}),
            sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=str(settings.endpoint), timeout=TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=SENT_EVERY_MS))
        self._tracer = self._provider.get_tracer("sluice", __version__)

    @contextmanager
    def span(
        self,
        name: str,
        *,
        kind: Literal["server", "consumer", "internal"],
        parent: str | None = None,
    ) -> Iterator[Span]:
        context = None if parent is None else _W3C.extract({"traceparent": parent}, Context())
        with self._tracer.start_as_current_span(name, context, kind=_KINDS[kind]) as begun:
            yield OtlpSpan(begun)

    def close(self) -> None:
        """Send what is left, and end the thread."""
        self._provider.shutdown()
