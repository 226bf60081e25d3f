"""The page of errors lists every code that a person may meet."""

import ast
import re

from pages import SOURCES, table_of, word

from sluice_api.presenting import UNREAD_PAGES
from sluice_api.problems import _CODE_BY_STATUS, TITLES
from sluice_common.adapters.openai_embeddings import _REJECTED
from sluice_common.errors import FAILURES

PAGE = "docs/reference/errors.md"


def calls(name: str) -> list[ast.Call]:
    """Every call of a function or a class of that name in the sources."""
    return [
        node
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == name
    ]


def statuses_by_code() -> dict[str, set[int]]:
    found: dict[str, set[int]] = {code: set() for code in TITLES}
    for call in calls("Problem"):
        status, code = call.args[0], call.args[1]
        if isinstance(status, ast.Constant) and isinstance(code, ast.Constant):
            found[code.value].add(status.value)
    for status, code in _CODE_BY_STATUS.items():
        found[code].add(status)
    return found


def test_every_failure_code_stands_on_the_page_with_its_sentence_and_remedy():
    assert table_of(PAGE, "Why a document failed") == [
        (word(code), "yes" if failure.retryable else "no", failure.en.sentence, failure.en.remedy)
        for code, failure in FAILURES.items()
    ]


def test_every_request_code_stands_on_the_page_with_its_title():
    shown = {code: title for code, _, title in table_of(PAGE, "Why a request was refused")}

    assert shown == {word(code): title for code, title in TITLES.items()}


def test_every_status_that_a_request_code_is_sent_with_stands_on_the_page():
    shown = {code: set(re.findall(r"\d{3}", status)) for code, status, _ in table_of(PAGE, "Why a request was refused")}

    for code, statuses in statuses_by_code().items():
        assert {str(status) for status in statuses} <= shown[word(code)], code


def test_every_warning_stands_on_the_page():
    said = {call.args[0].value for call in calls("Remark") if isinstance(call.args[0], ast.Constant)}
    written = said | UNREAD_PAGES | {"previous_version_served", "images_not_read"}

    assert {code for code, _ in table_of(PAGE, "Warnings")} == {word(code) for code in written}


def test_every_detail_code_stands_on_the_page():
    written = {
        keyword.value.value
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "detail_code" and isinstance(keyword.value, ast.Constant) and keyword.value.value
    }
    written |= {call.args[1].value for call in calls("_wrong")}
    written |= {f"http_{status}" for status in _REJECTED}
    shown = {code.strip("`") for code, *_ in table_of(PAGE, "Detail codes")}

    assert written <= shown
    assert {code for code in shown - written if not is_written(code)} == set()


def is_written(code: str) -> bool:
    return any(re.search(rf"[\"']{code}[\"']", path.read_text("utf-8")) for path in SOURCES)
