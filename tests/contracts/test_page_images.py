"""Images of pages: asked for at a real gateway, drawn by the extractor's own handler in a real sandbox."""

import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from builders import make_original
from unit.extractor import hostile_files as hostile

from sluice_common import ids
from sluice_common.batches import Extraction, NewBatch, NewChunk
from sluice_common.contract import RenderPage
from sluice_common.documents import NewDocument
from sluice_common.errors import ObjectStoreUnavailable
from sluice_common.keys import Scope
from sluice_common.page_images import MOST_KEPT, PageImage, PageImages
from sluice_extractor.drawing import render_page
from sluice_extractor.sandbox import ReadLimits, ReadRequest, Sandbox

pytest_plugins = ("contracts.vector_fixtures", "contracts.gateway_parts")

KOREAN = Path(__file__).parents[1] / "data" / "korean-text-with-tables.pdf"
LIMITS = ReadLimits(
    memory_bytes=2**30,
    wall_clock_s=20,
    wall_clock_per_page_s=1,
    wall_clock_max_s=30,
    max_pages=50,
    max_text_chars=10**7,
    first_range_pages=1,
    range_pages=1,
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(LIMITS) as sandbox:
        yield sandbox


@pytest.fixture
def drawer(gateway, sandbox) -> SimpleNamespace:
    """What the handler needs of an extractor; each hint is done at once, as by one that is idle."""
    deps = SimpleNamespace(page_images=PageImages(gateway.deps.database), objects=gateway.deps.objects, sandbox=sandbox)
    outcomes: list[str] = []
    gateway.queue.on_send = lambda task: outcomes.append(render_page(task, deps))
    deps.outcomes = outcomes
    return deps


@pytest.fixture
def client(gateway):
    return gateway.client()


def published(gateway, content: bytes, media_type: str = "application/pdf") -> UUID:
    """A document with this original, that searches can see."""
    original = make_original(content, "page.pdf")
    writer = gateway.deps.objects.create(original.storage_key)
    writer.write(content)
    writer.commit()
    new = NewDocument(gateway.tenant_id, gateway.collection_id("default"), original)
    document_id = gateway.deps.documents.accept(new, on_duplicate="allow").document_id
    claim = gateway.deps.documents.claim_extraction(document_id, "extractor")
    batch = NewBatch(0, [NewChunk(0, "words", 0, 5, tokens=1, page_start=1)])
    extraction = Extraction(1, 1, media_type, pages_done=1, pages_total=1)
    gateway.deps.batches.finish_extraction(document_id, claim.run_id, [batch], extraction)
    gateway.deps.batches.finish(gateway.deps.batches.claim(claim.run_id, 0, "embedder"))
    gateway.publish(claim)
    return document_id


def path_of(document_id: UUID, page: int = 1, dpi: int | None = None) -> str:
    return f"/v1/documents/{ids.shown('doc', document_id)}/pages/{page}.png" + (f"?dpi={dpi}" if dpi else "")


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack("!II", png[16:24])


def test_a_page_is_drawn_once_and_answered_again_from_what_is_kept(gateway, client, drawer):
    document_id = published(gateway, KOREAN.read_bytes())

    first, second = client.get(path_of(document_id)), client.get(path_of(document_id))

    assert (first.status_code, first.headers["content-type"]) == (200, "image/png")
    assert size_of(first.content) == (823, 844)  # 539 by 553 points
    assert first.headers["sluice-dpi"] == "110"
    assert "private" in first.headers["cache-control"]
    assert second.content == first.content
    assert drawer.outcomes == ["ok"]


def test_more_dots_make_a_larger_image(gateway, client, drawer):
    document_id = published(gateway, KOREAN.read_bytes())

    sizes = [size_of(client.get(path_of(document_id, dpi=dpi)).content) for dpi in (36, 72, 144)]

    assert sizes == [(269, 276), (539, 553), (1077, 1106)]


@pytest.mark.parametrize("dpi", [29, 201, 0])
def test_other_resolutions_are_refused(gateway, client, drawer, dpi):
    document_id = published(gateway, KOREAN.read_bytes())

    answer = client.get(path_of(document_id) + f"?dpi={dpi}")

    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


def test_a_client_that_has_the_image_is_told_so(gateway, client, drawer):
    document_id = published(gateway, KOREAN.read_bytes())
    tag = client.get(path_of(document_id)).headers["etag"]

    again = client.get(path_of(document_id), headers={"If-None-Match": tag})
    other = client.get(path_of(document_id, dpi=72), headers={"If-None-Match": tag})

    assert (again.status_code, again.content, other.status_code) == (304, b"", 200)


def test_a_page_that_is_not_there_is_not_found(gateway, client, drawer):
    document_id = published(gateway, KOREAN.read_bytes())

    answers = [client.get(path_of(document_id, page)) for page in (2, 0, 2**31 - 1)]

    assert [answer.status_code for answer in answers] == [404, 422, 404]
    assert drawer.outcomes == ["no_such_page"] * 2


def test_a_format_without_pages_and_a_document_that_is_not_ready_have_no_page(gateway, client, drawer):
    for document_id in (published(gateway, b"text", "text/plain"), gateway.accept("waiting.pdf")):
        assert client.get(path_of(document_id)).json()["code"] == "not_found"
    assert drawer.outcomes == []


@pytest.mark.parametrize(
    ("content", "outcomes"),
    [
        (hostile.truncated(), {"corrupt"}),
        (hostile.nested_forms(), {"extractor_out_of_memory", "extractor_crashed", "extraction_timeout"}),
        (hostile.inflating(), {"extractor_out_of_memory", "extractor_crashed"}),
        (b"no PDF at all", {"corrupt"}),
    ],
    ids=["truncated", "nested forms", "inflating", "no pdf"],
)
def test_a_page_that_cannot_be_drawn_is_refused_and_the_next_one_is_drawn(gateway, client, drawer, content, outcomes):
    answer = client.get(path_of(published(gateway, content)))
    good = client.get(path_of(published(gateway, KOREAN.read_bytes())))

    assert (answer.status_code, answer.json()["code"]) == (404, "no_page_image")
    assert (good.status_code, drawer.outcomes[-1]) == (200, "ok")
    assert drawer.outcomes[0] in outcomes


def test_a_page_of_a_million_inches_is_drawn_small_and_says_so(gateway, client, drawer):
    huge = hostile.one_page(hostile.stream(b"BT /F 12 Tf (far) Tj ET"), page=b"/MediaBox [0 0 72000000 36000000]")
    answer = client.get(path_of(published(gateway, huge)))

    width, height = size_of(answer.content)
    assert 4_000_000 < width * height <= 8_000_000
    assert float(answer.headers["sluice-dpi"]) < 0.01


def test_an_image_that_nobody_draws_is_asked_for_again_later(gateway, client):
    document_id = published(gateway, KOREAN.read_bytes())

    answer = client.get(path_of(document_id))

    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "unavailable", "2")
    hint = RenderPage(document_id=document_id, original_no=1, page=1, dpi=110)
    assert gateway.queue.sent == [hint]


