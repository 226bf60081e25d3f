"""The samples of the pages are run against a real stack."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pages import blocks_of

from sluice_extractor.parsing.original import Original
from sluice_local.stack import LocalStack

RUN = (
    "README.md",
    "docs/reference/api.md",
    "docs/howto/upload-a-folder.md",
    "docs/howto/watch-progress.md",
    "docs/howto/find-out-why-a-document-failed.md",
)
STRICT = """
set -eu
curl() { command curl --fail-with-body "$@"; }
"""
BIN = Path(sys.executable).parent


def script_of(page: str, stack: LocalStack) -> str:
    """Every sample of the page in order, told where this stack is."""
    samples = [block.text for block in blocks_of(page) if block.language == "sh"]
    assert samples, f"{page} has no samples"
    written = STRICT + "\n".join(samples)
    return written.replace("http://127.0.0.1:8000", stack.url).replace(".venv/bin/", f"{BIN}/")


@pytest.mark.parametrize("page", RUN)
def test_the_samples_of_a_page_work_as_they_stand(page, stack, tmp_path):
    (tmp_path / ".sluice").mkdir()
    (tmp_path / ".sluice" / "api-key").write_text(stack.api_key + "\n", encoding="utf-8")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}

    done = subprocess.run(
        ["/bin/sh", "-c", script_of(page, stack)],
        cwd=tmp_path,
        env=variables | {"SLUICE_URL": stack.url},
        capture_output=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, (done.stdout + done.stderr).decode("utf-8", "replace")[-3000:]


def test_the_reader_of_the_how_to_reads():
    sample = next(block for block in blocks_of("docs/howto/add-a-file-format.md") if block.language == "python")
    defined: dict = {}
    exec(compile(sample.text, "add-a-file-format.md", "exec"), defined)
    original = Original(b"ACME1\nTide table\n\nHigh water at nine.\n", "tides.acme")

    document = defined["read_acme"](original)

    assert defined["fits_acme"](original)
    page = next(document.pages)
    assert page.headings[0].title == "Tide table"
    assert "High water at nine." in page.text
