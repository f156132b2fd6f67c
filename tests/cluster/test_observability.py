"""Observability: what is looked at is there, alerts fire when they should and not otherwise."""

import ast
import json
import re
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import page_process
import prometheus_process
import pytest
import requests
import yaml
from kubernetes_objects import (
    ROOT,
    Object,
    expanded,
    manifests,
    of_kind,
    templates,
    title,
    validate,
)
from ports import free_ports
from prometheus_process import Prometheus, program, promtool
from seldon_server import serving

from kalecast.cluster.capacity import WAIT_SECONDS
from kalecast.serving.metrics import SECONDS

STEP = ROOT / "cluster-setup" / "5-observability"

RULES = yaml.safe_load((STEP / "kalecast" / "rules.yaml").read_text())["spec"]["groups"]
CASES = yaml.safe_load((Path(__file__).parent / "alert_cases.yaml").read_text())
DASHBOARD = json.loads((STEP / "base" / "dashboard.json").read_text())
NAMESPACE = "team"
JOBS = {"kalecast-page", "kalecast-model-server"}
DEPLOYMENTS = {"kalecast-page", "kalecast-default-0-forecaster"}
"""As the rules name them."""

SERVICE = [name for name, at in manifests.overlays().items() if manifests.STEP in at.parents]
ALERTS = sorted({rule["alert"] for group in RULES for rule in group["rules"] if "alert" in rule})


@cache
def ours() -> list[Object]:
    """What the step sends into the team's namespace."""
    return list(yaml.safe_load_all(manifests.build(STEP / "kalecast", manifests.kubectl())))


def test_each_alert_has_its_runbook_and_no_runbook_is_left_over() -> None:
    headings = re.findall(r"^### (Kalecast\w+)$", (STEP / "README.md").read_text(), re.MULTILINE)
    assert sorted(headings) == ALERTS
    for group in RULES:
        for rule in group["rules"]:
            if "alert" in rule:
                path, _, anchor = rule["annotations"]["runbook"].partition("#")
                assert (ROOT / path).is_file()
                assert anchor == rule["alert"].lower()


##### Of one mind with step 4 #####


def test_objects_have_the_fields_of_their_kinds() -> None:
    for one in ours():
        validate(one)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("PodMonitor", lambda spec: spec["podMetricsEndpoints"][0].update(targetsPort="metrics")),
        ("PrometheusRule", lambda spec: spec["groups"][0]["rules"][0].update(expression="1")),
        ("PrometheusRule", lambda spec: spec["groups"][0].update(interval="often")),
    ],
)
def test_a_field_that_the_kind_has_not_is_noticed(kind: str, change: Any) -> None:
    one = json.loads(json.dumps(of_kind(ours(), kind)[0]))
    change(one["spec"])
    with pytest.raises(Exception, match=r"targetsPort|expression|often"):
        validate(one)


@pytest.mark.parametrize("overlay", SERVICE)
def test_pod_monitors_find_the_pods_and_their_metrics(overlay: str) -> None:
    known, jobs = list(templates(overlay)), set()
    for one in of_kind(ours(), "PodMonitor"):
        spec = one["spec"]
        wanted = spec["selector"]["matchLabels"].items()
        (found,) = (t for t in known if wanted <= t.labels.items())
        (endpoint,) = spec["podMetricsEndpoints"]
        assert endpoint["port"] in found.ports
        jobs.add(found.labels[spec["jobLabel"]])
    assert jobs == JOBS


@pytest.mark.parametrize("overlay", SERVICE)
def test_rules_name_the_deployments_and_autoscalers_that_there_are(overlay: str) -> None:
    objects = expanded()[overlay]
    names = {one["metadata"]["name"] for one in of_kind(objects, "Deployment")}
    assert names == DEPLOYMENTS
    for one in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        assert re.fullmatch("kalecast-.*", one["metadata"]["name"]), title(one)


