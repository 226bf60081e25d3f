"""The composition root of the embedder: `python -m sluice_embedder.main`."""

import os
import socket
import sys
from contextlib import ExitStack

from sluice_common import __version__
from sluice_common.adapters.build import build_embeddings, build_spans, build_vector_store
from sluice_common.agreement import check_lease
from sluice_common.batches import Batches
from sluice_common.contract import EMBED_QUEUE
from sluice_common.database import open_database
from sluice_common.hints import Hints
from sluice_common.jobs import Pings
from sluice_common.measuring import MeasuredProvider
from sluice_common.metrics import StageMetrics, make_registry, serve_metrics
from sluice_common.migrations import check_schema
from sluice_common.pace import SharedPace
from sluice_common.ports import EmbeddingProvider
from sluice_common.service import run_service
from sluice_common.settings import EmbeddingsSettings
from sluice_common.tasks import DramatiqQueue, OnShutdown, StageWorker, open_broker
from sluice_common.times import Times, times_of
from sluice_embedder.actors import register
from sluice_embedder.batching import Coalescer
from sluice_embedder.claims import Claims
from sluice_embedder.deps import EmbedderDeps
from sluice_embedder.metrics import EmbeddingMetrics
from sluice_embedder.pacing import Pacer
from sluice_embedder.settings import EmbedderSettings
from sluice_embedder.shared_pacing import SharedPacer
from sluice_embedder.store_gate import StoreGate


def build(settings: EmbedderSettings, stack: ExitStack) -> StageWorker:
    """Open everything the embedder uses; the stack closes it in reverse order."""
    times = times_of(settings.times)
    registry = make_registry(version=__version__)
    database = open_database(settings.database, application="sluice-embedder")
    stack.callback(database.close)
    check_schema(database)
    check_lease(database, times)
    batches = Batches(database, times)
    claims = Claims(batches)
    broker = open_broker(settings.broker, OnShutdown(claims.release_all))
    stack.callback(broker.close)
    metrics = EmbeddingMetrics(registry)
    provider = build_embeddings(settings.embeddings)
    stack.callback(provider.close)
    pacer = _open_pacer(settings, stack)
    provider.when_allowed(pacer.allowed)
    metrics.watch(pacer)
    coalescer = _open_coalescer(settings.embeddings, MeasuredProvider(provider, registry), pacer, times, stack)
    vectors = build_vector_store(settings.qdrant, settings.embeddings, provider.dimensions)
    deps = EmbedderDeps(
        batches=batches,
        vectors=vectors,
        store_gate=StoreGate(vectors, probe_interval=times.lease / 6),
        provider=provider,
        coalescer=coalescer,
        claims=claims,
        hints=Hints(DramatiqQueue(broker)),
        pings=Pings(database),
        times=times,
        metrics=metrics,
        owner=f"{socket.gethostname()}:{os.getpid()}",
        spans=build_spans(settings.tracing, "embedder", stack),
    )
    register(broker, deps, StageMetrics(registry))
    stack.callback(serve_metrics(settings.metrics, registry))
    stack.callback(claims.hand_back)  # first of all, when the worker has stopped
    return StageWorker(broker, EMBED_QUEUE, settings.embedder.workers, times.stop_grace.total_seconds())


def main() -> int:
    """Run the embedder until it is told to stop; returns the exit status."""
    return run_service(EmbedderSettings, "embedder", lambda settings, stack: build(settings, stack).run())


def _open_pacer(settings: EmbedderSettings, stack: ExitStack) -> SharedPacer:
    # A connection of its own, so that the pace never waits behind the work.
    database = open_database(settings.database, application="sluice-embedder-pace", pool_size=1)
    stack.callback(database.close)
    url = settings.embeddings.base_url
    address = f"{url.host}:{url.port}{url.path or ''}"  # the rest of an address may be secret
    pace = SharedPace(database, provider=address, model=settings.embeddings.model)
    pacer = SharedPacer(Pacer(), pace.exchange)
    stack.callback(pacer.close)
    return pacer


def _open_coalescer(
    embeddings: EmbeddingsSettings, provider: EmbeddingProvider, pacer: SharedPacer, times: Times, stack: ExitStack
) -> Coalescer:
    coalescer = Coalescer(
        provider,
        batch_size=embeddings.batch_size,
        max_in_flight=embeddings.max_in_flight,
        linger_s=embeddings.linger_s,
        pacer=pacer,
        patience_s=times.lease.total_seconds() / 4,  # the request itself must fit into the lease too
    )
    stack.callback(coalescer.close)
    return coalescer


if __name__ == "__main__":
    sys.exit(main())
