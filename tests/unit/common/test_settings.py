"""Settings: from the environment and a UTF-8 .env file, refused by name."""

import os

import pytest

from sluice_common.settings import EmbeddingsSettings, QdrantSettings, ServiceSettings, SettingsError, load_settings

MINIMAL = {"SLUICE_DATABASE__URL": "postgresql://u:p@h/d", "SLUICE_BROKER__URL": "redis://h/0"}


class ExampleSettings(ServiceSettings):
    embeddings: EmbeddingsSettings | None = None
    qdrant: QdrantSettings | None = None


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Loads with exactly these variables and this .env file."""

    def load(variables: dict[str, str], env_file: bytes | None = None):
        for name in [name for name in os.environ if name.startswith("SLUICE_")]:
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        if env_file is not None:
            (tmp_path / ".env").write_bytes(env_file)
        return load_settings(ExampleSettings)

    return load


def test_an_empty_variable_leaves_what_may_be_unset_unset(load):
    settings = load({**MINIMAL, "SLUICE_BROKER__SENTINEL_PASSWORD": ""})

    assert settings.broker.sentinel_password is None


def test_an_empty_variable_is_no_value_where_one_is_needed(load):
    with pytest.raises(SettingsError, match="SLUICE_TIMES__LEASE_S"):
        load({**MINIMAL, "SLUICE_TIMES__LEASE_S": ""})


def test_the_environment_is_read_by_section(load):
    settings = load({**MINIMAL, "SLUICE_TIMES__LEASE_S": "4"})

    assert settings.times.lease_s == 4
    assert settings.database.url == "postgresql+psycopg://u:p@h/d"


def test_a_wrong_value_is_refused_by_its_name(load):
    with pytest.raises(SettingsError, match="SLUICE_TIMES__LEASE_S"):
        load({**MINIMAL, "SLUICE_TIMES__LEASE_S": "soon"})


def test_a_missing_value_is_refused_by_its_name(load):
    with pytest.raises(SettingsError, match="SLUICE_BROKER"):
        load({"SLUICE_DATABASE__URL": "postgresql://h/d"})


def test_an_unknown_name_in_the_environment_is_a_typing_mistake(load):
    with pytest.raises(SettingsError, match="SLUICE_TIMES__LEESE_S"):
        load({**MINIMAL, "SLUICE_TIMES__LEESE_S": "4"})


def test_settings_of_other_services_and_programs_are_ignored(load):
    env_file = b"SLUICE_TIMES__LEESE_S=4\nOTHER=x\n"

    assert load({**MINIMAL, "SLUICE_HTTP__PORT": "1", "UNRELATED": "y"}, env_file).times.lease_s == 60


def test_the_env_file_is_utf_8_and_the_environment_wins(load):
    env_file = "SLUICE_EMBEDDINGS__MODEL=한국어-모델\nSLUICE_TIMES__LEASE_S=7\n".encode()
    base = {"SLUICE_EMBEDDINGS__BASE_URL": "http://h/v1", "SLUICE_TIMES__LEASE_S": "9"}

    settings = load({**MINIMAL, **base}, env_file)

    assert settings.embeddings.model == "한국어-모델"
    assert settings.times.lease_s == 9


PARTS = {
    "SLUICE_EMBEDDINGS__BASE_URL": "http://h/v1",
    "SLUICE_EMBEDDINGS__MODEL": "m",
    "SLUICE_QDRANT__URL": "http://q",
}


def test_the_longest_waits_follow_from_the_lease(load):
    settings = load({**MINIMAL, **PARTS, "SLUICE_TIMES__LEASE_S": "12"})

    assert (settings.embeddings.timeout_s, settings.qdrant.timeout_s) == (6, 2)


def test_a_wait_that_is_set_is_not_derived(load):
    settings = load({**MINIMAL, **PARTS, "SLUICE_TIMES__LEASE_S": "12", "SLUICE_QDRANT__TIMEOUT_S": "3"})

    assert (settings.embeddings.timeout_s, settings.qdrant.timeout_s) == (6, 3)


def test_waits_that_do_not_fit_into_the_lease_are_refused_by_their_names(load):
    with pytest.raises(SettingsError, match=r"SLUICE_EMBEDDINGS__TIMEOUT_S and .*, 70 s together.*LEASE_S, 60 s"):
        load({**MINIMAL, **PARTS, "SLUICE_EMBEDDINGS__TIMEOUT_S": "60"})


def test_secrets_do_not_show_when_settings_are_printed(load):
    variables = {"SLUICE_EMBEDDINGS__BASE_URL": "http://h/v1", "SLUICE_EMBEDDINGS__MODEL": "m"}
    settings = load({**MINIMAL, **variables, "SLUICE_EMBEDDINGS__API_KEY": "sk-very-secret"})

    assert "sk-very-secret" not in repr(settings)


def test_a_setting_may_stand_in_a_file_of_its_own(load, tmp_path):
    (tmp_path / "address").write_text("postgresql://u:from-file@h/d\n", encoding="utf-8")

    settings = load(
        {"SLUICE_DATABASE__URL_FILE": str(tmp_path / "address"), "SLUICE_BROKER__URL": "redis://h/0"},
        env_file=b"SLUICE_DATABASE__URL=postgresql://u:from-env-file@h/d\n",
    )

    assert settings.database.url == "postgresql+psycopg://u:from-file@h/d"


def test_a_file_of_a_setting_that_cannot_be_read_is_refused_by_its_name(load, tmp_path):
    with pytest.raises(SettingsError, match="SLUICE_DATABASE__URL_FILE"):
        load({**MINIMAL, "SLUICE_DATABASE__URL_FILE": str(tmp_path / "nowhere")})


def test_a_file_of_what_is_no_setting_is_a_typing_mistake(load):
    with pytest.raises(SettingsError, match="SLUICE_DATABASE__ULR_FILE"):
        load({**MINIMAL, "SLUICE_DATABASE__ULR_FILE": "/anywhere"})
