"""The page of the HTTP interface has every path that the gateway has."""

from typing import Self

import pytest
from pages import section_of, table_of, word

from sluice_api.app import create_app
from sluice_api.settings import ApiSettings

PAGE = "docs/reference/api.md"
SETTINGS = ApiSettings.model_validate(
    {
        "database": {"url": "postgresql://localhost/none"},
        "broker": {"url": "redis://localhost/0"},
        "qdrant": {"url": "http://localhost"},
        "embeddings": {"base_url": "http://localhost/v1", "model": "none"},
        "objects": {},
    }
)


class Unopened:
    """Stands for every part: the paths are known before one of them is opened."""

    settings = SETTINGS

    def __getattr__(self, name: str) -> Self:
        return self


@pytest.fixture(scope="module")
def operations() -> set[tuple[str, str]]:
    paths = create_app(Unopened()).openapi()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


def test_every_path_stands_on_the_page_and_no_other(operations):
    shown = {(method, path.strip("`")) for method, path, *_ in table_of(PAGE, "Paths")}

    assert shown == operations


def test_every_path_has_a_sample(operations):
    samples = section_of(PAGE, "Samples")

    for method, path in operations:
        assert word(f"{method} {path}") in samples, f"there is no sample of {method} {path}"
