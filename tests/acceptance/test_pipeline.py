"""A document's whole way over HTTP, on the local stack: what a user of Sluice can rely on."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from oracle import CLEAN, Oracle, wait_until
from unit.extractor import office_files as office

DATA = Path(__file__).parents[1] / "data"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"


@pytest.fixture
def http(stack):
    with httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {stack.api_key}"}, timeout=60) as http:
        yield http


@pytest.fixture
def collection(client) -> str:
    """A collection of the test's own."""
    name = f"test-{uuid4().hex[:12]}"
    client.create_collection(name)
    return name


def upload(http, content: bytes, name: str = "note.txt", **fields) -> httpx.Response:
    return http.post("/v1/documents", files={"file": (name, content)}, data=fields)


def ended(http, document_id: str) -> dict:
    """The document once it has ended."""
    for _ in range(8):
        document = http.get(f"/v1/documents/{document_id}", headers={"Prefer": "wait=25"}).json()
        if document["status"] in ("ready", "failed", "cancelled"):
            return document
    raise AssertionError(f"{document_id} is still {document['status']}: {document['message']}")


def ready(http, content: bytes, name: str = "note.txt", **fields) -> dict:
    answer = upload(http, content, name, **fields)
    assert answer.status_code in (200, 202), answer.text
    document = ended(http, answer.json()["id"])
    assert document["status"] == "ready", document["error"]
    return document