def test_a_store_that_is_away_leaves_the_image_to_the_next_who_asks(gateway, drawer, monkeypatch):
    document_id = published(gateway, KOREAN.read_bytes())
    wanted = RenderPage(document_id=document_id, original_no=1, page=1, dpi=110)
    drawer.page_images.ask(wanted)

    def away(_key):
        raise ObjectStoreUnavailable("Timeout")

    with monkeypatch.context() as changed:
        changed.setattr(drawer.objects, "local_copy", away)
        with pytest.raises(ObjectStoreUnavailable):
            render_page(wanted, drawer)

    assert drawer.page_images.find(wanted) == PageImage()
    assert render_page(wanted, drawer) == "ok"


def test_a_replaced_document_shows_the_pages_of_what_is_published(gateway, client, drawer):
    document_id = published(gateway, KOREAN.read_bytes())
    before = client.get(path_of(document_id)).content
    again = make_original(hostile.rotated_page(), "page.pdf")
    writer = gateway.deps.objects.create(again.storage_key)
    writer.write(hostile.rotated_page())
    writer.commit()
    gateway.protocol.query(
        "INSERT INTO originals (document_id, request_no, storage_key, sha256, size_bytes, media_type, name)"
        " VALUES (:id, 2, :key, :sha, 1, 'application/pdf', 'page.pdf')",
        id=document_id,
        key=again.storage_key,
        sha=again.sha256,
    )
    gateway.protocol.query("UPDATE documents SET request_no = 2 WHERE id = :id", id=document_id)
    unpublished = client.get(path_of(document_id))
    gateway.protocol.query("UPDATE runs SET request_no = 2 WHERE document_id = :id", id=document_id)

    after = client.get(path_of(document_id))

    assert unpublished.content == before
    assert (after.status_code, after.content == before) == (200, False)


