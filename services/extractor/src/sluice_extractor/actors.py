"""Which tasks the extractor serves."""

from functools import partial

from dramatiq.brokers.redis import RedisBroker

from sluice_common.contract import ExtractDocument, PingExtractor, RenderPage
from sluice_common.metrics import StageMetrics
from sluice_common.tasks import serve
from sluice_extractor.deps import ExtractorDeps
from sluice_extractor.drawing import render_page
from sluice_extractor.handlers import answer_ping, extract_document

STAGE = "extract"
DRAWING = "render"


def register(broker: RedisBroker, deps: ExtractorDeps, metrics: StageMetrics) -> None:
    """Declare the actors; every failure is a row's business, so none of them retries."""
    serve(broker, ExtractDocument, partial(extract_document, deps=deps), stage=STAGE, metrics=metrics)
    serve(broker, PingExtractor, partial(answer_ping, deps=deps), stage=STAGE, metrics=metrics)
    serve(broker, RenderPage, partial(render_page, deps=deps), stage=DRAWING, metrics=metrics)
