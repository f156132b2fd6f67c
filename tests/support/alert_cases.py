"""Cases for alerts: the series of a service that is well, and what differs in each case."""

from dataclasses import dataclass
from typing import Any

NAMESPACE = "team"
BOTH = {"page": "kalecast-page", "server": "kalecast-default-0-forecaster"}


def flat(value: float) -> str:
    """A value that stays."""
    return f"{value:g}+0xN"


def grows(each: float) -> str:
    """A counter that grows so much a step."""
    return f"0+{each:g}xN"


def series(name: str, **labels: str) -> str:
    """A series' name."""
    pairs = ",".join(
        f'{key}="{value}"' for key, value in {"namespace": NAMESPACE, **labels}.items()
    )
    return f"{name}{{{pairs}}}"


def request_count(part: str, code: str) -> str:
    """Requests of a part by status."""
    if part == "page":
        return series("kalecast_page_requests_total", route="/api/forecast", code=code, pod="p0")
    return series("kalecast_requests_total", protocol="seldon", code=code, pod="s0")


def bucket(part: str, bound: str) -> str:
    """Requests of a part by duration; `count` counts all."""
    name, labels = {
        "page": ("kalecast_page_request_seconds", {"route": "/api/forecast"}),
        "server": ("kalecast_request_seconds", {"protocol": "seldon"}),
    }[part]
    if bound == "count":
        return series(f"{name}_count", **labels)
    return series(f"{name}_bucket", **labels, le=bound)


def deployment(what: str, part: str) -> str:
    return series(f"kube_deployment_{what}", deployment=BOTH[part])


def scaler(what: str, part: str, **labels: str) -> str:
    name = f"kube_horizontalpodautoscaler_{what}"
    return series(name, horizontalpodautoscaler=BOTH[part], **labels)


def drifts(figure: str, bound: str) -> str:
    return series(f"kalecast_drift_{figure}_bucket", pod="s0", le=bound)


def values(known: str) -> str:
    return series("kalecast_drift_values_total", pod="s0", known=known)


def version(pod: str, name: str) -> str:
    return series("kalecast_model_info", pod=pod, version=name)


CREATED = series("kalecast_model_created_timestamp_seconds", pod="s0")
CIRCUIT = series("kalecast_page_circuit_open", pod="p0")
REFUSED_MODEL = series("kalecast_model_reloads_total", pod="s0", result="bad")
LOOK_AGE = series("kalecast_model_look_age_seconds", pod="s0")
RESTARTS = series("kube_pod_container_status_restarts_total", pod="kalecast-page-1", container="p")


def well() -> dict[str, str]:
    """A service that is well: ten requests a second, two pods of each part."""
    found = {
        CREATED: flat(0),
        CIRCUIT: flat(0),
        REFUSED_MODEL: flat(0),
        LOOK_AGE: flat(4),
        RESTARTS: flat(1),
        version("s0", "1"): flat(1),
        version("s1", "1"): flat(1),
        values("yes"): grows(900),
        values("no"): grows(100),
    }
    for part, limit in (("page", "2.0"), ("server", "1.0")):
        found |= {request_count(part, "200"): grows(600), request_count(part, "503"): flat(0)}
        found |= {bucket(part, bound): grows(600) for bound in (limit, "+Inf", "count")}
        found |= {
            deployment("status_replicas_available", part): flat(2),
            deployment("status_replicas_ready", part): flat(2),
            deployment("spec_replicas", part): flat(2),
            scaler("status_current_replicas", part): flat(2),
            scaler("spec_max_replicas", part): flat(4),
            scaler("status_condition", part, condition="ScalingActive", status="false"): flat(0),
        }
    for job in ("kalecast-page", "kalecast-model-server"):
        found |= {series("up", job=job, pod=pod): flat(1) for pod in ("0", "1")}
    for figure in ("departure", "width"):
        found |= {drifts(figure, "0.5"): grows(100), drifts(figure, "1.0"): grows(600)}
        found |= {drifts(figure, "3.0"): grows(600), drifts(figure, "+Inf"): grows(600)}
    for figure in ("shift", "change"):
        found |= {drifts(figure, "-0.2"): flat(0), drifts(figure, "0.2"): grows(600)}
        found |= {drifts(figure, "5.0"): grows(600), drifts(figure, "+Inf"): grows(600)}
    return found


@dataclass(frozen=True)
class AlertCase:
    """What is otherwise, and what of it fires at the end."""

    name: str
    otherwise: dict[str, str | None]
    """Series in place of those of a service that is well; None for none."""
    fires: tuple[tuple[str, str], ...]
    """All alerts, with their severities."""
    hours: int = 4
    minutes_a_step: int = 3

    def as_promtool(self) -> dict[str, Any]:
        """A test of `promtool test rules`: exactly these alerts fire."""
        steps = self.hours * 60 // self.minutes_a_step
        firing = 'ALERTS{alertstate="firing",alertname=~"Kalecast.*"}'
        return {
            "name": self.name,
            "interval": f"{self.minutes_a_step}m",
            "input_series": [
                {"series": name, "values": course.replace("xN", f"x{steps}")}
                for name, course in {**well(), **self.otherwise}.items()
                if course is not None
            ],
            "promql_expr_test": [
                {
                    "expr": f"count by (alertname, severity) ({firing})",
                    "eval_time": f"{self.hours}h",
                    "exp_samples": [
                        {"labels": f'{{alertname="{name}",severity="{severity}"}}', "value": 1}
                        for name, severity in self.fires
                    ],
                }
            ],
        }
