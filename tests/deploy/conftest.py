"""An engine for the modules that need one, with the images of this checkout and what docker-compose.yml names."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from deploy.containers.composing import Composed, open_composed
from deploy.containers.engine import Engine, build_flags, have_base, have_standins, kept_data, open_engine

STANDINS = {
    "postgres:15-bookworm": "postgres",
    "redis:7-bookworm": "redis",
    "nginx:1.28-bookworm": "nginx",
    "qdrant/qdrant:v1.16.3-unprivileged": "qdrant",
}


@pytest.fixture(scope="session")
def images_of_the_run(tmp_path_factory) -> Iterator[Path]:
    with kept_data(tmp_path_factory.mktemp("docker-data")) as folder:
        yield folder


@pytest.fixture(scope="module")
def engine(images_of_the_run, tmp_path_factory) -> Iterator[Engine]:
    """Not for the whole run: what comes after these modules must not share the machine with an engine."""
    folder = tmp_path_factory.mktemp("docker")
    with open_engine(folder, images_of_the_run) as engine:
        have_base(engine, folder)
        yield engine


@pytest.fixture(scope="module")
def images(engine) -> Engine:
    """The engine, with an image of each service, and with both of the extractor."""
    build = ("env", f"DOCKER_BUILD_FLAGS={' '.join(build_flags())}", "sh", "scripts/build_images.sh")
    engine.run(*build)
    engine.run(*build, "extractor")
    return engine


@pytest.fixture(scope="module")
def all_images(images) -> Engine:
    """The engine, with everything that docker-compose.yml names but the monitoring."""
    have_standins(images, STANDINS)
    return images


@pytest.fixture(scope="module")
def composed(all_images) -> Iterator[Composed]:
    with open_composed(all_images) as composed:
        yield composed
