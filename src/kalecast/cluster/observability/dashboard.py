"""The Grafana dashboard, written into base/dashboard.json: `kalecast dashboard`.

Four golden signals of the page and of the model server, a row each; then what is behind them:
batches, replicas, the model, drift. What `alert_rules` records is read
here, nothing is computed twice.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from kalecast.cluster.observability.alert_rules import DEPLOYMENTS, JOBS, OURS, PAGE, SERVER
from kalecast.cluster.observability.objectives import DAYS
from kalecast.project import PROJECT

DASHBOARD = PROJECT / "cluster-setup" / "5-observability" / "base" / "dashboard.json"

UID = "kalecast"
SCHEMA = 41
"""Of dashboards as Grafana 12 writes them; newer ones migrate it when they load it."""

SOURCE = {"type": "prometheus", "uid": "${source}"}
HERE = 'namespace="$namespace"'
ALL = f"{{{HERE}}}"
WIDE = 24

Json = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """A query, and the name of each of its series."""

    expression: str
    legend: str = ""
    form: str = "time_series"


@dataclass(frozen=True)
class Panel:
    """A panel; rows are laid out from left to right."""

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 6
    height: int = 7
    custom: Json = field(default_factory=dict)
    """Fields of the kind's own options."""
    steps: tuple[tuple[float | None, str], ...] = ((None, "green"),)
    """Colours from which value on."""
    least: float | None = 0
    """Where the axis begins; None where values may be below zero."""


def panels() -> dict[str, tuple[Panel, ...]]:
    """All panels by their rows."""
    return {
        "What is promised": promises(),
        "Page": signals("page", "kalecast_page", PAGE, "route"),
        "Model server": signals("model-server", "kalecast", SERVER, "protocol"),
        "Between the two": between(),
        "Batches and replicas": batches(),
        "Model and drift": model(),
    }


def promises() -> tuple[Panel, ...]:
    """Budgets, alerts, and the model in service."""
    left = Query(f"kalecast:objective_budget:left{ALL}", "{{objective}}")
    firing = f'ALERTS{{{HERE},alertstate="firing",alertname=~"Kalecast.*"}}'
    return (
        Panel(
            f"Budget left of {DAYS} days",
            "1: nothing missed its objective; below 0: more than was promised.",
            (left,),
            "percentunit",
            "stat",
            12,
            4,
            steps=((None, "red"), (0.0, "orange"), (0.5, "green")),
            least=None,
        ),
        Panel(
            "Alerts",
            "Firing now; what to do stands in the README under the alert's name.",
            (Query(f"count by (alertname, severity) ({firing})", "{{alertname}} {{severity}}"),),
            "short",
            "stat",
            6,
            4,
            steps=((None, "green"), (1.0, "red")),
        ),
        Panel(
            "Model",
            "Versions in service, and on how many pods.",
            (Query(f"count by (version) (kalecast_model_info{ALL})", "{{version}}"),),
            "short",
            "stat",
            6,
            4,
            custom={"textMode": "value_and_name"},
        ),
    )


def signals(part: str, prefix: str, selector: str, by: str) -> tuple[Panel, ...]:
    """Latency, traffic, errors and saturation of a part."""
    of_part = f'{{{HERE},part="{part}"}}'
    here = selector.removesuffix("}") + f",{HERE}}}"
    cpu = f'{{{HERE},job="{JOBS[part]}"}}'
    return (
        Panel(
            "Latency",
            "Of forecasts, from a request's head to its answer.",
            (Query(f"kalecast:request_seconds:quantile_rate5m{of_part}", "p {{quantile}}"),),
            "s",
        ),
        Panel(
            "Traffic",
            f"Forecasts requested a second, by {by}.",
            (Query(f"sum by ({by}) (rate({prefix}_requests_total{here}[1m]))", f"{{{{{by}}}}}"),),
            "reqps",
        ),
        Panel(
            "Errors",
            "The share that missed, and the share refused for load.",
            (
                Query(
                    f'kalecast:objective_misses:ratio_rate5m{{{HERE},objective=~"{part}-.*"}}',
                    "misses {{objective}}",
                ),
                Query(f"kalecast:refusals:ratio_rate5m{of_part}", "refused for load"),
            ),
            "percentunit",
        ),
        Panel(
            "Saturation",
            "Requests in flight of all pods, and cores that they use.",
            (
                Query(f"kalecast:in_flight:sum{of_part}", "in flight"),
                Query(f"sum(rate(process_cpu_seconds_total{cpu}[1m]))", "cores"),
            ),
        ),
    )


def between() -> tuple[Panel, ...]:
    """What pages see of the model server, and whom they refuse."""
    return (
        Panel(
            "Refused by the page, by reason",
            "A second. `customer gone` is no customer's loss.",
            (
                Query(
                    f"sum by (reason) (rate(kalecast_page_refusals_total{ALL}[5m]))", "{{reason}}"
                ),
            ),
            "reqps",
        ),
        Panel(
            "Answers of the model server, as pages see them",
            "By status; 0 is none at all.",
            (
                Query(
                    f"sum by (code) (rate(kalecast_page_upstream_answers_total{ALL}[5m]))",
                    "{{code}}",
                ),
            ),
            "reqps",
        ),
        Panel(
            "Retries and circuits",
            "Requests sent again a second, and the share of pages that leave the server alone.",
            (
                Query(f"sum(rate(kalecast_page_upstream_retries_total{ALL}[5m]))", "retries"),
                Query(f"avg(kalecast_page_circuit_open{ALL})", "circuits open"),
            ),
        ),
        Panel(
            "Waiting",
            "Forecasts that wait in pages, windows in the model server, and for how long.",
            (
                Query(f"sum(kalecast_page_waiting{ALL})", "forecasts in pages"),
                Query(f"sum(kalecast_queue_windows{ALL})", "windows in the server"),
                Query(f"max(kalecast_queue_age_seconds{ALL})", "seconds, the oldest"),
            ),
        ),
    )


