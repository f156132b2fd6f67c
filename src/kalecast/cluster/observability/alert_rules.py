"""Recording rules and alerts, written into kalecast/rules.yaml: `kalecast alert-rules`.

Each figure is recorded a namespace, so that a trial beside the service has its own. What each alert
means and what to do stands in README.md under its name.
"""

import sys
from typing import Any

import yaml

from kalecast.cluster.observability.objectives import (
    BURNS,
    CHANGE,
    DAYS,
    DEPARTURE,
    FEWEST,
    OBJECTIVES,
    OLDEST_DAYS,
    UNKNOWN,
    WINDOWS,
    Burn,
    Objective,
)
from kalecast.project import PROJECT

HERE = PROJECT / "cluster-setup" / "5-observability"
RULES = HERE / "kalecast" / "rules.yaml"
RUNBOOK = "cluster-setup/5-observability/README.md"

PAGE = '{route=~"/api/forecast|/gradio_api/run/predict"}'
"""Forecasts of the page; its assets and probes are not what customers wait for."""
SERVER = '{protocol!="other"}'
"""Forecasts of the model server, over HTTP and gRPC; probes are `other`."""

REQUESTS = {"page": "kalecast_page_requests_total", "model-server": "kalecast_requests_total"}
SECONDS = {"page": "kalecast_page_request_seconds", "model-server": "kalecast_request_seconds"}
SELECTORS = {"page": PAGE, "model-server": SERVER}
IN_FLIGHT = {"page": "kalecast_page_in_flight", "model-server": "kalecast_in_flight"}
BAD = "5..|INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED"
"""Statuses of HTTP and gRPC that are the service's fault, refusals for load among them."""

PARTS = tuple(REQUESTS)
QUANTILES = ("0.5", "0.95", "0.99")
DEPLOYMENTS = {"page": "kalecast-page", "model-server": "kalecast-default-0-forecaster"}
"""As step 4 names them; their pods' label app.kubernetes.io/name is the scrape job."""
JOBS = {"page": "kalecast-page", "model-server": "kalecast-model-server"}
OURS = "kalecast-.*"

LOOK_AGE = 300
"""Seconds; a server looks each 5."""

Rule = dict[str, Any]


def rate(metric: str, window: str = "5m") -> str:
    """A counter's rate, a namespace."""
    return f"sum by (namespace) (rate({metric}[{window}]))"


def within(selector: str, more: str) -> str:
    """A selector with one more condition."""
    return selector.removesuffix("}") + f",{more}}}"


def share(some: str, whole: str) -> str:
    """A share that is 0 where there are none of some, and absent where there are none at all."""
    return f"({some} or 0 * {whole}) / ({whole} > 0)"


def quantile_of(quantile: str, buckets: str, window: str) -> str:
    """A quantile out of a histogram; absent, not NaN, where nothing was counted: a single NaN
    would spoil each mean over it."""
    counted = f"sum by (namespace, le) (rate({buckets}[{window}]))"
    return f"histogram_quantile({quantile}, {counted}) >= -Inf"


def record(name: str, expression: str, **labels: str) -> Rule:
    """A recording rule."""
    return {"record": name, "expr": expression, **({"labels": labels} if labels else {})}


##### Signals #####


def signals() -> list[Rule]:
    """Traffic, latency, refusals and load of both parts, and batches."""
    rules = []
    for part in PARTS:
        requests, seconds = REQUESTS[part] + SELECTORS[part], SECONDS[part]
        rules += [
            record("kalecast:requests:rate1m", rate(requests, "1m"), part=part),
            record("kalecast:in_flight:sum", f"sum by (namespace) ({IN_FLIGHT[part]})", part=part),
            record("kalecast:refusals:ratio_rate5m", _refusals(part), part=part),
        ]
        rules += [
            record(
                "kalecast:request_seconds:quantile_rate5m",
                quantile_of(quantile, f"{seconds}_bucket{SELECTORS[part]}", "5m"),
                part=part,
                quantile=quantile,
            )
            for quantile in QUANTILES
        ]
    mean = f"{rate('kalecast_batch_windows_sum')} / {rate('kalecast_batch_windows_count')} > 0"
    return [*rules, record("kalecast:batch_windows:mean5m", mean)]


def _refusals(part: str) -> str:
    """The share that was refused for load."""
    requests = REQUESTS[part] + SELECTORS[part]
    if part == "page":
        return share(rate('kalecast_page_refusals_total{reason!="customer gone"}'), rate(requests))
    full = REQUESTS[part] + within(SELECTORS[part], 'code=~"503|UNAVAILABLE"')
    return share(rate(full), rate(requests))


##### Objectives #####


