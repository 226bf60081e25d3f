"""The Kubernetes files are valid for several versions, and agree with the code that they start."""

import ipaddress
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import kubernetes_validate
import pytest
import yaml
from deploy.kubernetes.manifests import (
    FOLDER,
    OVERLAYS,
    ROOT,
    container_of,
    name_of,
    of_kind,
    pods,
    rendered,
    secret_settings_of,
    secrets,
    settings_of,
)
from jsonschema import Draft202012Validator
from pages import table_of

from sluice_api.reconciler import ReconcilerServiceSettings
from sluice_api.settings import ApiSettings
from sluice_common.settings import DatabaseOnlySettings, TimesSettings, known_names, load_settings
from sluice_common.times import times_of
from sluice_embedder.settings import EmbedderSettings
from sluice_extractor.settings import ExtractorSettings
from sluice_local.services import CLOSING_S

SERVICES = {
    "sluice-api": ApiSettings,
    "sluice-reconciler": ReconcilerServiceSettings,
    "sluice-extractor": ExtractorSettings,
    "sluice-embedder": EmbedderSettings,
    "sluice-migrate": DatabaseOnlySettings,
}
WORKERS = ("sluice-extractor", "sluice-embedder")
VERSIONS = ("1.29", "1.32", "1.35", "1.37")
OWN_SCHEMAS = {"ScaledObject", "ServiceMonitor", "PrometheusRule"}
GATEWAY_STOPS_S = 8
BYTES_OF_A_SECOND = 2 * 16_000
"""Of a recording that a member of the ensemble wants as a file."""


@pytest.fixture(params=OVERLAYS)
def overlay(request) -> str:
    return request.param


@pytest.fixture
def read(overlay, monkeypatch, tmp_path) -> Callable[[str], Any]:
    """Reads the settings of a service as it does when it starts."""
    monkeypatch.chdir(tmp_path)

    def read_settings(name: str):
        with monkeypatch.context() as environment:
            for variable, value in settings_of(overlay, name).items():
                environment.setenv(variable, value)
            return load_settings(SERVICES[name])

    return read_settings


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_strictly_valid(overlay, version):
    for manifest in rendered(overlay):
        if manifest["kind"] not in OWN_SCHEMAS:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_objects_of_other_projects_keep_the_schemas_written_here():
    found = [manifest for manifest in rendered("production") if manifest["kind"] in OWN_SCHEMAS]
    for manifest in found:
        schema = json.loads((FOLDER / "schemas" / f"{manifest['kind']}.json").read_text("utf-8"))
        errors = [error.message for error in Draft202012Validator(schema).iter_errors(manifest)]
        assert errors == []

    assert {manifest["kind"] for manifest in found} == OWN_SCHEMAS


def test_the_alerts_are_those_of_prometheus_but_for_the_disks_of_the_nodes():
    (rules,) = of_kind("production", "PrometheusRule")
    kept = {name_of_rule(rule): rule for group in rules["spec"]["groups"] for rule in group["rules"]}
    files = sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text("utf-8"))["groups"]]
    all_rules = {name_of_rule(rule): rule for group in groups for rule in group["rules"]}

    assert kept == {name: rule for name, rule in all_rules.items() if not name[0].startswith("SluiceDisk")}


def name_of_rule(rule) -> tuple[str, str]:
    return rule.get("alert") or rule["record"], json.dumps(rule.get("labels", {}), sort_keys=True)


def test_a_mistyped_field_of_a_scaled_object_is_noticed():
    schema = json.loads((FOLDER / "schemas" / "ScaledObject.json").read_text("utf-8"))
    (first, *_) = of_kind("production", "ScaledObject")
    mistyped = json.loads(json.dumps(first).replace("minReplicaCount", "minReplicas"))

    assert not Draft202012Validator(schema).is_valid(mistyped)


