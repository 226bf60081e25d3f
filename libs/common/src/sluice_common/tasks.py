"""The only module that knows that tasks travel by Dramatiq on Redis."""

import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import TypeVar

import dramatiq
import redis
import structlog
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import ConnectionClosed
from dramatiq.worker import Worker

from sluice_common.contract import Task, parse_task
from sluice_common.errors import ConflictError, InvalidTask, QueueUnavailable, TransientError
from sluice_common.failpoints import marked
from sluice_common.metrics import StageMetrics
from sluice_common.redis_client import open_redis
from sluice_common.settings import BrokerSettings

log = structlog.get_logger(__name__)

T = TypeVar("T", bound=Task)

WORKER_TIMEOUT_MS = 20
"""Longest pause between two polls of an idle queue; Dramatiq's own second costs 160 to 800 ms at each hop."""

_THREAD_WAKE_UP_S = 0.5
"""How often an idle thread looks whether it shall stop. A message wakes it at once; without this, sixteen threads
would wake fifty times a second each, because Dramatiq gives them the consumer's pause."""

HEARTBEAT_TIMEOUT_MS = 60_000
MAINTENANCE_CHANCE = 100_000
"""Of a million commands. A courtesy: leases in the table, not the broker, make a dead worker harmless."""

DEAD_MESSAGE_TTL_MS = 3_600_000


MOST_WAITING = 1000
"""Hints in one queue. More would say nothing that the table does not, and Redis would grow with the backlog."""

_ROOM_KEPT_S = 0.5


class HintBroker(RedisBroker):
    """Dramatiq's broker without its delayed messages: a time in the table is what delays here.

    Each queue is then polled once and not twice.
    """

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)


class DramatiqQueue:
    """Sends tasks by name: the sender needs neither the receiver's code nor its libraries."""

    def __init__(self, broker: RedisBroker) -> None:
        self._broker = broker
        self._rooms: dict[str, tuple[float, bool]] = {}

    @marked("queue.send")
    def send(self, task: Task) -> None:
        """Put *task* on its queue, as a JSON message of less than 300 bytes.

        Raises:
            QueueUnavailable: not sent; the dispatch loop will send it later.
        """
        try:
            self._broker.enqueue(message_of(task))
        except (redis.RedisError, ConnectionClosed) as error:
            raise QueueUnavailable(type(error).__name__) from error

    @marked("queue.has_room")
    def has_room(self, queue: str) -> bool:
        """Whether *queue* holds so little that another hint is of use; asked of Redis twice a second at most.

        Raises:
            QueueUnavailable: no answer.
        """
        asked_at_s, had_room = self._rooms.get(queue, (float("-inf"), True))
        if time.monotonic() - asked_at_s < _ROOM_KEPT_S:
            return had_room
        try:
            waiting = int(self._broker.client.llen(f"{self._broker.namespace}:{queue}"))
        except redis.RedisError as error:
            raise QueueUnavailable(type(error).__name__) from error
        self._rooms[queue] = (time.monotonic(), waiting < MOST_WAITING)
        return waiting < MOST_WAITING

    @marked("queue.epoch")
    def epoch(self) -> tuple[str, int]:
        """The server's run id and a counter that this call increments; either one changes when Redis forgets.

        Raises:
            QueueUnavailable: no answer.
        """
        client = self._broker.client
        try:
            seq = client.incr(f"{self._broker.namespace}:keeper:seq")
            return str(client.info("server")["run_id"]), int(seq)
        except redis.RedisError as error:
            raise QueueUnavailable(type(error).__name__) from error

    def ping(self) -> None:
        """Raise QueueUnavailable unless Redis answers."""
        try:
            self._broker.client.ping()
        except redis.RedisError as error:
            raise QueueUnavailable(type(error).__name__) from error

    def close(self) -> None:
        self._broker.close()
        self._broker.client.close()


def message_of(task: Task) -> dramatiq.Message[None]:
    """The message that stands for *task*."""
    return dramatiq.Message(
        queue_name=task.queue, actor_name=task.actor, args=(), kwargs=task.model_dump(mode="json"), options={}
    )


def open_broker(settings: BrokerSettings, *middleware: dramatiq.Middleware) -> RedisBroker:
    """A broker with nothing of Dramatiq's own middleware: retries, time limits and results live in the table."""
    return HintBroker(  # type: ignore[no-untyped-call]  # Dramatiq leaves its constructor untyped
        client=open_redis(settings),
        middleware=list(middleware),
        namespace=settings.namespace,
        heartbeat_timeout=HEARTBEAT_TIMEOUT_MS,
        maintenance_chance=MAINTENANCE_CHANCE,
        dead_message_ttl=DEAD_MESSAGE_TTL_MS,
    )


