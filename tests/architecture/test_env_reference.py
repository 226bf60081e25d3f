"""`.env.example` can be taken as it is, and line by line."""

import re

import pytest
from pages import ROOT
from pydantic_settings import DotEnvSettingsSource

from sluice_api.reconciler import ReconcilerServiceSettings
from sluice_api.settings import ApiSettings
from sluice_common.settings import SettingsError, known_names, load_settings
from sluice_embedder.settings import EmbedderSettings
from sluice_extractor.settings import ExtractorSettings
from sluice_local.settings import given_from

EXAMPLE = ROOT / ".env.example"
SERVICES = (ApiSettings, ReconcilerServiceSettings, ExtractorSettings, EmbedderSettings)
OF_OTHERS = {"OPENAI_API_KEY"}


def variables_of(text: str, folder) -> dict[str, str]:
    """The variables as the services' own reader understands the file."""
    file = folder / ".env"
    file.write_text(text, encoding="utf-8")
    source = DotEnvSettingsSource(ApiSettings, env_file=file, case_sensitive=True)
    return {name: value for name, value in source.env_vars.items() if value is not None}


@pytest.fixture
def example(tmp_path) -> dict[str, str]:
    """Every line of the example switched on."""
    text = EXAMPLE.read_text(encoding="utf-8")
    return variables_of(re.sub(r"^#(?=[A-Z_]+=)", "", text, flags=re.MULTILINE), tmp_path)


def test_a_copy_of_the_example_changes_nothing(tmp_path):
    assert variables_of(EXAMPLE.read_text(encoding="utf-8"), tmp_path) == {}


def test_every_name_in_the_example_is_a_setting(example):
    assert set(example) - known_names() == OF_OTHERS


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.__name__)
def test_every_service_starts_with_the_values_of_the_example(service, example, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").unlink()
    settings = {name: value for name, value in example.items() if name not in OF_OTHERS}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    try:
        load_settings(service)
    except SettingsError as error:
        pytest.fail(str(error))


def test_the_local_stack_reads_the_example(example):
    given = given_from(example)

    assert given.local.port == 8000
    assert set(given.services) == {name for name in example if "__" in name}