def test_keda_asks_where_prometheus_is_and_is_let_in() -> None:
    scaled = of_kind(expanded()["production-keda"], "ScaledObject")
    # The Service that the Prometheus operator makes beside each Prometheus.
    assert {one["spec"]["triggers"][1]["metadata"]["serverAddress"] for one in scaled} == {
        "http://prometheus-operated.monitoring.svc:9090"
    }
    policy = yaml.safe_load((STEP / "base" / "keda-access.yaml").read_text())
    assert policy["metadata"]["namespace"] == "monitoring"
    (rule,) = policy["spec"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == [9090]


def test_the_promises_are_bounds_of_the_histograms() -> None:
    source = (ROOT / "src/kalecast/page/metrics.py").read_text()
    (page,) = re.findall(r'"kalecast_page_request_seconds",.*?buckets=(\(.*?\))', source, re.DOTALL)
    bounds = {"page": ast.literal_eval(page), "model-server": SECONDS}
    within = {
        rule["labels"]["objective"]: float(found[1])
        for group in RULES
        for rule in group["rules"]
        if (found := re.search(r'le="([\d.]+)"', rule["expr"]))
    }
    assert within == {"page-latency": WAIT_SECONDS, "model-server-latency": WAIT_SECONDS / 2}
    for objective, seconds in within.items():
        assert seconds in bounds[objective.removesuffix("-latency")]


def test_prometheus_keeps_its_data_as_long_as_an_objective_holds() -> None:
    prometheus = yaml.safe_load((STEP / "base" / "prometheus.yaml").read_text())
    (left,) = {
        window
        for group in RULES
        for rule in group["rules"]
        if rule.get("record") == "kalecast:objective_budget:left"
        for window in re.findall(r"\[(\d+d)\]", rule["expr"])
    }
    assert prometheus["spec"]["retention"] == left


##### The dashboard #####


def panels() -> list[Any]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def test_panels_stand_beside_and_not_upon_each_other() -> None:
    everything = DASHBOARD["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert all(0 <= x < 24 for x, _ in cells)
        assert not cells & taken, panel["title"]
        taken |= cells


def test_each_query_is_of_the_chosen_namespace_and_source() -> None:
    for panel in panels():
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert 'namespace="$namespace"' in target["expr"]
            assert target["datasource"]["uid"] == "${source}"
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert names == {"source", "namespace"}


def test_what_is_recorded_and_shown_is_recorded() -> None:
    recorded = {rule["record"] for group in RULES for rule in group["rules"] if "record" in rule}
    read = set(re.findall(r"kalecast:[\w:]+", " ".join(expressions())))
    alerts = [rule["expr"] for group in RULES for rule in group["rules"]]
    read |= set(re.findall(r"kalecast:[\w:]+", " ".join(alerts)))
    assert read <= recorded
    # Traffic is for queries of Prometheus; the dashboard splits it further.
    assert recorded - read == {"kalecast:requests:rate1m"}


##### Rules, by Prometheus itself #####


def in_namespace(series: str) -> str:
    """The series with the label of a namespace beside its own."""
    return series.replace("{", f"{{namespace='{NAMESPACE}',", 1)


def as_promtool(case: Object, suite: Object, well: dict[str, str]) -> Object:
    """A test of `promtool test rules`."""
    hours, minutes = case.get("hours", suite["hours"]), suite["minutes_a_step"]
    kept = {
        name: course
        for name, course in well.items()
        if "without" not in case or not re.match(case["without"], name)
    }
    courses = {**kept, **case.get("otherwise", {})}
    firing = 'ALERTS{alertstate="firing",alertname=~"Kalecast.*"}'
    alerts = (alert.split() for alert in case.get("fires", []))
    expected = {
        "expr": f"count by (alertname, severity) ({firing})",
        "eval_time": f"{hours}h",
        "exp_samples": [
            {"labels": f'{{alertname="{name}",severity="{severity}"}}', "value": 1}
            for name, severity in alerts
        ],
    }
    return {
        "name": case["name"],
        "interval": f"{minutes}m",
        "input_series": [
            {
                "series": in_namespace(name),
                "values": course.replace("xN", f"x{hours * 60 // minutes}"),
            }
            for name, course in courses.items()
        ],
        "promql_expr_test": [expected],
    }


def rules_of(suite: Object) -> list[Object]:
    """The rules that a suite is about, and those that they need: no time goes into others."""
    groups = {group["name"]: group["rules"] for group in RULES}
    alerts = [
        rule for rule in groups["kalecast-alerts"] if re.search(suite["alerts"], rule["expr"])
    ]
    return [*groups.get(suite.get("group", ""), []), *alerts]


def test_a_case_fires_each_alert() -> None:
    cases = [case for suite in CASES["suites"] for case in suite["cases"]]
    assert {alert.split()[0] for case in cases for alert in case.get("fires", [])} == set(ALERTS)


@pytest.mark.slow
@pytest.mark.parametrize("suite", CASES["suites"], ids=lambda suite: suite["alerts"])
def test_each_alert_fires_when_it_should_and_not_otherwise(suite: Object, tmp_path: Path) -> None:
    for name, groups in (
        ("all", RULES),
        ("tried", [{"name": "tried", "rules": rules_of(suite)}]),
    ):
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump({"groups": groups}))
    assert "SUCCESS" in promtool("check", "rules", tmp_path / "all.yml")
    tests = {
        "rule_files": ["tried.yml"],
        "evaluation_interval": f"{suite['minutes_a_step']}m",
        "tests": [as_promtool(case, suite, CASES["well"]) for case in suite["cases"]],
    }
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests))
    promtool("test", "rules", tmp_path / "tests.yml")


