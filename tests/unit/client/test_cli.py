"""The command line: what it prints, where, and how it ends."""

import json
import os
import subprocess
import sys

import pytest
from rich.cells import cell_len

from sluice_client.cli import files_of, key_of, main
from sluice_client.terminal import aligned, one_line, shortened


@pytest.fixture
def environment(url, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SLUICE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLUICE_URL", url)
    monkeypatch.setenv("SLUICE_API_KEY", "sk_test")


@pytest.fixture
def sluice(environment, capsysbinary):
    """Run a command in this process, which is quicker."""

    def run(*arguments):
        try:
            code = main([str(one) for one in arguments])
        except SystemExit as wrong_usage:
            code = wrong_usage.code
        return subprocess.CompletedProcess(arguments, code, *capsysbinary.readouterr())

    return run


@pytest.fixture
def sluice_process(environment):
    """Run a command in a process of its own, with a pipe of some encoding."""

    def run(*arguments, encoding):
        return subprocess.run(
            [sys.executable, "-m", "sluice_client.cli", *arguments],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
            timeout=60,
            check=False,
        )

    return run


def said(finished, encoding="utf-8"):
    return finished.stdout.decode(encoding).replace("\r\n", "\n")


@pytest.fixture
def listed(answered, make_document):
    return answered(200, {"data": [make_document(name="보고서 – ①.pdf")], "next_cursor": None})


@pytest.mark.parametrize(
    ("encoding", "name"), [("utf-8", "보고서 – ①.pdf"), ("cp949", "보고서 ? ①.pdf"), ("ascii", "??? ? ?.pdf")]
)
def test_names_are_printed_on_any_terminal(sluice_process, script, listed, encoding, name):
    script.on("GET /v1/documents", listed)

    finished = sluice_process("list", encoding=encoding)

    assert finished.returncode == 0, finished.stderr
    assert name in said(finished, encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "cp949", "ascii"])
def test_json_is_whole_in_any_encoding(sluice_process, script, listed, encoding):
    script.on("GET /v1/documents", listed)

    finished = sluice_process("--json", "list", encoding=encoding)

    [line] = said(finished, encoding).splitlines()
    assert json.loads(line)["name"] == "보고서 – ①.pdf"


def test_an_upload_that_waits_prints_plain_lines_into_a_pipe_and_ends_with_zero(
    sluice, script, answered, make_document, tmp_path
):
    (tmp_path / "보고서.txt").write_text("text", encoding="utf-8")
    script.on("POST /v1/documents", answered(202, make_document("queued")))
    script.on("GET /v1/documents/doc_1", answered(200, make_document("processing")), answered(200, make_document()))
    script.on("GET /v1/documents/doc_1/events", answered(404))

    finished = sluice("upload", "보고서.txt", "--wait", "--collection", "c", "--chunk-chars", "500", "--multimodal")

    assert finished.returncode == 0, finished.stderr
    assert said(finished).splitlines() == [
        "uploaded    보고서.txt  doc_1",
        "extracting  보고서.txt",
        "ready       보고서.txt  doc_1  3 chunks",
    ]
    body = script.requests("POST /v1/documents")[0].body
    assert b'{"max_chars": 500}' in body
    assert b'name="multimodal"\r\n\r\ntrue' in body


def test_a_failed_document_ends_with_one_and_prints_its_code_and_remedy(
    sluice, script, answered, make_document, tmp_path
):
    (tmp_path / "a.txt").write_text("text")
    failed = make_document(
        "failed", error={"code": "encrypted", "message": "It needs a password.", "remedy": "Remove it."}
    )
    script.on("POST /v1/documents", answered(202, make_document("queued")))
    script.on("GET /v1/documents/doc_1", answered(200, failed))

    finished = sluice("upload", "a.txt", "--wait")

    assert finished.returncode == 1
    assert "failed      a.txt  doc_1  encrypted: It needs a password. Remove it." in said(finished)