def batches() -> tuple[Panel, ...]:
    """How many windows share a forward pass, and how many pods there are."""
    sizes = f"sum by (le) (increase(kalecast_batch_windows_bucket{ALL}[$__rate_interval]))"
    scaler = f'{{{HERE},horizontalpodautoscaler=~"{OURS}"}}'
    deployed = f'{{{HERE},deployment=~"{"|".join(DEPLOYMENTS.values())}"}}'
    hpa, name = "kube_horizontalpodautoscaler", "{{horizontalpodautoscaler}}"
    return (
        Panel(
            "Windows a forward pass",
            "How many batches were of which size.",
            (Query(sizes, "{{le}}", "heatmap"),),
            kind="heatmap",
            custom={"calculate": False, "color": {"mode": "scheme", "scheme": "Blues"}},
        ),
        Panel(
            "Mean windows a forward pass",
            "1: each is alone; more where they come together.",
            (Query(f"kalecast:batch_windows:mean5m{ALL}", "mean"),),
        ),
        Panel(
            "Replicas",
            "Requested, and ready.",
            (
                Query(f"kube_deployment_spec_replicas{deployed}", "{{deployment}} wanted"),
                Query(f"kube_deployment_status_replicas_ready{deployed}", "{{deployment}} ready"),
            ),
        ),
        Panel(
            "Autoscalers",
            "Replicas that they want, and the bounds.",
            (
                Query(f"{hpa}_status_desired_replicas{scaler}", f"{name} wanted"),
                Query(f"{hpa}_spec_min_replicas{scaler}", f"{name} least"),
                Query(f"{hpa}_spec_max_replicas{scaler}", f"{name} most"),
            ),
        ),
    )


def model() -> tuple[Panel, ...]:
    """Which model serves, and whether its days are like others."""
    drift = "kalecast:drift_"
    return (
        Panel(
            "Model by pod",
            "The version that each pod serves.",
            (Query(f"max by (pod, name, version) (kalecast_model_info{ALL})", "", "table"),),
            kind="table",
        ),
        Panel(
            "Model's age, and new files",
            "Days since it was made, and files taken up or refused within the hour.",
            (
                Query(
                    f"(time() - max(kalecast_model_created_timestamp_seconds{ALL})) / 86400",
                    "days",
                ),
                Query(
                    f"sum by (result) (increase(kalecast_model_reloads_total{ALL}[1h]))",
                    "{{result}}",
                ),
            ),
        ),
        Panel(
            "Forecasts beside the last season",
            "Medians of an hour, in mean seasonal steps of each history: how far the forecast is "
            "from the last season repeated, how far above it, and how wide.",
            tuple(
                Query(f"{drift}{figure}:median1h{ALL}", figure)
                for figure in ("departure", "shift", "width")
            ),
            least=None,
        ),
        Panel(
            "Histories",
            "How far the last season is above its history, and the share of missing values.",
            (
                Query(f"{drift}change:median1h{ALL}", "change"),
                Query(f"{drift}unknown:ratio_rate1h{ALL}", "missing"),
            ),
            least=None,
        ),
    )


##### Grafana's JSON #####


def dashboard() -> Json:
    """The dashboard."""
    return {
        "uid": UID,
        "title": "Kalecast",
        "tags": ["kalecast"],
        "schemaVersion": SCHEMA,
        "editable": False,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": variables()},
        "panels": list(_laid_out()),
    }


def variables() -> list[Json]:
    """The data source, and the namespaces that have a model server."""
    query = "label_values(kalecast_model_info, namespace)"
    return [
        {"name": "source", "label": "Source", "type": "datasource", "query": "prometheus"},
        {
            "name": "namespace",
            "label": "Namespace",
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": query, "refId": "namespace"},
            "refresh": 2,
            "sort": 1,
        },
    ]


def _laid_out() -> Iterator[Json]:
    numbers, top = count(1), 0
    for title, row in panels().items():
        place = {"x": 0, "y": top, "w": WIDE, "h": 1}
        yield {"id": next(numbers), "type": "row", "title": title, "gridPos": place, "panels": []}
        left = 0
        for panel in row:
            place = {"x": left, "y": top + 1, "w": panel.width, "h": panel.height}
            yield {"id": next(numbers), **_panel(panel), "gridPos": place}
            left += panel.width
        top += 1 + max(panel.height for panel in row)


def _panel(panel: Panel) -> Json:
    steps = [{"value": value, "color": colour} for value, colour in panel.steps]
    least = {} if panel.least is None else {"min": panel.least}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "targets": [_target(query, at) for at, query in enumerate(panel.queries)],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                **least,
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": panel.custom,
    }


def _target(query: Query, at: int) -> Json:
    is_instant = query.form == "table"
    return {
        "refId": chr(ord("A") + at),
        "datasource": SOURCE,
        "expr": query.expression,
        "legendFormat": query.legend,
        "format": query.form,
        "instant": is_instant,
        "range": not is_instant,
    }


def document() -> str:
    """The dashboard as it is committed."""
    return json.dumps(dashboard(), indent=1) + "\n"


def main() -> int:
    """Write it."""
    DASHBOARD.write_text(document())
    return 0


if __name__ == "__main__":
    sys.exit(main())