def search(http, query: str, **fields) -> list[dict]:
    answer = http.post("/v1/search", json={"query": query, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def test_an_uploaded_document_is_found_by_what_it_says(http, collection):
    document = ready(http, b"The heron waits at the weir until dusk.\n", "heron.txt", collection=collection)

    (hit, *_) = search(http, "Where does the heron wait?", collection=collection)

    assert (hit["document_id"], hit["name"], hit["collection"]) == (document["id"], "heron.txt", collection)
    assert "heron waits at the weir" in hit["text"]
    assert document["progress"]["percent"] == 100
    assert document["total_chunks"] == 1


def test_the_answer_to_an_upload_comes_at_once_and_says_where_to_look(http, collection):
    answer = upload(http, b"Accepted first, read later.", collection=collection)

    body = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"].endswith(f"/v1/documents/{body['id']}")
    assert int(answer.headers["Retry-After"]) >= 1
    assert body["status"] in ("queued", "processing")
    assert body["message"] == "The document was uploaded and is being processed in the background."


def test_a_korean_document_is_found_in_korean_and_speaks_korean(http, collection):
    text = "여름철 집중호우에 대비하여 하천 수문 점검을 실시하였다.\n수문은 모두 정상으로 작동하였다.\n"
    document = ready(http, text.encode("cp949"), "수문 점검 보고서.txt", collection=collection)

    (hit, *_) = search(http, "하천 수문을 점검했나?", collection=collection)
    status = http.get(f"/v1/documents/{document['id']}/status", headers={"Accept-Language": "ko"}).json()

    assert hit["document_id"] == document["id"]
    assert hit["text"] == text.strip()
    assert status["name"] == "수문 점검 보고서.txt"
    assert status["message"] == "문서 처리가 완료되었습니다."


def test_markdown_and_html_keep_their_headings_as_sections(http, collection):
    markdown = b"# Guide\n\n## Sluices\n\nOpen the lower gate before the upper one.\n"
    html = b"<html><body><h1>Manual</h1><h2>Pumps</h2><p>Prime the pump with clean water.</p></body></html>"
    ready(http, markdown, "guide.md", collection=collection)
    ready(http, html, "manual.html", collection=collection)

    (gate, *_) = search(http, "which gate opens first", collection=collection)
    (pump, *_) = search(http, "prime the pump", collection=collection)

    assert gate["section"] == "Guide > Sluices"
    assert pump["section"] == "Manual > Pumps"


def test_a_pdf_is_found_with_its_page_and_the_places_on_it(http, collection):
    path = min(DATA.glob("**/*.pdf"))
    document = ready(http, path.read_bytes(), path.name, collection=collection)

    chunks = http.get(f"/v1/documents/{document['id']}/chunks").json()["data"]
    words = " ".join(chunks[0]["text"].split()[:8])
    (hit, *_) = search(http, words, collection=collection)

    assert hit["document_id"] == document["id"]
    assert hit["page_start"] == 1
    assert chunks[0]["boxes"][0]["page"] == 1
    assert all(len(rect) == 4 for rect in chunks[0]["boxes"][0]["rects"])


def test_a_hit_in_a_workbook_names_its_sheet_and_one_in_a_presentation_its_slide(http, collection):
    rows = office.text_row(1, "이름", "직책") + office.text_row(2, "김하늘", "수문 관리자")
    book = ready(http, office.xlsx({"연락처": rows}), "연락처.xlsx", collection=collection)
    slides = office.pptx([office.shape("Agenda", kind="title"), office.shape("Grease the winch every spring")])
    talk = ready(http, slides, "talk.pptx", collection=collection)

    (contact, *_) = search(http, "수문 관리자", collection=collection)
    (winch, *_) = search(http, "grease the winch", collection=collection)

    assert (contact["document_id"], contact["sheet"], contact["page_start"]) == (book["id"], "연락처", None)
    assert "이름 | 직책" in contact["text"]
    assert (winch["document_id"], winch["slide"], winch["page_start"]) == (talk["id"], 2, 2)
    assert (talk["progress"]["pages"]["total"], talk["media_type"]) == (2, PPTX)


def test_the_original_comes_back_byte_for_byte(http, collection):
    content = bytes(range(256)) * 40
    document_id = upload(http, content, "한글 이름.bin", collection=collection).json()["id"]

    whole = http.get(f"/v1/documents/{document_id}/content")
    part = http.get(f"/v1/documents/{document_id}/content", headers={"Range": "bytes=100-199"})

    assert whole.content == content
    assert (part.status_code, part.content) == (206, content[100:200])
    assert whole.headers["Content-Disposition"].startswith("attachment")
    assert whole.headers["X-Content-Type-Options"] == "nosniff"


def test_the_history_tells_every_state_in_order(http, collection):
    document = ready(http, b"History is written as it happens.", collection=collection)

    events = http.get(f"/v1/documents/{document['id']}/events").json()["data"]

    ids = [event["id"] for event in events]
    assert ids == sorted(ids)
    with http.stream(
        "GET", f"/v1/documents/{document['id']}/events", headers={"Accept": "text/event-stream"}
    ) as stream:
        lines = [line for line in stream.iter_lines() if line.startswith("data:")]
    assert json.loads(lines[-1][5:])["status"] == "ready"


def test_the_same_bytes_twice_are_one_document_unless_asked_otherwise(http, collection):
    first = ready(http, b"Twice the same.", collection=collection)

    again = upload(http, b"Twice the same.", collection=collection)
    refused = upload(http, b"Twice the same.", collection=collection, on_duplicate="reject")
    second = upload(http, b"Twice the same.", collection=collection, on_duplicate="allow")

    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    assert (refused.status_code, refused.json()["code"]) == (409, "document_exists")
    assert second.json()["id"] != first["id"]


def test_ten_at_once_with_one_key_are_one_document_and_nine_replays(http, collection):
    def send(_: int) -> httpx.Response:
        return http.post(
            "/v1/documents",
            files={"file": ("once.txt", b"Sent ten times at once.")},
            data={"collection": collection, "on_duplicate": "allow"},
            headers={"Idempotency-Key": f"key-{collection}"},
        )

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(send, range(10)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum(answer.headers.get("Idempotent-Replayed") == "true" for answer in answers) == 9


def test_a_deleted_document_is_not_found_from_the_answer_on_and_its_bytes_go(http, collection, stack):
    document = ready(http, b"The otter is deleted.", collection=collection)
    assert search(http, "otter deleted", collection=collection)

    answers = [http.delete(f"/v1/documents/{document['id']}") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert answers[0].json() == {"id": document["id"], "status": "deleting"}
    assert search(http, "otter deleted", collection=collection) == []
    assert http.get(f"/v1/documents/{document['id']}").status_code == 410


def test_a_replacement_serves_the_old_content_until_the_new_one_is_ready(http, collection):
    old = ready(http, b"Version one speaks of badgers.", "v.txt", collection=collection, external_id="wiki/7")

    new = upload(
        http,
        b"Version two speaks of beavers.",
        "v.txt",
        collection=collection,
        external_id="wiki/7",
        on_duplicate="replace",
    )

    assert new.json()["id"] == old["id"]
    assert ended(http, old["id"])["status"] == "ready"
    assert "beavers" in search(http, "beavers", collection=collection)[0]["text"]
    assert not any("badgers" in hit["text"] for hit in search(http, "badgers", collection=collection))


@pytest.mark.parametrize("start", ["extract", "embed"])
def test_a_document_can_be_processed_again_and_serves_all_the_while(http, collection, start):
    document = ready(http, b"Processed once and then once more.", collection=collection)

    again = http.post(f"/v1/documents/{document['id']}/reprocess", json={"from": start})

    assert again.status_code == 202
    assert search(http, "processed once more", collection=collection)
    after = ended(http, document["id"])
    assert after["status"] == "ready"
    assert after["published_run"] > document["published_run"]


def test_a_cancelled_document_stays_cancelled_until_it_is_retried(http, collection):
    lines = b"".join(b"Line %d of a long document that takes a while to embed.\n" % n for n in range(60_000))
    document_id = upload(http, lines, "long.txt", collection=collection).json()["id"]

    cancelled = http.post(f"/v1/documents/{document_id}/cancel")

    assert cancelled.json()["status"] in ("cancelled", "ready")
    if cancelled.json()["status"] == "cancelled":
        assert cancelled.status_code == 202
        assert http.get(f"/v1/documents/{document_id}").json()["status"] == "cancelled"
        assert http.post(f"/v1/documents/{document_id}/retry").status_code == 202
        assert ended(http, document_id)["status"] == "ready"


def test_a_key_of_another_tenant_sees_nothing(stack, http, collection):
    document = ready(http, b"A secret of this tenant.", collection=collection)
    other = key_of_tenant(stack, f"other-{collection}")

    with httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {other}"}, timeout=60) as stranger:
        assert stranger.get(f"/v1/documents/{document['id']}").status_code == 404
        assert search(stranger, "secret of this tenant") == []


def key_of_tenant(stack, tenant: str) -> str:
    """The first key of another tenant, as the admin command in the api's image makes it."""
    command = [sys.executable, "-m", "sluice_api.admin", "create-key", "--tenant", tenant, "--name", "test"]
    made = subprocess.run(
        [*command, "--scopes", "read,write"],
        env=dict(stack.environment_of("api")),
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout.strip()


BAD_FILES = {
    "empty.txt": (b"", "empty"),
    "blank.txt": (b" \n\t\n ", "empty"),
    "broken.pdf": (b"%PDF-1.7\nnothing that a reader could use", "corrupt"),
    "photo.png": (b"\x89PNG\r\n\x1a\n" + bytes(64), "ocr_required"),
    "archive.zip": (b"PK\x03\x04" + bytes(64), "unsupported_format"),
    "broken.docx": (office.docx(office.paragraph("Hello"))[:-40], "corrupt"),
    "locked.docx": (office.ole("EncryptionInfo", "EncryptedPackage"), "encrypted"),
}


@pytest.mark.parametrize(("name", "case"), BAD_FILES.items(), ids=list(BAD_FILES))
def test_a_file_that_cannot_be_read_fails_with_its_code_and_a_remedy(http, collection, name, case):
    content, code = case
    document = ended(http, upload(http, content, name, collection=collection).json()["id"])

    assert (document["status"], document["error"]["code"]) == ("failed", code)
    assert document["error"]["remedy"]
    assert document["total_chunks"] in (0, None)


BAD_REQUESTS = {
    "no file": (lambda http: http.post("/v1/documents", files={"collection": (None, "default")}), 400),
    "no name": (lambda http: http.post("/v1/documents", files={"file": ("", b"x")}), 400),
    "wrong key": (lambda http: upload_with_key(http, "sk_wrong"), 401),
    "no key": (lambda http: upload_with_key(http, ""), 401),
    "unknown collection": (lambda http: upload(http, b"x", collection="nowhere"), 404),
    "unknown document": (lambda http: http.get(f"/v1/documents/doc_{'0' * 32}"), 404),
    "malformed id": (lambda http: http.get("/v1/documents/../../etc/passwd"), 404),
    "unknown field": (lambda http: upload(http, b"x", colour="blue"), 422),
    "not multipart": (lambda http: http.post("/v1/documents", content=b"x"), 415),
    "blank query": (lambda http: http.post("/v1/search", json={"query": " "}), 422),
    "wrong cursor": (lambda http: http.get("/v1/documents", params={"cursor": "made-up"}), 400),
}


@pytest.mark.parametrize("case", BAD_REQUESTS.values(), ids=list(BAD_REQUESTS))
def test_a_wrong_request_gets_a_clear_problem(http, case):
    send, status = case
    answer = send(http)

    problem = answer.json()
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert problem["status"] == status
    assert problem["code"] == problem["error"]["code"]
    assert problem["request_id"] == answer.headers["X-Request-Id"]


def upload_with_key(http, key: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.post(http.base_url.join("/v1/documents"), files={"file": ("a.txt", b"x")}, headers=headers, timeout=60)


NAMES = {
    "../../etc/passwd": "passwd",
    "보고서.txt": "보고서.txt",
    "quote%22inside.txt": 'quote"inside.txt',
}


@pytest.mark.parametrize(("sent", "shown"), NAMES.items())
def test_a_name_is_for_display_only(http, collection, sent, shown):
    answer = upload(http, f"Named {sent}".encode(), sent, collection=collection)

    assert answer.json()["name"] == shown


def test_lists_are_walked_by_cursor_and_see_every_document_once(http, collection):
    made = {upload(http, f"Number {n}".encode(), f"{n}.txt", collection=collection).json()["id"] for n in range(7)}

    seen, cursor = [], None
    while True:
        page = http.get(
            "/v1/documents",
            params={"collection": collection, "limit": 3, "cursor": cursor}
            if cursor
            else {"collection": collection, "limit": 3},
        ).json()
        seen += [document["id"] for document in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert len(seen) == 7
    assert set(seen) == made


def test_nothing_is_left_behind_when_all_is_done(stack):
    oracle = Oracle(stack)
    wait_until(lambda: not oracle.unfinished(), seconds=60, message="something is still unfinished")

    assert oracle.settle(seconds=30) == CLEAN