def objectives() -> list[Rule]:
    """Requests and misses of each objective, and the share of misses over each window.

    Longer windows are means of the recorded rates: the raw series of days would be read anew each
    time.
    """
    rules = []
    for objective in OBJECTIVES:
        requests, misses = _counted(objective)
        labels = {"objective": objective.name}
        rules += [
            record("kalecast:objective_requests:rate5m", requests, **labels),
            record("kalecast:objective_misses:rate5m", misses, **labels),
        ]
        rules += [
            record(
                f"kalecast:objective_misses:ratio_rate{window}",
                _missed(objective, window),
                **labels,
            )
            for window in WINDOWS
        ]
    return rules


def budgets() -> list[Rule]:
    """What is left of each objective's budget: 1 is all of it, below 0 it is overdrawn."""
    return [
        record(
            "kalecast:objective_budget:left",
            f"1 - ({_missed(objective, f'{DAYS}d')}) / {objective.budget:g}",
            objective=objective.name,
        )
        for objective in OBJECTIVES
    ]


def _counted(objective: Objective) -> tuple[str, str]:
    """The rates of all requests and of those that miss."""
    selector = SELECTORS[objective.part]
    if objective.within is None:
        metric = REQUESTS[objective.part]
        requests, bad = metric + selector, metric + within(selector, f'code=~"{BAD}"')
        return rate(requests), f"{rate(bad)} or 0 * {rate(requests)}"
    metric = SECONDS[objective.part]
    in_time = f"{metric}_bucket" + within(selector, f'le="{float(objective.within)}"')
    requests = rate(f"{metric}_count{selector}")
    return requests, f"{requests} - {rate(in_time)}"


def _missed(objective: Objective, window: str) -> str:
    chosen = f'{{objective="{objective.name}"}}'
    misses = f"kalecast:objective_misses:rate5m{chosen}"
    requests = f"kalecast:objective_requests:rate5m{chosen}"
    if window == "5m":
        return f"{misses} / ({requests} > 0)"
    return f"avg_over_time({misses}[{window}]) / (avg_over_time({requests}[{window}]) > 0)"


##### Drift #####


def drift() -> list[Rule]:
    """Medians of the model server's drift figures over an hour, and the share of missing values."""
    rules = [
        record(
            f"kalecast:drift_{figure}:median1h",
            quantile_of("0.5", f"kalecast_drift_{figure}_bucket", "1h"),
        )
        for figure in ("departure", "shift", "width", "change")
    ]
    values = "kalecast_drift_values_total"
    unknown = share(rate(f'{values}{{known="no"}}', "1h"), rate(values, "1h"))
    return [*rules, record("kalecast:drift_unknown:ratio_rate1h", unknown)]


def _now(name: str) -> str:
    return f"avg_over_time({name}[6h])"


def _before(name: str) -> str:
    """The week before; absent where nothing was known a day before that ended."""
    return f"(avg_over_time({name}[7d] offset 6h) and last_over_time({name}[1h] offset 30h))"


##### Alerts #####


def alert(name: str, expression: str, wait: str, severity: str, summary: str) -> Rule:
    """An alert; in its summary `{{ $labels.namespace }}` and the like are filled in."""
    return {
        "alert": name,
        "expr": expression,
        "for": wait,
        "labels": {"severity": severity},
        "annotations": {
            "summary": f"{summary} (namespace {{{{ $labels.namespace }}}})",
            "runbook": f"{RUNBOOK}#{name.lower()}",
        },
    }


def burning() -> list[Rule]:
    """For each objective one alert that pages, and one for working hours."""
    return [
        alert(
            objective.alert,
            _burns(objective, [burn for burn in BURNS if burn.severity == severity], severity),
            "0s" if severity == "critical" else "15m",
            severity,
            objective.summary,
        )
        for objective in OBJECTIVES
        for severity in ("critical", "warning")
    ]


def _burns(objective: Objective, burns: list[Burn], severity: str) -> str:
    expression = "\nor\n".join(
        f"({_faster(objective, burn.long, burn)} and {_faster(objective, burn.short, burn)})"
        for burn in burns
    )
    if severity != "critical":
        return expression
    requests = f'kalecast:objective_requests:rate5m{{objective="{objective.name}"}}'
    return f"({expression})\nand avg_over_time({requests}[1h]) * 3600 >= {FEWEST}"


def _faster(objective: Objective, window: str, burn: Burn) -> str:
    chosen = f'{{objective="{objective.name}"}}'
    threshold = f"{burn.speed * objective.budget:.4g}"
    return f"kalecast:objective_misses:ratio_rate{window}{chosen} > {threshold}"