def open_queue(settings: BrokerSettings) -> DramatiqQueue:
    """A queue to send to; connects at first use."""
    return DramatiqQueue(open_broker(settings))


def serve(
    broker: RedisBroker, task_type: type[T], handler: Callable[[T], str], *, stage: str, metrics: StageMetrics
) -> None:
    """Let *handler* do every task of this type that the broker delivers.

    The message is acknowledged whatever happens: what must be done again has a row that says so.

    Args:
        broker: where the worker of this process listens.
        task_type: which messages.
        handler: returns the outcome, such as `ok` or `skipped`, for the log and the metric.
        stage: `extract`, `render` or `embed`, for the log and the metric.
        metrics: counts the runs and times them.
    """

    def run(**fields: object) -> None:
        started = time.monotonic()
        structlog.contextvars.clear_contextvars()  # of the thread's last task; a handler binds what it learns
        structlog.contextvars.bind_contextvars(stage=stage, actor=task_type.actor)
        outcome = _outcome_of(lambda: handler(_bound(parse_task(task_type, fields))))
        duration_s = time.monotonic() - started
        if outcome == "skipped":
            metrics.count_skipped(stage)
        else:
            metrics.count(stage, outcome, duration_s)
        level = log.debug if outcome == "skipped" else log.info
        level("task_finished", outcome=outcome, duration_s=round(duration_s, 4))

    metrics.begin(stage)
    dramatiq.actor(actor_name=task_type.actor, queue_name=task_type.queue, broker=broker)(run)


def _bound(task: T) -> T:
    """*task*, whose declared ids, and nothing else that came with it, stand on every line of its log from now on."""
    structlog.contextvars.bind_contextvars(**task.model_dump(mode="json"))
    return task


def _outcome_of(handle: Callable[[], str]) -> str:
    try:
        return handle()
    except ConflictError as error:
        log.info("task_fenced", code=error.code)
        return "skipped"
    except InvalidTask as error:
        log.exception("task_invalid", detail=error.detail)
        return error.code
    except TransientError as error:
        log.warning("task_postponed", code=error.code, detail=error.detail)
        time.sleep(random.uniform(0.5, 1.5))  # noqa: S311 - or an outage burns the whole queue in seconds
        return error.code
    except Exception:  # the row's lease brings the work back; the worker must go on
        log.exception("task_crashed")
        return "internal"


class OnShutdown(dramatiq.Middleware):
    """Calls back as soon as the worker is told to stop, while its tasks are still running."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: Worker) -> None:  # noqa: ARG002 - Dramatiq's signature
        self._callback()


@dataclass(frozen=True)
class StageWorker:
    """A stage's worker, ready to run: its actors are declared and everything they use is open."""

    broker: RedisBroker
    queue: str
    threads: int
    stop_timeout_s: float
    """What running tasks get to end by themselves when the worker is told to stop."""
    beside: Mapping[str, int] = field(default_factory=dict)
    """Other queues that must not wait behind the first one, and the threads of each."""

    def run(self) -> None:
        """Work until SIGTERM or SIGINT.

        One worker process, started here and not by Dramatiq's command: that one keeps a second process alive only
        to watch the first, which the container's or the supervisor's job is anyway, and reads its settings from
        names that are not ours.
        """
        stopping = threading.Event()

        def stop(_signal: int, _frame: FrameType | None) -> None:
            stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        served = {self.queue: self.threads, **self.beside}
        workers = [self._started(queue, threads) for queue, threads in served.items()]
        self.broker.emit_after("process_boot")
        log.info("worker_started", queue=self.queue, threads=self.threads)
        stopping.wait()
        log.info("worker_stopping")
        until_s = time.monotonic() + self.stop_timeout_s
        for worker in workers:
            worker.stop(timeout=int(max(until_s - time.monotonic(), 0) * 1000))

    def _started(self, queue: str, threads: int) -> Worker:
        worker = Worker(self.broker, queues={queue}, worker_timeout=WORKER_TIMEOUT_MS, worker_threads=threads)
        worker.queue_prefetch = threads
        worker.start()
        for thread in worker.workers:
            thread.timeout = _THREAD_WAKE_UP_S
        return worker
