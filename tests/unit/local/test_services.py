import pytest

from sluice_common.settings import SettingsError, TimesSettings
from sluice_common.times import times_of
from sluice_local.ports import Choices
from sluice_local.services import create_key_command, service, vector_server


@pytest.fixture
def choices(tmp_path):
    return Choices(tmp_path / "parts.json")


@pytest.mark.parametrize(
    ("kind", "module"),
    [
        ("api", "sluice_api.main"),
        ("reconciler", "sluice_api.reconciler"),
        ("extractor", "sluice_extractor.main"),
        ("embedder", "sluice_embedder.main"),
    ],
)
def test_a_service_is_started_as_its_image_starts_it(choices, kind, module):
    assert service(kind, kind, choices, {}).command[1:] == ["-P", "-m", module]


def test_a_worker_has_more_time_to_stop_than_it_takes_to_hand_its_work_back(choices):
    stop_grace = times_of(TimesSettings()).stop_grace

    assert service("embedder2", "embedder", choices, {}).stop_grace_s > stop_grace.total_seconds()


def test_every_service_has_metrics_of_its_own_on_the_loopback_address(choices):
    specs = [service(name, "extractor", choices, {}) for name in ("extractor", "extractor2")]

    assert {spec.environment["SLUICE_METRICS__HOST"] for spec in specs} == {"127.0.0.1"}
    assert len({spec.environment["SLUICE_METRICS__PORT"] for spec in specs}) == 2
    assert [spec.url for spec in specs] == [
        f"http://127.0.0.1:{spec.environment['SLUICE_METRICS__PORT']}" for spec in specs
    ]


def test_the_gateway_is_told_its_port(choices):
    choices.use_port("api", 8000)

    spec = service("api", "api", choices, {})

    assert (spec.url, spec.environment["SLUICE_HTTP__PORT"]) == ("http://127.0.0.1:8000", "8000")


def test_a_wrong_time_is_named(choices):
    with pytest.raises(SettingsError, match="SLUICE_TIMES__"):
        service("extractor", "extractor", choices, {"SLUICE_TIMES__LEASE_S": "long"})


def test_no_password_stands_on_a_command_line(choices, tmp_path):
    spec = vector_server(tmp_path / "qdrant", choices, {})

    assert choices.secret("qdrant") not in " ".join(spec.command)
    assert (tmp_path / "qdrant-api-key").read_text() == choices.secret("qdrant")


def test_keys_are_made_by_the_admin_command_of_the_gateway():
    assert create_key_command("default", "read,write,admin", "local")[1:] == [
        *("-P", "-m", "sluice_api.admin", "create-key", "--tenant", "default"),
        *("--scopes", "read,write,admin", "--name", "local"),
    ]
