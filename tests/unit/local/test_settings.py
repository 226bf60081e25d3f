from pathlib import Path

import pytest

from sluice_common.settings import SettingsError
from sluice_local.main import openai_settings
from sluice_local.ports import Choices
from sluice_local.settings import default_home, given_from, read_given
from sluice_local.stack import Home, LocalStack, parts_replaced_by, settings_of


def settings_with(tmp_path: Path, without=(), **variables: str) -> dict[str, str]:
    given = given_from(variables)
    replaced = parts_replaced_by(given) | set(without)
    return settings_of(Choices(tmp_path / "parts.json"), Home(tmp_path), given, replaced)


def test_services_get_their_settings_and_of_the_rest_only_what_a_program_needs(tmp_path):
    settings = settings_with(
        tmp_path,
        PATH="/bin",
        LANG="ko_KR.UTF-8",
        SSL_CERT_FILE="/ca.pem",
        OPENAI_API_KEY="sk-stray",
        AWS_SECRET_ACCESS_KEY="stray",
        SLUICE_LIMITS__MAX_PAGES="7",
        SLUICE_API_KEY="of the client",
    )

    assert settings["PATH"] == "/bin"
    assert settings["LANG"] == "ko_KR.UTF-8"
    assert settings["SSL_CERT_FILE"] == "/ca.pem"
    assert settings["SLUICE_LIMITS__MAX_PAGES"] == "7"
    assert not {"OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "SLUICE_API_KEY"} & set(settings)


def test_a_stray_openai_key_sends_documents_nowhere(tmp_path):
    settings = settings_with(tmp_path, OPENAI_API_KEY="sk-stray")

    assert settings["SLUICE_EMBEDDINGS__BASE_URL"].startswith("http://127.0.0.1:")
    assert "sk-stray" not in settings.values()


def test_openai_is_used_only_when_asked_for():
    chosen = openai_settings(given_from({"OPENAI_API_KEY": "sk-mine"}))

    assert chosen == {
        "SLUICE_EMBEDDINGS__BASE_URL": "https://api.openai.com/v1",
        "SLUICE_EMBEDDINGS__MODEL": "text-embedding-3-small",
        "SLUICE_EMBEDDINGS__API_KEY": "sk-mine",
    }


def test_asking_for_openai_without_a_key_is_refused():
    with pytest.raises(SettingsError, match="OPENAI_API_KEY"):
        openai_settings(given_from({}))


def test_an_address_in_the_settings_replaces_the_part(tmp_path):
    settings = settings_with(tmp_path, SLUICE_QDRANT__URL="http://vectors:6333")

    assert settings["SLUICE_QDRANT__URL"] == "http://vectors:6333"
    assert "SLUICE_QDRANT__API_KEY" not in settings
    assert parts_replaced_by(given_from({"SLUICE_QDRANT__URL": "http://vectors:6333"})) == {"qdrant"}


def test_a_part_that_is_left_out_needs_an_address(tmp_path):
    with pytest.raises(SettingsError, match="SLUICE_BROKER__URL"):
        settings_with(tmp_path, without={"redis"})


def test_the_address_of_a_provider_needs_a_model(tmp_path):
    with pytest.raises(SettingsError, match="SLUICE_EMBEDDINGS__MODEL"):
        settings_with(tmp_path, SLUICE_EMBEDDINGS__BASE_URL="https://models.example/v1")


def test_services_do_not_read_the_env_file_a_second_time(tmp_path):
    assert not Path(settings_with(tmp_path)["SLUICE_ENV_FILE"]).is_file()


def test_the_environment_wins_over_the_env_file(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("SLUICE_PORT=9001\nSLUICE_LIMITS__MAX_PAGES=5\nOTHER=1\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLUICE_PORT", "9002")

    given = read_given()

    assert given.local.port == 9002
    assert given.services["SLUICE_LIMITS__MAX_PAGES"] == "5"


def test_a_typing_mistake_in_the_environment_is_named(monkeypatch):
    monkeypatch.setenv("SLUICE_LIMITS__MAX_PAGE", "5")

    with pytest.raises(SettingsError, match="SLUICE_LIMITS__MAX_PAGE: there is no such setting"):
        read_given()


def test_a_relative_object_folder_counts_from_where_the_person_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert given_from({"SLUICE_OBJECTS__ROOT": "bytes"}).services["SLUICE_OBJECTS__ROOT"] == str(tmp_path / "bytes")


def test_the_home_is_in_the_root_of_the_project():
    assert default_home().name == ".sluice"
    assert (default_home().parent / "libs" / "local").is_dir()


@pytest.mark.parametrize("wrong", [{"scale": {"extractors": 2}}, {"without": {"mongo"}}])
def test_a_name_that_is_no_part_or_service_is_refused(tmp_path, wrong):
    with pytest.raises(SettingsError, match="there is no"):
        LocalStack(tmp_path, **wrong)
