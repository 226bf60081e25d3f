"""What the pages tell people to type can be typed; `tests/architecture/test_samples_reference.py` runs it."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import takewhile

import pytest
from pages import ROOT, blocks_of, pages

from sluice_client.cli import command_line
from sluice_local.main import _parser

PAGES = [str(page.relative_to(ROOT)) for page in pages()]
SHELLS = {"sh", "bash"}
_NAMED = re.compile(r"`((?:make|(?:\.venv/bin/)?sluice(?:-local)?) [^`]+)`")


def lines_of(page: str) -> Iterator[str]:
    """Every line in the shell blocks of a page, and every command of ours that its text names."""
    for block in blocks_of(page):
        if block.language in SHELLS:
            yield from block.text.replace("\\\n", " ").splitlines()
    yield from _NAMED.findall((ROOT / page).read_text("utf-8"))


def commands(*programs: str) -> list[list[str]]:
    """The arguments of every call of one of *programs* on any page, up to the end of its command."""
    lines = [line for page in PAGES for line in lines_of(page)]
    return [words_of(line)[1:] for line in lines if line.split(" ")[0] in programs]


def words_of(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(takewhile(lambda word: not set(word) <= set("();<>|&"), lexer))


@pytest.mark.parametrize("page", PAGES)
def test_every_shell_sample_is_proper_shell(page):
    for block in blocks_of(page):
        if block.language in SHELLS:
            done = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_every_python_sample_outside_the_walkthrough_compiles(page):
    for block in blocks_of(page):
        if block.language == "python" and not page.endswith("walkthrough.md"):
            compile(block.text, page, "exec")


def test_every_call_of_the_command_line_is_one_that_it_knows():
    calls = commands(".venv/bin/sluice", "sluice")

    assert calls
    for arguments in calls:
        command_line().parse_args(arguments)


def test_every_call_of_the_local_stack_is_one_that_it_knows():
    calls = commands(".venv/bin/sluice-local", "sluice-local")

    assert calls
    for arguments in calls:
        _parser().parse_args(arguments)


def test_every_target_of_make_is_there():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    asked = {word for arguments in commands("make") for word in arguments if "=" not in word}

    assert asked
    assert asked <= targets


def test_both_readmes_have_the_same_samples():
    english, korean = (
        [block.text for block in blocks_of(page) if block.language in SHELLS] for page in ("README.md", "README.ko.md")
    )

    assert english == korean