def pods() -> list[Rule]:
    """Pods and their autoscalers, from kube-state-metrics."""
    deployed = f'{{deployment=~"{"|".join(DEPLOYMENTS.values())}"}}'
    available = f"kube_deployment_status_replicas_available{deployed}"
    scaler = f'horizontalpodautoscaler=~"{OURS}"'
    hpa = "kube_horizontalpodautoscaler"
    restarts = f'kube_pod_container_status_restarts_total{{pod=~"{OURS}"}}'
    return [
        alert(
            "KalecastNoPods",
            f"{available} == 0",
            "1m",
            "critical",
            "No pod of {{ $labels.deployment }} is available",
        ),
        alert(
            "KalecastTooFewPods",
            f"{available} < kube_deployment_spec_replicas{deployed}",
            "10m",
            "warning",
            "{{ $labels.deployment }} has fewer pods than it should",
        ),
        alert(
            "KalecastPodsCrash",
            f"sum by (namespace, pod) (increase({restarts}[15m])) > 2",
            "0s",
            "warning",
            "Pod {{ $labels.pod }} starts again and again",
        ),
        alert(
            "KalecastAtMostReplicas",
            f"{hpa}_status_current_replicas{{{scaler}}} >= {hpa}_spec_max_replicas{{{scaler}}}",
            "10m",
            "warning",
            "{{ $labels.horizontalpodautoscaler }} may add no more pods",
        ),
        alert(
            "KalecastAutoscalerBlind",
            f'{hpa}_status_condition{{{scaler},condition="ScalingActive",status="false"}} == 1',
            "10m",
            "warning",
            "{{ $labels.horizontalpodautoscaler }} gets no metrics",
        ),
        *(_not_scraped(part) for part in PARTS),
    ]


def _not_scraped(part: str) -> Rule:
    deployment = f'{{deployment="{DEPLOYMENTS[part]}"}}'
    ready = f"sum by (namespace) (kube_deployment_status_replicas_ready{deployment})"
    scraped = f'sum by (namespace) (up{{job="{JOBS[part]}"}})'
    rule = alert(
        "KalecastNotScraped",
        f"{ready} > ({scraped} or 0 * {ready})",
        "10m",
        "warning",
        "Pods of the {{ $labels.part }} are ready, but Prometheus does not reach them",
    )
    rule["labels"]["part"] = part
    return rule


def model() -> list[Rule]:
    """The model in service, and the path to it."""
    departs = [
        f"{_now(name)} > {DEPARTURE:g} * {_before(name)}"
        for name in ("kalecast:drift_departure:median1h", "kalecast:drift_width:median1h")
    ]
    change, unknown = "kalecast:drift_change:median1h", "kalecast:drift_unknown:ratio_rate1h"
    return [
        alert(
            "KalecastModelVersionsDiffer",
            "count by (namespace) (count by (namespace, version) (kalecast_model_info)) > 1",
            "1h",
            "warning",
            "Pods serve different models",
        ),
        alert(
            "KalecastModelRefused",
            'sum by (namespace) (increase(kalecast_model_reloads_total{result="bad"}[15m])) > 0',
            "0s",
            "warning",
            "A new model file was no good; the old model is served",
        ),
        alert(
            "KalecastModelNotWatched",
            f"max by (namespace) (kalecast_model_look_age_seconds) > {LOOK_AGE}",
            "5m",
            "warning",
            "A model server has not looked for a new model for minutes",
        ),
        alert(
            "KalecastModelOld",
            "time() - max by (namespace) (kalecast_model_created_timestamp_seconds) "
            f"> {OLDEST_DAYS} * 86400",
            "1h",
            "warning",
            f"No new model for more than {OLDEST_DAYS} days",
        ),
        alert(
            "KalecastCircuitOpen",
            "max by (namespace) (avg_over_time(kalecast_page_circuit_open[5m])) > 0.2",
            "5m",
            "warning",
            "Pages leave the model server alone after failures",
        ),
        alert(
            "KalecastForecastsDrift",
            "\nor\n".join(departs),
            "1h",
            "warning",
            "Forecasts are unlike those of the week before",
        ),
        alert(
            "KalecastHistoriesDrift",
            f"abs({_now(change)} - {_before(change)}) > {CHANGE:g}\nor\n"
            f"{_now(unknown)} - {_before(unknown)} > {UNKNOWN:g}",
            "1h",
            "warning",
            "Customers' histories are unlike those of the week before",
        ),
    ]


##### The object #####


def groups() -> list[dict[str, Any]]:
    """All rules, as Prometheus reads them."""
    return [
        {"name": "kalecast-signals", "interval": "15s", "rules": signals()},
        {"name": "kalecast-objectives", "interval": "30s", "rules": objectives()},
        {"name": "kalecast-budgets", "interval": "5m", "rules": budgets()},
        {"name": "kalecast-drift", "interval": "1m", "rules": drift()},
        {"name": "kalecast-alerts", "interval": "30s", "rules": [*burning(), *pods(), *model()]},
    ]


def document() -> str:
    """The PrometheusRule."""
    rules = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "kalecast",
            "labels": {"app.kubernetes.io/part-of": "kalecast", "role": "alert-rules"},
        },
        "spec": {"groups": groups()},
    }
    head = "# Written by `make manifests` from kalecast.cluster.observability: change it there.\n"
    text: str = yaml.safe_dump(rules, sort_keys=False, width=100)
    return head + text


def main() -> int:
    """Write it."""
    RULES.write_text(document())
    return 0


if __name__ == "__main__":
    sys.exit(main())
