"""The arithmetic of a HorizontalPodAutoscaler that KEDA drives: targets, policies and stabilisation windows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

SYNC_S = 15
"""How often the controller of Kubernetes decides."""

TOLERANCE = 0.1
"""A number so near to its target changes nothing."""


@dataclass(frozen=True)
class Policy:
    """How much may change within a period."""

    kind: str
    value: int
    period_s: int

    def change(self, replicas: int) -> int:
        return self.value if self.kind == "Pods" else math.ceil(replicas * self.value / 100)


@dataclass(frozen=True)
class Rules:
    """One direction of `behavior`."""

    policies: tuple[Policy, ...]
    window_s: int


@dataclass
class Autoscaler:
    """One ScaledObject: ask it every `SYNC_S` seconds."""

    least: int
    most: int
    thresholds: tuple[float, ...]
    up: Rules
    down: Rules
    replicas: int = 1
    _wanted: list[tuple[int, int]] = field(default_factory=list)
    _changes: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def of(cls, manifest: dict[str, Any]) -> "Autoscaler":
        """The rule that a ScaledObject stands for."""
        spec = manifest["spec"]
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        return cls(
            least=spec["minReplicaCount"],
            most=spec["maxReplicaCount"],
            thresholds=tuple(float(trigger["metadata"]["threshold"]) for trigger in spec["triggers"]),
            up=_rules(behavior["scaleUp"]),
            down=_rules(behavior["scaleDown"]),
            replicas=spec["minReplicaCount"],
        )

    def decide(self, second: int, numbers: Sequence[float]) -> int:
        """How many replicas there are after the controller has looked at *numbers*, one for each trigger."""
        wanted = min(max(self._target(numbers), self.least), self.most)
        self._wanted.append((second, wanted))
        stable = self._stabilized(second, wanted)
        after = self._limited(second, stable)
        if after != self.replicas:
            self._changes.append((second, after - self.replicas))
            self.replicas = after
        return self.replicas

    def _target(self, numbers: Sequence[float]) -> int:
        """The largest answer of all triggers; each is an average over the replicas."""
        return max(self._target_of(number, target) for number, target in zip(numbers, self.thresholds, strict=True))

    def _target_of(self, number: float, target: float) -> int:
        ratio = number / (target * self.replicas)
        return self.replicas if abs(ratio - 1) <= TOLERANCE else math.ceil(number / target)

    def _stabilized(self, second: int, wanted: int) -> int:
        """Up only to the least of the up window, down only to the most of the down window."""
        least = min(want for at, want in self._wanted if at > second - self.up.window_s or at == second)
        most = max(want for at, want in self._wanted if at > second - self.down.window_s or at == second)
        return min(max(self.replicas, least), most) if wanted != self.replicas else self.replicas

    def _limited(self, second: int, wanted: int) -> int:
        if wanted > self.replicas:
            return min(wanted, max(self._bound(second, policy, 1) for policy in self.up.policies))
        if wanted < self.replicas:
            return max(wanted, min(self._bound(second, policy, -1) for policy in self.down.policies))
        return wanted

    def _bound(self, second: int, policy: Policy, sign: int) -> int:
        changed = sum(change for at, change in self._changes if at > second - policy.period_s and change * sign > 0)
        before = self.replicas - changed
        return before + sign * policy.change(before)


def _rules(given: dict[str, Any]) -> Rules:
    policies = [Policy(policy["type"], policy["value"], policy["periodSeconds"]) for policy in given["policies"]]
    return Rules(tuple(policies), given["stabilizationWindowSeconds"])