##### In a Prometheus that runs #####

WEEK = [300.0 + hour % 24 + hour // 24 for hour in range(168)]
OF_KUBERNETES = ("kube_", "ALERTS")
WHEN_SOMETHING_FAILS = ("_retries_total", "_refusals_total")
"""Queries that find nothing where there is no cluster, or nothing failed."""


@pytest.fixture(scope="module")
def watched(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has seen a model server and a page answer forecasts."""
    program("prometheus")
    (metrics_port,) = free_ports(1)
    page_folder, folder = tmp_path_factory.mktemp("page"), tmp_path_factory.mktemp("prometheus")
    with (
        serving(model_file) as server,
        page_process.running(
            page_folder, server.url, KALECAST_METRICS_PORT=str(metrics_port)
        ) as page,
        prometheus_process.running(
            folder,
            RULES,
            {
                "kalecast-page": f"127.0.0.1:{metrics_port}",
                "kalecast-model-server": f"127.0.0.1:{server.ports.metrics}",
            },
            NAMESPACE,
        ) as prometheus,
    ):

        def send() -> None:
            history = ", ".join(map(str, WEEK))
            answer = requests.post(
                page.url + "/api/forecast", json={"history": history}, timeout=30
            )
            assert answer.ok, answer.text
            assert server.predict({"data": {"ndarray": [WEEK]}}).ok

        # A counter's first value is no growth: requests go on until all is recorded.
        for _ in range(60):
            send()
            if not not_recorded(prometheus):
                break
            time.sleep(0.5)
        yield prometheus


def not_recorded(prometheus: Prometheus) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Recording rules, with their labels, of which Prometheus has no series."""
    found = {
        (series["metric"]["__name__"], label)
        for series in prometheus.query('{__name__=~"kalecast:.*"}')
        for label in series["metric"].items()
    }
    wanted = {
        (rule["record"], label)
        for group in RULES
        for rule in group["rules"]
        if "record" in rule
        for label in {**rule.get("labels", {}), "namespace": NAMESPACE}.items()
    }
    return wanted - found


@pytest.mark.slow
def test_everything_is_recorded_of_a_service_that_runs(watched: Prometheus) -> None:
    assert not not_recorded(watched)
    for group in watched.get("rules")["groups"]:
        for rule in group["rules"]:
            assert rule["health"] == "ok", rule
    assert not watched.query('ALERTS{alertstate="firing"}')
    left = watched.query("kalecast:objective_budget:left")
    assert {float(series["value"][1]) for series in left} == {1.0}


@pytest.mark.slow
def test_every_panel_of_the_dashboard_has_something_to_show(watched: Prometheus) -> None:
    for expression in expressions():
        query = expression.replace("$namespace", NAMESPACE).replace("$__rate_interval", "1m")
        found = watched.query(query)
        if not any(word in query for word in (*OF_KUBERNETES, *WHEN_SOMETHING_FAILS)):
            assert found, query
    (chosen,) = [one for one in DASHBOARD["templating"]["list"] if one["name"] == "namespace"]
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", chosen["query"]["query"]).groups()
    assert watched.get(f"label/{label}/values", **{"match[]": metric}) == [NAMESPACE]
