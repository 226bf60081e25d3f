"""Which tasks the embedder serves."""

from functools import partial

from dramatiq.brokers.redis import RedisBroker

from sluice_common.contract import EmbedBatch, PingEmbedder, VerifyRun
from sluice_common.metrics import StageMetrics
from sluice_common.tasks import serve
from sluice_embedder.deps import EmbedderDeps
from sluice_embedder.handlers import answer_ping, embed_batch, verify_run

STAGE = "embed"


def register(broker: RedisBroker, deps: EmbedderDeps, metrics: StageMetrics) -> None:
    """Declare the actors; every failure is a row's business, so none of them retries."""
    serve(broker, EmbedBatch, partial(embed_batch, deps=deps), stage=STAGE, metrics=metrics)
    serve(broker, VerifyRun, partial(verify_run, deps=deps), stage=STAGE, metrics=metrics)
    serve(broker, PingEmbedder, partial(answer_ping, deps=deps), stage=STAGE, metrics=metrics)
