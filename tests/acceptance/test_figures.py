"""Figures over HTTP, on a local stack with a provider that describes them."""

from collections.abc import Iterator

import pytest
from conftest import system
from unit.extractor import figure_files, picture_files
from vision_server import SEEN, Seeing, vision_server

from sluice_client import SluiceClient
from sluice_local.postgres import VOLATILE
from sluice_local.stack import LocalStack

FIGURE = picture_files.picture("PNG", "a chart", size=(400, 240))


@pytest.fixture(scope="module")
def provider() -> Iterator[Seeing]:
    with vision_server() as provider:
        yield provider


@pytest.fixture(scope="module")
def client(tmp_path_factory, provider) -> Iterator[SluiceClient]:
    folder = tmp_path_factory.mktemp("seeing")
    environment = system(SLUICE_VISION__BASE_URL=provider.url, SLUICE_VISION__PATIENCE_S="0")
    with LocalStack(folder, environment=environment, postgres_settings=VOLATILE) as running:
        running.wait_until_ready()
        with SluiceClient(running.url, running.api_key) as client:
            yield client


def test_a_figure_is_found_by_what_it_shows(client):
    uploaded = client.upload(figure_files.docx_with(FIGURE), name="chart.docx", multimodal=True)

    document = client.wait(uploaded.id, timeout_s=200)

    assert document.status == "ready"
    assert "figures_not_described" not in {warning["code"] for warning in document.warnings}
    hits = client.search("how many litres does the coffee machine make on Monday", mode="lexical")
    assert f"[Figure: {SEEN}]" in hits[0].text


def test_nobody_sees_the_figures_of_a_document_that_does_not_ask_for_it(client, provider):
    seen = len(provider.asked)
    picture = picture_files.picture("PNG", "another chart", size=(400, 240))

    document = client.wait(client.upload(figure_files.docx_with(picture), name="plain.docx").id, timeout_s=200)

    assert (document.status, len(provider.asked)) == ("ready", seen)


def test_a_provider_that_is_away_is_a_warning_and_the_document_is_ready(client, provider):
    provider.status = 503
    picture = picture_files.picture("PNG", "a third chart", size=(400, 240))

    uploaded = client.upload(figure_files.odt_with(picture), name="chart.odt", multimodal=True)
    document = client.wait(uploaded.id, timeout_s=200)

    assert document.status == "ready"
    assert "figures_not_described" in {warning["code"] for warning in document.warnings}
