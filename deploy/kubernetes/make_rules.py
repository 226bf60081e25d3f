"""Writes the rules of Prometheus as an object of its operator: `make rules`."""

import sys
from pathlib import Path
from typing import Any  # YAML has no narrower type

import yaml

DEPLOY = Path(__file__).parents[1]
WRITTEN = DEPLOY / "kubernetes" / "components" / "monitoring" / "rules.yaml"
HEAD = "# Written by `make rules` from deploy/prometheus/rules; the disks of the nodes are the cluster's business.\n"
OF_THE_CLUSTER = "SluiceDisk"


def main() -> int:
    files = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    made = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "sluice"},
        "spec": {"groups": [_without_disks(group) for group in groups]},
    }
    WRITTEN.write_text(HEAD + yaml.safe_dump(made, sort_keys=False, width=120), encoding="utf-8")
    return 0


def _without_disks(group: dict[str, Any]) -> dict[str, Any]:
    return {**group, "rules": [rule for rule in group["rules"] if not rule.get("alert", "").startswith(OF_THE_CLUSTER)]}


if __name__ == "__main__":
    sys.exit(main())
