"""Redis behind sentinels: its master is killed while documents go through, and nothing is lost or restarted."""

import threading
from collections.abc import Iterator

import psutil
import pytest
from conftest import system
from deploy.sentinel.watched_redis import WatchedRedis, watched_redis
from oracle import CLEAN, Oracle

from sluice_client import SluiceClient
from sluice_common.contract import ExtractDocument
from sluice_common.ids import new_id
from sluice_common.redis_client import open_redis
from sluice_common.settings import BrokerSettings
from sluice_common.tasks import open_queue
from sluice_local.postgres import VOLATILE
from sluice_local.stack import LocalStack

SERVICES = ("api", "reconciler", "extractor", "embedder")


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Iterator[WatchedRedis]:
    with watched_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


def test_a_queue_takes_hints_again_after_a_failover_without_being_opened_anew(watched):
    queue = open_queue(BrokerSettings(url=watched.url, namespace="alone"))
    queue.send(ExtractDocument(document_id=new_id()))

    watched.fail_over()
    for server in watched.servers:
        server.answers() or server.start()
    queue.send(ExtractDocument(document_id=new_id()))

    with open_redis(BrokerSettings(url=watched.url)) as client:
        assert client.llen("alone:extract.v1") >= 1
    queue.close()


def test_documents_go_through_two_failovers_and_no_service_is_restarted(watched, tmp_path):
    settings = system(SLUICE_BROKER__URL=watched.url, SLUICE_TIMES__LEASE_S="15")
    with LocalStack(tmp_path / "home", environment=settings, postgres_settings=VOLATILE) as stack:
        stack.wait_until_ready()
        started = {name: psutil.Process(stack.pid_of(name)).create_time() for name in SERVICES}
        accepted: list[str] = []
        stopping = threading.Event()
        uploading = threading.Thread(target=upload_until, args=(stopping, stack, accepted))
        uploading.start()
        try:
            for _ in range(2):
                watched.fail_over()
                for server in watched.servers:
                    server.answers() or server.start()
        finally:
            stopping.set()
            uploading.join()

        with SluiceClient(stack.url, stack.api_key) as client:
            ended = [client.wait(document_id).status for document_id in accepted]

        assert len(ended) > 10
        assert set(ended) == {"ready"}
        assert Oracle(stack).settle(seconds=60) == CLEAN
        assert {name: psutil.Process(stack.pid_of(name)).create_time() for name in SERVICES} == started


def upload_until(stopping: threading.Event, stack: LocalStack, accepted: list[str]) -> None:
    with SluiceClient(stack.url, stack.api_key) as client:
        while not stopping.wait(0.2):
            content = f"Letter {len(accepted)} that was sent while Redis failed over.".encode()
            accepted.append(client.upload(content, name="letter.txt").id)
