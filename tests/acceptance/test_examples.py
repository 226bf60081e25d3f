"""The examples do against a running stack what their page says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(params=["poll.py", "poll.mjs"])
def example(request):
    if request.param.endswith(".py"):
        return [sys.executable, str(EXAMPLES / request.param)]
    node = shutil.which("node")
    if node is None and os.environ.get("CI") == "true":
        pytest.fail("node is missing, and in CI every example must be run")
    if node is None:
        pytest.skip("node is not installed")
    return [node, str(EXAMPLES / request.param)]


def run(example, stack, *arguments):
    environment = {**os.environ, "SLUICE_URL": stack.url, "SLUICE_API_KEY": stack.api_key, "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [*example, *arguments],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def test_an_example_uploads_polls_and_finds(example, stack, tmp_path):
    document = tmp_path / f"수달 {Path(example[1]).suffix[1:]}.txt"
    document.write_text(f"Otters hold hands while they sleep. Written for {example[1]}.\n", encoding="utf-8")

    finished = run(example, stack, str(document), "how do otters sleep")

    assert finished.returncode == 0, finished.stderr
    assert f"uploaded {document.name} as doc_" in finished.stdout
    assert "100 %  ready" in finished.stdout
    assert "Otters hold hands" in finished.stdout


def test_an_example_ends_with_one_and_tells_the_code_when_the_document_fails(example, stack, tmp_path):
    document = tmp_path / f"blank {Path(example[1]).suffix[1:]}.txt"
    document.write_text(" \n" * (10 + len(example[1])), encoding="utf-8")

    finished = run(example, stack, str(document), "anything")

    assert finished.returncode == 1, finished.stderr
    assert "failed: empty:" in finished.stdout
