"""Capacity: how many replicas each part of the service runs on, and when there should be more.

The one place of these figures: manifests, the rendered SeldonDeployment and the simulation that
chose them (`make benchmark-autoscaling`, described in `benchmarks/README.md`) read them here.
"""

from dataclasses import dataclass
from typing import Any, Literal

AT_ONCE = 5000
"""Customers who may send a request at the same moment, after a quiet time."""

WAIT_SECONDS = 2.0
"""Within which 99 of 100 of them are to be answered."""

UPSTREAM_REQUESTS = 8
"""Requests of a page pod under way to the model server: `KALECAST_UPSTREAM_REQUESTS`. Each has a
connection of its own, and a connection stays with one pod: of two connections a page pod, too many
end at the same pod of the model server, and a burst waits for that one."""


@dataclass(frozen=True)
class Policy:
    """How fast an HPA may change the number of replicas: `HPAScalingPolicy`."""

    type: Literal["Percent", "Pods"]
    value: int
    period_seconds: int


@dataclass(frozen=True)
class ScalingRules:
    """An HPA's behaviour in one direction: `HPAScalingRules`."""

    stabilization_seconds: int
    policies: tuple[Policy, ...]
    select: Literal["Max", "Min", "Disabled"] = "Max"

    def as_json(self) -> dict[str, Any]:
        """As the field of an HPA's `behavior`."""
        return {
            "stabilizationWindowSeconds": self.stabilization_seconds,
            "selectPolicy": self.select,
            "policies": [
                {"type": policy.type, "value": policy.value, "periodSeconds": policy.period_seconds}
                for policy in self.policies
            ],
        }


@dataclass(frozen=True)
class Behavior:
    """An HPA's `behavior`."""

    up: ScalingRules
    down: ScalingRules

    def as_json(self) -> dict[str, Any]:
        """As the field of an HPA's specification."""
        return {"scaleUp": self.up.as_json(), "scaleDown": self.down.as_json()}


KUBERNETES_BEHAVIOR = Behavior(
    up=ScalingRules(0, (Policy("Percent", 100, 15), Policy("Pods", 4, 15))),
    down=ScalingRules(300, (Policy("Percent", 100, 15),)),
)
"""What an HPA does by default (Kubernetes documentation, «Default Behavior»)."""


@dataclass(frozen=True)
class Scaling:
    """Replicas of one part of the service."""

    millicores: float
    """CPU that a pod requests; what it is sure to get, and what it costs."""
    minimum_replicas: int
    maximum_replicas: int
    cpu_percent: int
    """Of the request, on average over all pods: the HPA's target."""
    in_flight: int
    """Requests in flight a pod, on average: KEDA's target."""
    behavior: Behavior = KUBERNETES_BEHAVIOR

    def __post_init__(self) -> None:
        if not 1 <= self.minimum_replicas <= self.maximum_replicas:
            raise ValueError(
                "Expected 1 <= minimum_replicas <= maximum_replicas, received: "
                f"{self.minimum_replicas} and {self.maximum_replicas}"
            )

    @property
    def cores(self) -> float:
        """CPU that a pod requests."""
        return self.millicores / 1000

    @property
    def cpu(self) -> str:
        """The same as Kubernetes writes it."""
        return f"{self.millicores:g}m"


MODEL_SERVER = Scaling(
    millicores=130,
    minimum_replicas=4,
    maximum_replicas=16,
    cpu_percent=70,
    in_flight=2,
)
"""A forecast takes 0.13 ms of a core, where 64 come together. 5,000 take the four pods 1.3 s, three
of them 1.7 s. A request of the page brings up to 64: two in flight are 0.13 s of work for a pod."""

PAGE = Scaling(
    millicores=300,
    minimum_replicas=4,
    maximum_replicas=16,
    cpu_percent=70,
    in_flight=64,
)
"""A forecast takes 0.33 ms of a core. 5,000 take the four pods 1.4 s, three of them 1.8 s; sixteen
answer 14,000 a second. Fewer, larger pods of the same sum would not hold the promise with one of
them away. 64 in flight are 0.07 s of work for a pod, on average over 15 s: a burst of 5,000 is seen
one time in three, a rush always."""


def in_flight_query(metric: str) -> str:
    """KEDA's query to Prometheus for requests in flight: the mean of 15 s, scraped every 5 s.

    A peak (`max_over_time` of a minute) adds pods after each burst, too, which is over by then: it
    costs more and answers a rush no better.

    Args:
        metric: `kalecast_page_in_flight` or `kalecast_in_flight`, with labels as need be.
    """
    return f"sum(avg_over_time({metric}[15s]))"
