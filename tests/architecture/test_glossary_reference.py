"""The words of the glossary, and those that no name in the code may have."""

import ast
import re

from pages import ROOT, SOURCES, section_of, table_of

PAGE = "docs/glossary.md"
ALLOWED = {
    "data_received": "asyncio's own name",
    "_data_folder": "PostgreSQL's own word for it",
    "FailureInfo": "older than the rule, and used by every service",
}


def defined_names() -> dict[str, str]:
    """Every module, class and function, with where it stands."""
    found = {}
    for path in SOURCES:
        found[path.stem] = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found[node.name] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return found


def words_in(name: str) -> list[str]:
    return [part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)]


def test_no_name_has_a_forbidden_word():
    forbidden = set(re.findall(r"^- `(\w+)`", section_of(PAGE, "Words that no name has"), re.MULTILINE))
    assert forbidden, "the page lists them"

    wrong = {
        name: where
        for name, where in defined_names().items()
        if forbidden & set(words_in(name)) and name not in ALLOWED
    }

    assert wrong == {}


def test_every_exception_is_still_needed():
    assert set(ALLOWED) <= set(defined_names())


def test_every_word_is_explained_once_and_in_one_sentence():
    words = table_of(PAGE, "Words")

    assert len({entry[0] for entry in words}) == len(words)
    for entry in words:
        assert entry[1].count(". ") == 0, entry
        assert entry[1].endswith("."), entry