def test_nothing_but_known_kinds_is_made(overlay):
    plain = {"Namespace", "ServiceAccount", "ConfigMap", "Secret", "Service", "Deployment", "Job", "Ingress"}
    kinds = {manifest["kind"] for manifest in rendered(overlay)}

    assert kinds <= plain | OWN_SCHEMAS | {"HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_read_the_settings_it_is_given_and_gets_no_unknown_one(overlay, read, name):
    read(name)

    assert set(settings_of(overlay, name)) <= known_names()


def test_no_pod_gets_variables_that_kubernetes_makes_of_service_names(overlay):
    assert all(pod["spec"]["enableServiceLinks"] is False for _, pod in pods(overlay))


def test_a_pod_has_only_the_secrets_that_its_service_reads(overlay):
    for name, settings_type in SERVICES.items():
        variables = secret_settings_of(overlay, name)
        sections = {variable.removeprefix("SLUICE_").partition("__")[0].lower() for variable in variables}
        assert sections <= set(settings_type.model_fields), name


def test_every_secret_that_is_named_exists_and_none_is_left_over(overlay):
    named = {secret for name, _ in pods(overlay) for secret in secret_settings_of(overlay, name).values()}

    assert named == {(name, key) for name, values in secrets(overlay).items() for key in values}


def test_no_secret_stands_in_a_config_map(overlay):
    words = re.compile("password|secret|api_key|access_key", re.IGNORECASE)

    assert [key for found in of_kind(overlay, "ConfigMap") for key in found["data"] if words.search(key)] == []


def test_probes_and_services_use_ports_and_paths_that_the_code_has(overlay, read):
    routes = paths_of_the_gateway()
    for name, _ in pods(overlay):
        container = container_of(overlay, name)
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
        settings = read(name)
        assert ports == expected_ports(name, settings), name
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            if name != "sluice-migrate":
                probe = container[kind]["httpGet"]
                assert probe["path"] in (routes if probe["port"] == "http" else {"/metrics"}), (name, kind)


def paths_of_the_gateway() -> set[str]:
    """From the page, which another test compares with the code."""
    return {path.strip("`") for _, path, *_ in table_of("docs/reference/api.md", "Paths")}


def expected_ports(name: str, settings) -> dict[str, int]:
    if name == "sluice-migrate":
        return {}
    return {"metrics": settings.metrics.port} | ({"http": settings.http.port} if name == "sluice-api" else {})


def test_a_part_that_is_away_takes_no_gateway_out_of_service_and_restarts_none(overlay):
    container = container_of(overlay, "sluice-api")

    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] == "/livez"


def test_every_selector_finds_exactly_one_deployment(overlay):
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(overlay)}
    services = [manifest["spec"]["selector"] for manifest in of_kind(overlay, "Service")]
    budgets = [manifest["spec"]["selector"]["matchLabels"] for manifest in of_kind(overlay, "PodDisruptionBudget")]
    deployments = [manifest["spec"]["selector"]["matchLabels"] for manifest in of_kind(overlay, "Deployment")]
    spreads = [
        constraint["labelSelector"]["matchLabels"]
        for _, pod in pods(overlay)
        for constraint in pod["spec"].get("topologySpreadConstraints", ())
    ]

    for selector in services + budgets + deployments + spreads:
        assert len([name for name, found in labels.items() if selector.items() <= found.items()]) == 1, selector


def test_every_deployment_has_a_budget_for_disruptions(overlay):
    assert {name_of(budget) for budget in of_kind(overlay, "PodDisruptionBudget")} == {
        name_of(deployment) for deployment in of_kind(overlay, "Deployment")
    }


def test_every_deployment_but_the_reconciler_is_scaled_by_exactly_one_rule(overlay):
    rules = of_kind(overlay, "HorizontalPodAutoscaler", "ScaledObject")
    scaled = sorted(rule["spec"]["scaleTargetRef"]["name"] for rule in rules)

    assert scaled == ["sluice-api", "sluice-embedder", "sluice-extractor"]
    for deployment in of_kind(overlay, "Deployment"):  # a number there would undo the rule at each apply
        assert ("replicas" in deployment["spec"]) == (name_of(deployment) == "sluice-reconciler")


