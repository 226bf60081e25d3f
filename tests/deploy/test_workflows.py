"""The workflows are valid, ask for no more rights than they need, and call targets that exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(params=WORKFLOWS, ids=lambda file: file.stem)
def workflow(request) -> Path:
    return request.param


def test_a_workflow_has_the_form_that_github_expects(workflow):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_a_workflow_may_only_read_unless_a_job_says_otherwise(workflow):
    assert yaml.safe_load(workflow.read_text("utf-8"))["permissions"] == {"contents": "read"}


def test_every_make_target_of_a_workflow_exists(workflow):
    called = set(re.findall(r"\bmake ([a-z][a-z -]*)", workflow.read_text("utf-8")))
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))

    assert {target for line in called for target in line.split()} <= targets


def test_every_action_and_image_has_a_version(workflow):
    text = workflow.read_text("utf-8")

    assert all("@v" in used for used in re.findall(r"uses: (\S+)", text))
    assert all(re.search(r":v?\d", image) for image in re.findall(r"image: (\S+)", text))
