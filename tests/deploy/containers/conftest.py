"""One engine for a run, with the images of this checkout and everything that docker-compose.yml names."""

from collections.abc import Iterator

import pytest
from deploy.containers.engine import Engine, build_flags, have_base, have_standins, open_engine

STANDINS = {
    "postgres:15-bookworm": "postgres",
    "redis:7-bookworm": "redis",
    "nginx:1.28-bookworm": "nginx",
    "qdrant/qdrant:v1.16.3-unprivileged": "qdrant",
}


@pytest.fixture(scope="session")
def engine(tmp_path_factory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("docker")
    with open_engine(folder) as engine:
        have_base(engine, folder)
        yield engine


@pytest.fixture(scope="session")
def images(engine) -> Engine:
    """The engine, with an image of each service."""
    engine.run("env", f"DOCKER_BUILD_FLAGS={' '.join(build_flags())}", "sh", "scripts/build_images.sh")
    return engine


@pytest.fixture(scope="session")
def all_images(images) -> Engine:
    """The engine, with everything that docker-compose.yml names but the monitoring."""
    have_standins(images, STANDINS)
    return images