def test_service_monitors_find_a_service_and_its_port():
    services = {name_of(found): found for found in of_kind("production", "Service")}
    for monitor in of_kind("production", "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        found = [service for service in services.values() if wanted <= service["metadata"]["labels"].items()]
        assert len(found) == 1
        ports = {port["name"] for port in found[0]["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


def test_scaling_asks_for_metrics_that_exist_with_labels_that_they_have():
    documented = {name: labels for name, _, labels, _, _ in table_of("docs/reference/metrics.md", "Metrics")}
    for scaled in of_kind("production", "ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            asked = re.findall(r"(sluice_\w+)\{([^}]*)\}", trigger["metadata"]["query"])
            assert asked
            for metric, matchers in asked:
                labels = set(re.findall(r"(\w+)=", matchers)) - {"namespace"}
                assert labels <= set(re.findall(r"\w+", documented[f"`{metric}`"])), metric


def test_every_container_is_as_restricted_as_kubernetes_can_make_it(overlay):
    for name, pod in pods(overlay):
        of_pod, of_container = pod["spec"]["securityContext"], container_of(overlay, name)["securityContext"]
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert of_pod["runAsNonRoot"] is True
        assert of_pod["runAsUser"] > 10_000
        assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert of_container == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod["spec"])


def test_every_container_says_what_it_needs_and_has_a_limit_of_memory(overlay):
    for name, _ in pods(overlay):
        resources = container_of(overlay, name)["resources"]
        assert {"cpu", "memory"} <= set(resources["requests"])
        assert "memory" in resources["limits"]


def test_an_extractor_has_memory_for_all_its_children_and_the_pictures_that_are_recognised(overlay, read):
    settings = read("sluice-extractor")
    limit = container_of(overlay, "sluice-extractor")["resources"]["limits"]["memory"]

    children = settings.extraction.children * settings.extraction.memory_bytes
    pictures = settings.ocr.at_once * settings.ocr.memory_bytes
    assert bytes_of(limit) >= children + pictures + 512 * 2**20


def test_an_extractor_has_room_for_the_originals_and_the_sound_that_its_workers_have_in_hand(overlay, read):
    settings = read("sluice-extractor")
    (room,) = [volume["emptyDir"]["sizeLimit"] for volume in dict(pods(overlay))["sluice-extractor"]["spec"]["volumes"]]
    sound_bytes = int(settings.limits.max_audio_s * BYTES_OF_A_SECOND)
    wanted = settings.extraction.workers * (settings.limits.max_document_bytes + sound_bytes)

    assert bytes_of(room) >= wanted
    assert bytes_of(container_of(overlay, "sluice-extractor")["resources"]["limits"]["ephemeral-storage"]) > wanted


def bytes_of(quantity: str) -> int:
    units = {"Mi": 2**20, "Gi": 2**30}
    return int(quantity[:-2]) * units[quantity[-2:]]


def test_what_kubernetes_waits_before_it_kills_agrees_with_the_lease(overlay):
    lease_s = float(settings_of(overlay, "sluice-extractor")["SLUICE_TIMES__LEASE_S"])
    needed = times_of(TimesSettings(lease_s=lease_s)).stop_grace + timedelta(seconds=CLOSING_S)
    for name in WORKERS:
        granted = timedelta(seconds=dict(pods(overlay))[name]["spec"]["terminationGracePeriodSeconds"])
        assert granted >= needed, name

    gateway = dict(pods(overlay))["sluice-api"]["spec"]["terminationGracePeriodSeconds"]
    pause = container_of(overlay, "sluice-api")["lifecycle"]["preStop"]["exec"]["command"][-1]
    assert gateway >= int(re.search(r"sleep\((\d+)\)", pause)[1]) + GATEWAY_STOPS_S


def test_a_probe_gives_up_on_a_worker_only_when_its_lease_has_run_out(overlay):
    lease_s = float(settings_of(overlay, "sluice-extractor")["SLUICE_TIMES__LEASE_S"])
    for name in WORKERS:
        probe = container_of(overlay, name)["livenessProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] > lease_s


def test_nothing_may_talk_unless_a_rule_says_so(overlay):
    policies = {name_of(policy): policy["spec"] for policy in of_kind(overlay, "NetworkPolicy")}

    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert {name for name, _ in pods(overlay)} <= {
        policy["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/name") for policy in policies.values()
    }


def test_the_extractor_reaches_its_stores_and_neither_qdrant_nor_a_provider():
    policies = {name_of(policy): policy["spec"] for policy in of_kind("production", "NetworkPolicy")}
    rules = policies["sluice-extractor-out"]["egress"]
    reached = {port["port"] for rule in rules for port in rule["ports"]}
    networks = {target["ipBlock"]["cidr"] for rule in rules for target in rule["to"]}

    assert reached == {5432, 6379, 26379, 443}
    assert "0.0.0.0/0" not in networks


def test_a_way_out_to_providers_opens_no_private_network():
    before = {name_of(policy) for policy in of_kind("production", "NetworkPolicy")}
    policies = {name_of(policy): policy["spec"] for policy in of_kind("production+providers", "NetworkPolicy")}
    (added,) = set(policies) - before
    (rule,) = policies[added]["egress"]
    (target,) = rule["to"]
    closed = [ipaddress.ip_network(network) for network in target["ipBlock"]["except"]]

    assert policies[added]["podSelector"] == policies["sluice-extractor-out"]["podSelector"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 443}]
    for private in ("10.20.0.1", "172.31.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200"):
        assert any(ipaddress.ip_address(private) in network for network in closed), private


def test_the_way_in_has_every_public_path_and_none_of_the_admins(overlay):
    (ingress,) = of_kind(overlay, "Ingress")
    paths = [path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
    routes = [route for route in paths_of_the_gateway() if route.startswith("/v1/")]

    closed = [route for route in routes if not any(is_served(route, path) for path in paths)]
    assert closed
    assert all(route.startswith("/v1/admin/") for route in closed)


def is_served(route: str, path) -> bool:
    if path["pathType"] == "Exact":
        return route == path["path"]
    return f"{route}/".startswith(path["path"].rstrip("/") + "/")


def test_the_way_in_leaves_limits_to_the_gateway_and_holds_nothing_back(overlay):
    (ingress,) = of_kind(overlay, "Ingress")
    notes = {name.partition("/")[2]: value for name, value in ingress["metadata"]["annotations"].items()}

    assert notes["proxy-body-size"] == "0"
    assert notes["proxy-request-buffering"] == notes["proxy-buffering"] == "off"
    assert int(notes["proxy-read-timeout"]) > 30


def test_originals_are_in_s3_because_a_folder_cannot_be_shared(read):
    settings = read("sluice-api")

    assert settings.objects.kind == "s3"
    assert settings.objects.bucket


def test_images_have_a_version_and_never_latest(overlay):
    images = {container_of(overlay, name)["image"] for name, _ in pods(overlay)}

    assert all(re.search(r"/(api|extractor-full|embedder):\d+\.\d+\.\d+$", image) for image in images)


def test_the_migration_only_reaches_postgresql(overlay):
    policies = {name_of(policy): policy["spec"] for policy in of_kind(overlay, "NetworkPolicy")}

    assert [port["port"] for rule in policies["sluice-migrate-out"]["egress"] for port in rule["ports"]] == [5432]


def test_the_components_can_be_exchanged():
    scaled = {manifest["spec"]["scaleTargetRef"]["name"] for manifest in of_kind("production", "ScaledObject")}
    file = FOLDER / "components" / "hpa" / "autoscalers.yaml"
    plain = {manifest["spec"]["scaleTargetRef"]["name"] for manifest in yaml.safe_load_all(file.read_text("utf-8"))}

    assert scaled == plain