def test_what_belongs_to_others_does_not_exist(gateway, client, drawer):
    document_id = published(gateway, KOREAN.read_bytes())
    client.get(path_of(document_id))
    gateway.deps.collections.create(gateway.tenant_id, "hers", chunking={})
    strangers = [
        gateway.client(tenant_id=gateway.other_tenant()),
        gateway.client(Scope.READ, collections=["hers"]),
    ]

    assert [stranger.get(path_of(document_id)).status_code for stranger in strangers] == [404, 404]
    assert gateway.client(Scope.WRITE).get(path_of(document_id)).status_code == 403
    assert client.get(path_of(uuid4())).status_code == 404


def test_a_deleted_document_has_no_images_and_a_late_drawing_leaves_none_behind(gateway, client, drawer):
    document_id = published(gateway, KOREAN.read_bytes())
    client.get(path_of(document_id))
    late = RenderPage(document_id=document_id, original_no=1, page=1, dpi=72)
    drawer.page_images.ask(late)

    client.delete(f"/v1/documents/{ids.shown('doc', document_id)}")
    assert client.get(path_of(document_id)).status_code == 410
    assert render_page(late, drawer) == "skipped"
    gateway.protocol.reconciling.purge(lambda _purge: None)
    drawer.page_images.answer(late, PageImage(b"png", 72.0))
    drawer.page_images.ask(late)

    kept = "SELECT count(*) FROM page_images WHERE document_id = :id"
    assert gateway.protocol.query(kept, id=document_id) == [(0,)]


def test_images_are_forgotten_after_an_hour_and_when_there_are_too_many(gateway, drawer):
    document_id = published(gateway, KOREAN.read_bytes())

    def ask(page: int, age: str) -> RenderPage:
        wanted = RenderPage(document_id=document_id, original_no=1, page=page, dpi=72)
        drawer.page_images.ask(wanted)
        older = (
            "UPDATE page_images SET asked_at = now() - CAST(:age AS interval) WHERE document_id = :id AND page = :no"
        )
        gateway.protocol.query(older, age=age, id=document_id, no=page)
        return wanted

    old, new = ask(1, "61 minutes"), ask(2, "59 minutes")
    gateway.protocol.reconciling.trim()
    assert (drawer.page_images.find(old), drawer.page_images.find(new)) == (None, PageImage())

    gateway.protocol.query(
        "INSERT INTO page_images (document_id, original_no, page, dpi)"
        " SELECT :id, 1, page, 73 FROM generate_series(1, :most) AS page",
        id=document_id,
        most=MOST_KEPT,
    )
    drawer.page_images.answer(ask(3, "0 minutes"), PageImage(b"png", 72.0))
    assert drawer.page_images.find(new) is None
    assert drawer.page_images.find(RenderPage(document_id=document_id, original_no=1, page=3, dpi=72)) is not None


def test_a_hint_that_comes_twice_or_for_nobody_is_skipped(gateway, drawer):
    wanted = RenderPage(document_id=published(gateway, KOREAN.read_bytes()), original_no=1, page=1, dpi=72)
    nobody = render_page(wanted, drawer)
    drawer.page_images.ask(wanted)

    assert [nobody, render_page(wanted, drawer), render_page(wanted, drawer)] == ["skipped", "ok", "skipped"]


def test_who_looks_at_a_page_does_not_wait_for_documents(gateway, client, sandbox, drawer, tmp_path):
    document_id = published(gateway, KOREAN.read_bytes())
    first, endless = (
        hostile.stream(b"BT /F 9 Tf 50 700 Td (%b) Tj ET" % text) for text in (b"first", b"x" * (3 << 20))
    )
    (tmp_path / "long.pdf").write_bytes(hostile.pages_of([first, endless]))
    (tmp_path / "long.txt").write_bytes(b"line\n" * (3 << 18))
    with (
        sandbox.read(ReadRequest(tmp_path / "long.pdf", "long.pdf")) as in_ranges,
        sandbox.read(ReadRequest(tmp_path / "long.txt", "long.txt")),
    ):
        assert next(in_ranges).text == "first"
        # Both places are taken now: one child goes on with the PDF, one has begun the text, and nobody reads on.

        answer = client.get(path_of(document_id))

    assert (answer.status_code, drawer.outcomes) == (200, ["ok"])