def test_one_refused_file_does_not_stop_the_others(sluice, script, answered, make_document, tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("text")
    big = {"code": "file_too_large", "detail": "The limit is 10 bytes."}
    script.on("POST /v1/documents", answered(413, big), answered(202, make_document("queued")))

    finished = sluice("upload", "a.txt", "b.txt", "missing.txt", "--json")

    outcomes = [json.loads(line) for line in said(finished).splitlines()]
    assert finished.returncode == 1
    assert sorted(str(one["code"]) for one in outcomes) == ["None", "file_too_large", "unreadable"]


def test_folders_are_uploaded_with_everything_below_them_but_what_is_hidden(tmp_path):
    for name in ("a.txt", "sub/b.txt", ".hidden", "sub/.git/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    paths, problems = files_of([str(tmp_path)], recursive=True)

    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["a.txt", "sub/b.txt"]
    assert problems == []


def test_a_folder_needs_the_option_and_a_pattern_is_expanded(tmp_path):
    (tmp_path / "a.txt").write_text("x")

    paths, [problem] = files_of([str(tmp_path / "*.txt"), str(tmp_path)], recursive=False)

    assert [path.name for path in paths] == ["a.txt"]
    assert problem.code == "is_folder"


@pytest.mark.parametrize(("status", "code"), [(401, 4), (403, 4), (404, 5), (410, 5), (422, 1), (500, 1)])
def test_the_exit_code_says_what_kind_of_refusal_it_was(sluice, script, answered, status, code):
    refused = {"code": "some_code", "detail": "Because.", "request_id": "req_9", "remedy": "Do this."}
    script.on("GET /v1/documents/doc_1", answered(status, refused))

    finished = sluice("show", "doc_1")

    told = finished.stderr.decode()
    assert finished.returncode == code
    assert "Because. (some_code)" in told
    assert "Do this." in told
    assert "req_9" in told


def test_no_answer_and_wrong_usage_have_their_own_exit_codes(sluice):
    assert sluice("upload").returncode == 2
    assert sluice("status").returncode == 2
    assert sluice("upload", "x", "--attributes", "[1]").returncode == 2


def test_nobody_there_is_told_with_what_to_do(sluice):
    finished = sluice("list", "--url", "http://127.0.0.1:1")

    assert finished.returncode == 3
    assert b"SLUICE_URL" in finished.stderr


def test_a_command_of_the_local_stack_says_in_one_sentence_that_it_is_not_installed(sluice, monkeypatch):
    monkeypatch.setitem(sys.modules, "sluice_local", None)
    monkeypatch.delitem(sys.modules, "sluice_local.doctor", raising=False)

    finished = sluice("doctor")

    assert finished.returncode == 1
    assert finished.stderr.decode().splitlines() == [
        "sluice doctor needs the local stack: install the package sluice-local."
    ]


def test_ids_are_acted_on_one_by_one(sluice, script, answered, make_document):
    script.on("DELETE /v1/documents/a", answered(202, {"id": "a", "status": "deleting"}))
    script.on("DELETE /v1/documents/b", answered(202, {"id": "b", "status": "deleting"}))
    script.on("POST /v1/documents/a/reprocess", answered(202, make_document("queued", id="a")))

    deleted = sluice("delete", "a", "gone", "b")
    reprocessed = sluice("reprocess", "a", "--from", "embed", "--json")

    assert deleted.returncode == 5
    assert said(deleted).split() == ["a", "deleting", "b", "deleting"]
    assert json.loads(said(reprocessed)) == {"id": "a", "status": "queued"}
    assert json.loads(script.asked[-1].body) == {"from": "embed"}


def test_a_search_prints_where_each_passage_stands(sluice, script, answered):
    hit = {
        "document_id": "doc_1",
        "name": "n.pdf",
        "collection": "default",
        "chunk": 4,
        "text": "a\n\x1b[31mb",
        "score": 0.5,
    }
    script.on("POST /v1/search", answered(200, {"results": [{**hit, "page_start": 2, "page_end": 3}]}))

    finished = sluice("search", "two", "words", "--mode", "lexical", "--top-k", "3")

    assert said(finished).splitlines()[:2] == ["1. n.pdf, pages 2-3  (score 0.500)", "   a [31mb"]
    assert json.loads(script.asked[0].body) == {"query": "two words", "top_k": 3, "mode": "lexical"}


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ({"page_start": 3, "page_end": 3, "slide": 3, "section": "Prices"}, "slide 3, Prices"),
        ({"sheet": "매출\n2026"}, "sheet 매출 2026"),
        ({"time_start": 3725.5, "time_end": 3730}, "1:02:05"),
    ],
)
def test_a_search_names_the_slide_the_sheet_or_the_time(sluice, script, answered, place, shown):
    hit = {"document_id": "doc_1", "name": "n", "collection": "default", "chunk": 4, "text": "a", "score": 0.5}
    script.on("POST /v1/search", answered(200, {"results": [{**hit, **place}]}))

    finished = sluice("search", "words")

    assert said(finished).splitlines()[0] == f"1. n, {shown}  (score 0.500)"


