"""Looks inside the images that were built."""

import json
import re
import sys

import pytest
from deploy.containers.engine import ROOT

VERSION = "0.1.0"
OURS = ("api", "extractor", "embedder")
SERVICES = (*OURS, "embeddings")
# charset_normalizer is everywhere, because what sends traces needs requests, which needs it
PARSERS = ("pypdf", "pypdfium2", "selectolax", "lxml", "markdown_it", "olefile", "compressed_rtf", "xlrd")
WEB = ("fastapi", "starlette", "uvicorn")
FOREIGN = {
    "api": (*PARSERS, "sluice_extractor", "sluice_embedder", "sluice_local"),
    "extractor": (*WEB, "openai", "qdrant_client", "sluice_api", "sluice_embedder", "sluice_local"),
    "embedder": (*WEB, *PARSERS, "boto3", "sluice_api", "sluice_extractor", "sluice_local"),
    "embeddings": ("sqlalchemy", "psycopg", "dramatiq", "pypdf", "sluice_common", "sluice_api"),
}
TOOLS = ("gcc", "cc", "g++", "make", "hatchling", "uv")


def image_of(service: str) -> str:
    return f"sluice/{service}:{VERSION}"


def in_image(engine, service: str, *command: str) -> str:
    walls = ["--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    return engine.docker("run", *walls, "--network", "none", image_of(service), *command)


def inspected(engine, service: str) -> dict:
    return json.loads(engine.docker("image", "inspect", image_of(service)))[0]


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_carries_only_what_its_service_needs(images, service):
    program = f"import importlib.util as u; print([n for n in {FOREIGN[service]!r} if u.find_spec(n)])"

    assert in_image(images, service, "python", "-P", "-c", program).strip() == "[]"


@pytest.mark.parametrize("service", SERVICES)
def test_no_compiler_and_no_build_tool_is_in_an_image(images, service):
    program = f"import shutil; print([n for n in {TOOLS!r} if shutil.which(n)])"

    assert in_image(images, service, "python", "-P", "-c", program).strip() == "[]"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_runs_as_nobody_in_particular_and_may_write_nowhere(images, service):
    program = (
        "import os; print(os.getuid(), os.getgid(), [p for p in ('/', '/opt/sluice', '/etc') if os.access(p, os.W_OK)])"
    )

    assert in_image(images, service, "python", "-P", "-c", program).strip() == "10001 10001 []"


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_of_the_machine_that_built_an_image_is_in_it(images, service):
    facts = inspected(images, service)
    history = images.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image_of(service))
    told = json.dumps(facts["Config"]) + history

    assert "index-url" not in told
    assert "proxy" not in told.lower()
    program = "import os; print([p for p in ('/etc/pip.conf', '/root/.pip', '/root/.config/pip') if os.path.exists(p)])"
    assert in_image(images, service, "python", "-P", "-c", program).strip() == "[]"


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_says_what_it_is_and_how_it_is_checked(images, service):
    config = inspected(images, service)["Config"]

    assert config["Labels"]["org.opencontainers.image.title"] == f"sluice-{service}"
    assert config["Labels"]["org.opencontainers.image.version"] == VERSION
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["User"] == "10001:10001"


@pytest.mark.parametrize("service", SERVICES)
def test_the_sbom_of_an_image_names_exactly_what_is_in_it(images, service):
    images.run(sys.executable, "scripts/make_sbom.py", service)

    listed = json.loads((ROOT / f"build/sbom/sluice-{service}-{VERSION}.cdx.json").read_text())["components"]
    # what the image's user may not look into, root's folders, has no packages either
    find = "find / -xdev -name '*.dist-info' -printf '%f\\n' 2> /dev/null || true"
    folders = in_image(images, service, "sh", "-c", find)
    debian = in_image(images, service, "dpkg-query", "--show", "--showformat", "${Package} ${Version}\n")
    assert named(listed, "pypi") == {
        canonical(*found.removesuffix(".dist-info").split("-")) for found in folders.splitlines()
    }
    assert named(listed, "deb") == {tuple(line.split()) for line in debian.splitlines()}
    assert [one["version"] for one in listed if one["name"] == "sluice-common"] == [VERSION] * (service in OURS)


def named(components: list[dict], kind: str) -> set[tuple[str, ...]]:
    return {(one["name"], one["version"]) for one in components if one["purl"].startswith(f"pkg:{kind}/")}


def canonical(name: str, version: str) -> tuple[str, str]:
    return re.sub(r"[-_.]+", "-", name).lower(), version


def test_the_extractors_walls_hold_inside_a_container(images):
    program = (
        "import os; from sluice_extractor.sandbox import walls as w\n"
        "prepared = w.prepare_walls(w.readable_trees()); server = os.getpid()\n"
        "if os.fork() == 0:\n"
        "    held = w.build_walls(prepared, memory_bytes=2**30, cpu_s=9, cpu_max_s=9, server_pid=server)\n"
        "    print(' '.join(held), flush=True); os._exit(0)\n"
        "os.wait()"
    )

    held = in_image(images, "extractor", "python", "-P", "-c", program).split()

    assert {"memory", "cpu", "file_size", "no_new_privileges", "parent_death", "seccomp"} <= set(held)
