"""What `kubectl kustomize` makes of an overlay, and ways to look into it."""

import base64
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from conftest import missing

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("development", "production", "production+providers")
"""The overlays, and what somebody makes of them by adding a component."""

Manifest = dict[str, Any]


@cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    """Every object of an overlay."""
    if shutil.which("kubectl") is None:
        missing("kubectl is needed to render the overlays")
    base, *components = overlay.split("+")
    with tempfile.TemporaryDirectory() as folder:
        to_here = Path(os.path.relpath(FOLDER, Path(folder).resolve()))
        used = {"components": [str(to_here / "components" / name) for name in components]} if components else {}
        own = {"resources": [str(to_here / "overlays" / base)], **used}
        Path(folder, "kustomization.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
        done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, *kinds: str) -> list[Manifest]:
    return [manifest for manifest in rendered(overlay) if manifest["kind"] in kinds]


def name_of(manifest: Manifest) -> str:
    return manifest["metadata"]["name"]


def pods(overlay: str) -> Iterator[tuple[str, Manifest]]:
    """The template of every pod, by the name of what makes it."""
    for manifest in of_kind(overlay, "Deployment", "Job"):
        yield name_of(manifest), manifest["spec"]["template"]


def container_of(overlay: str, name: str) -> Manifest:
    (container,) = dict(pods(overlay))[name]["spec"]["containers"]
    return container


def settings_of(overlay: str, name: str) -> dict[str, str]:
    """The settings of a container: its own, secret or not, over those of its ConfigMaps; secrets as in the example."""
    container = container_of(overlay, name)
    configured = {name_of(found): found["data"] for found in of_kind(overlay, "ConfigMap")}
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        if "configMapRef" in source:
            found |= configured[source["configMapRef"]["name"]]
    for variable, (secret, key) in secret_settings_of(overlay, name).items():
        found[variable] = secrets(overlay)[secret][key]
    return found


def secret_settings_of(overlay: str, name: str) -> dict[str, tuple[str, str]]:
    """Which settings of a container come from which key of which Secret."""
    container = container_of(overlay, name)
    whole = [source["secretRef"]["name"] for source in container.get("envFrom", ()) if "secretRef" in source]
    found = {key: (secret, key) for secret in whole for key in secrets(overlay)[secret]}
    for variable in container.get("env", ()):
        reference = variable["valueFrom"]["secretKeyRef"]
        found[variable["name"]] = (reference["name"], reference["key"])
    return found


def secrets(overlay: str) -> dict[str, dict[str, str]]:
    """Every Secret that the overlay makes, or that it says somebody must make."""
    made = of_kind(overlay, "Secret")
    base, *components = overlay.split("+")
    for folder in (FOLDER / "overlays" / base, *(FOLDER / "components" / name for name in components)):
        example = folder / "secrets.example.yaml"
        if example.is_file():
            made += [manifest for manifest in yaml.safe_load_all(example.read_text("utf-8")) if manifest]
    return {name_of(secret): secret.get("stringData") or decoded(secret["data"]) for secret in made}


def decoded(values: dict[str, str]) -> dict[str, str]:
    return {name: base64.b64decode(value).decode() for name, value in values.items()}