def test_a_download_takes_no_path_from_the_name_and_overwrites_nothing(
    sluice, script, answered, make_document, tmp_path
):
    script.on("GET /v1/documents/doc_1", answered(200, make_document(name="../../up/evil.txt")))
    script.on("GET /v1/documents/doc_1/content", answered(200, raw=b"bytes"))

    first, second = sluice("download", "doc_1"), sluice("download", "doc_1")

    assert (first.returncode, second.returncode) == (0, 1)
    assert (tmp_path / "evil.txt").read_bytes() == b"bytes"


def test_a_reader_that_has_seen_enough_is_no_error(environment, script, answered, make_document):
    page = {"data": [make_document(id=str(n)) for n in range(100)], "next_cursor": "again"}
    script.on("GET /v1/documents", answered(200, page))

    process = subprocess.Popen(
        [sys.executable, "-m", "sluice_client.cli", "--json", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.readline()
    process.stdout.close()

    assert process.wait(30) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_the_key_is_taken_from_the_first_place_that_has_one(tmp_path, monkeypatch):
    home, below = tmp_path / "home", tmp_path / "project" / "below"
    home.mkdir()
    below.mkdir(parents=True)
    (home / "api-key").write_text("sk_home\n")
    (tmp_path / "project" / ".sluice").mkdir()
    (tmp_path / "project" / ".sluice" / "api-key").write_text("sk_project\n")
    monkeypatch.chdir(below)
    none, given = type("Options", (), {"api_key": None}), type("Options", (), {"api_key": "sk_option"})

    assert key_of(given, {"SLUICE_API_KEY": "sk_environment"}) == "sk_option"
    assert key_of(none, {"SLUICE_API_KEY": "sk_environment", "SLUICE_HOME": str(home)}) == "sk_environment"
    assert key_of(none, {"SLUICE_HOME": str(home)}) == "sk_home"
    assert key_of(none, {}) == "sk_project"


def test_wide_characters_take_two_cells_and_columns_stay_aligned():
    lines = list(aligned([("보고서", "x"), ("report", "y"), ("a", "z")]))

    assert [cell_len(line) for line in lines] == [9, 9, 9]
    assert cell_len(shortened("아주 긴 이름의 보고서.pdf", 12)) <= 12


def test_control_characters_never_reach_the_terminal():
    assert one_line("a\x1b]0;title\x07\r\nb\u202ec\u2028d") == "a ]0;title b c d"


ANALYSIS = {
    "object": "analysis",
    "duration_s": 75.4,
    "measures": {"loudness_lufs": -23.1, "speech_s": None},
    "labels": [
        {"label": "speech\x1b[2J", "confidence": 0.8, "votes": [{"member": "speech", "confidence": 0.8, "weight": 1}]}
    ],
    "members": [
        {"name": "speech", "kind": "built_in", "reason": None},
        {"name": "mood", "kind": "endpoint", "reason": "timeout"},
    ],
}


def test_a_page_is_written_to_a_file_of_its_own_and_overwrites_nothing(sluice, script, answered, tmp_path):
    script.on("GET /v1/documents/doc_1/pages/2.png", answered(200, raw=b"png"), answered(200, raw=b"other"))

    first, second = sluice("page", "doc_1", "2"), sluice("page", "doc_1", "2")

    assert (tmp_path / "doc_1-2.png").read_bytes() == b"png"
    assert (first.returncode, second.returncode) == (0, 1)


def test_an_analysis_is_shown_with_its_votes_and_who_was_left_out(sluice, script, answered):
    script.on("GET /v1/documents/doc_1/analysis", answered(200, ANALYSIS))

    shown = sluice("analysis", "doc_1")

    assert shown.returncode == 0
    assert " ".join(said(shown).split()) == "duration 0:01:15 loudness_lufs -23.1 0.80 speech [2J (speech 0.80)"
    assert b"mood was left out: timeout" in shown.stderr


def test_an_analysis_is_one_json_object_for_a_script(sluice, script, answered):
    script.on("GET /v1/documents/doc_1/analysis", answered(200, ANALYSIS))

    assert json.loads(said(sluice("analysis", "doc_1", "--json"))) == ANALYSIS


def test_a_document_without_an_analysis_says_so(sluice, script, answered):
    problem = {"code": "no_analysis", "detail": "It is no recording, or it is not ready yet."}
    script.on("GET /v1/documents/doc_1/analysis", answered(404, problem))

    shown = sluice("analysis", "doc_1")

    assert shown.returncode != 0
    assert b"no recording" in shown.stderr
