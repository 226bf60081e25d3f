"""The gateway's composition root: `python -m sluice_api.main`."""

import signal
import sys
from contextlib import ExitStack
from types import FrameType

import uvicorn

from sluice_api.app import create_app
from sluice_api.deps import ApiDeps
from sluice_api.metrics import GatewayMetrics
from sluice_api.settings import ApiSettings
from sluice_api.waiting import Watch
from sluice_api.wire import BoundedProtocol
from sluice_common import __version__
from sluice_common.adapters.build import build_embeddings, build_object_store, build_spans, build_vector_store
from sluice_common.batches import Batches
from sluice_common.catalogue import Catalogue
from sluice_common.collections import Collections
from sluice_common.database import Database, open_database
from sluice_common.documents import Documents
from sluice_common.events import Events
from sluice_common.hints import BackgroundHints
from sluice_common.hits import Hits
from sluice_common.idempotency import Idempotency
from sluice_common.jobs import Pings
from sluice_common.keys import Keys
from sluice_common.measuring import MeasuredProvider
from sluice_common.metrics import make_registry, serve_metrics
from sluice_common.migrations import check_schema
from sluice_common.page_images import PageImages
from sluice_common.service import run_service
from sluice_common.settings import EmbeddingsSettings
from sluice_common.tasks import open_queue
from sluice_common.times import times_of

STOP_S = 8
"""How long answers that are under way may take when the process is told to stop; then they are cut."""

KEEP_ALIVE_S = 75
"""Longer than a proxy in front keeps its connections, or it would send a request into one that is closing."""

LONGEST_QUERY_S = 5.0
"""Longest wait for the embedding of a question; a hybrid search goes on without it."""


class GatewayServer(uvicorn.Server):
    """Uvicorn, which also ends open streams and long polls as soon as it is told to stop."""

    def __init__(self, config: uvicorn.Config, watch: Watch) -> None:
        super().__init__(config)
        self._watch = watch

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._watch.close()
        super().handle_exit(sig, frame)


def main() -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    return run_service(ApiSettings, "api", _serve)


def _serve(settings: ApiSettings, stack: ExitStack) -> None:
    deps = open_deps(settings, stack)
    _leave_quietly()
    server_of(deps).run()


def open_deps(settings: ApiSettings, stack: ExitStack) -> ApiDeps:
    """Open every part; *stack* closes them in reverse order.

    Raises:
        SettingsError: an adapter's settings do not fit together.
        SchemaMismatch: the tables are of another release.
        DatabaseUnavailable: there is no PostgreSQL.
    """
    database = open_database(settings.database, application="sluice-api")
    stack.callback(database.close)
    check_schema(database)
    registry = make_registry(version=__version__)
    stack.callback(serve_metrics(settings.metrics, registry))
    queue = open_queue(settings.broker)
    stack.callback(queue.close)
    hints = BackgroundHints(queue)
    stack.callback(hints.close)
    embeddings = build_embeddings(_impatient(settings.embeddings))
    stack.callback(embeddings.close)
    measured = MeasuredProvider(embeddings, registry)
    times = times_of(settings.times)
    events = Events(database)
    deps = ApiDeps(
        settings=settings,
        documents=_documents(database, settings),
        batches=Batches(database, times),
        catalogue=Catalogue(database),
        hits=Hits(database),
        collections=Collections(database),
        keys=Keys(database),
        idempotency=Idempotency(database),
        events=events,
        pings=Pings(database),
        page_images=PageImages(database),
        objects=build_object_store(settings.objects),
        vectors=build_vector_store(settings.qdrant, settings.embeddings, measured.dimensions),
        embeddings=measured,
        hints=hints,
        queue=queue,
        database=database,
        metrics=GatewayMetrics(registry),
        watch=Watch(events.latest_ids),
        spans=build_spans(settings.tracing, "api", stack),
    )
    deps.keys.ensure_tenant()
    return deps


def server_of(deps: ApiDeps) -> GatewayServer:
    """The server for the gateway over *deps*, not yet listening."""
    http = deps.settings.http
    config = uvicorn.Config(
        create_app(deps),
        host=http.host,
        port=http.port,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        log_config=None,
        access_log=False,  # one line of our own, without names and queries
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
        backlog=1024,
    )
    return GatewayServer(config, deps.watch)


def _impatient(settings: EmbeddingsSettings) -> EmbeddingsSettings:
    """A person waits for a search: a provider that hangs must not hold a thread for as long as a batch may."""
    return settings.model_copy(update={"timeout_s": min(settings.timeout_s, LONGEST_QUERY_S)})


def _documents(database: Database, settings: ApiSettings) -> Documents:
    times = settings.times
    return Documents(database, times_of(times), max_tries=times.max_tries, max_losses=times.max_losses)


def _leave_quietly() -> None:
    # Uvicorn raises the signal once more when it has stopped; that must not kill us before the parts are closed.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)


if __name__ == "__main__":
    sys.exit(main())
