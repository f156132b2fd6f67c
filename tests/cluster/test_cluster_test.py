"""The test of a cluster, without one: what it would send, what it concludes, that it cleans up."""

import base64
import json
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import seldon_server
from kubernetes_objects import KUBERNETES, Object, manifests, rendered, title
from model_files import contract, seasonal_naive_bytes
from namespaced_kubectl import NamespacedKubectl

from benchmarks.cluster_test import checks, context, helpers, rendering, scaling
from benchmarks.cluster_test import network_policies as network
from benchmarks.cluster_test.__main__ import main
from benchmarks.cluster_test.in_pod import s3_store as store
from benchmarks.cluster_test.loads import Totals
from benchmarks.cluster_test.options import ALWAYS_REQUIRED, Parameters, read
from benchmarks.cluster_test.outcomes import (
    CheckFailed,
    NotChecked,
    Result,
    State,
    as_json,
    counts,
    table,
)
from benchmarks.cluster_test.working import too_much
from benchmarks.load.stack import SERVER_PYTHON
from kalecast.artifact.runtime import Forecaster
from kalecast.artifact.store import StoreError, fetch, state

OVERLAYS = ("kind", "production", "production-keda", "standalone")
HERE = Parameters(namespace="mine")
FORECAST = b'{"forecast": [1, 2, 3]}'

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


##### Parameters #####


def parameters(*arguments: str) -> Parameters:
    return read(["--model", __file__, *arguments], OVERLAYS, checks.NAMES)


def test_options_are_what_is_done():
    options = parameters("--overlay=kind", "--pods=3-9", "--quiet=overlay", "--require=network")
    assert (options.overlay, options.pods, options.quiet) == ("kind", (3, 9), None)
    assert options.required == (*ALWAYS_REQUIRED, "network")
    assert options.namespace.startswith("kalecast-test-")
    assert parameters().namespace != parameters().namespace
    assert parameters("--require=all").required == checks.NAMES
    assert parameters("--patience=7").timeout == 7
    assert parameters("--namespace=mine") == replace(HERE, model=Path(__file__))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--overlay=nowhere",), "--overlay: invalid choice: 'nowhere'"),
        (("--namespace=No_Name",), "received: 'No_Name'"),
        (("--model=nothing.onnx",), "`make pipeline` makes models/forecaster.onnx"),
        (("--pods=1-3",), "where one is killed another must answer"),
        (("--pods=4-4",), "--pods: Expected pods such as 2-4"),
        (("--quiet=soon",), "--quiet: Expected seconds"),
        (("--timeout=overlay",), "--timeout/--patience: Expected seconds"),
        (("--require=hpa",), "--require: Expected names among objects"),
        (("--only=everything",), "--only: Expected names among objects"),
        (("--pull-secret=/nowhere",), "cannot be read"),
        ((f"--pull-secret={__file__}",), "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said_first(
    arguments: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        parameters(*arguments)
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


def test_a_check_brings_what_it_needs():
    names = [check.name for check in checks.chosen(("scale-in",))]
    assert names == [*ALWAYS_REQUIRED, "scale-out", "scale-in"]
    assert len(checks.chosen(())) == len(checks.CHECKS)


##### What is applied #####


def for_test(overlay: str, **changes: Any) -> rendering.Rendered:
    return rendering.render(rendered()[overlay], replace(HERE, overlay=overlay, **changes))


@every_overlay
def test_nothing_is_left_of_the_overlays_namespace(overlay: str):
    made = for_test(overlay)
    assert {one["metadata"]["namespace"] for one in made.objects} == {"mine"}
    # The operators' overlays also have it in KEDA's queries.
    assert "kubeflow-user-example-com" not in json.dumps(made.objects)
    assert not made.left_out
    assert "Namespace" not in {one["kind"] for one in made.objects}
    assert made.namespace_labels["pod-security.kubernetes.io/enforce"] == "restricted"


@every_overlay
def test_images_and_login_are_those_requested(overlay: str):
    made = for_test(overlay, server_image="x.io:5/s@sha256:0", page_image="p:2", pull_secret="{}")
    assert rendering.images(made.objects) == {"forecaster": "x.io:5/s@sha256:0", "page": "p:2"}
    specs = [spec for one in made.objects for spec in rendering.pod_specs(one)]
    assert all(spec["imagePullSecrets"] == [{"name": rendering.PULL_SECRET}] for spec in specs)


@every_overlay
def test_autoscalers_keep_as_many_pods_as_requested(overlay: str):
    made = for_test(overlay, pods=(3, 5))
    deployments = {workload.deployment for workload in context.WORKLOADS}
    assert rendering.least_pods(made.objects) == dict.fromkeys(deployments, 3)
    assert "autoscalers keep 3 to 5 pods (--pods)" in made.changes
    assert set(rendering.least_pods(for_test(overlay, pods=None).objects)) == deployments


def test_only_what_may_be_changed_is_changed():
    """With the overlay's own settings nothing differs but the place."""
    for_test("standalone", server_image="a/b:1")
    made = for_test("standalone", pods=None, quiet=None)
    kept = [one for one in rendered()["standalone"] if one["kind"] != "Namespace"]
    assert rendering.moved(kept, "kalecast", "mine") == made.objects
    assert made.changes == ["the namespace is mine"]


@every_overlay
def test_that_an_autoscaler_waits_less_is_said(overlay: str):
    made = for_test(overlay, quiet=7)
    waits = [
        one["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"]
        for one in made.of_kind("HorizontalPodAutoscaler")
    ]
    assert set(waits) <= {7}
    assert any("7 quiet seconds" in change for change in made.changes)
    by_operator = any("takes 300" in change for change in made.changes)
    assert by_operator == (overlay in ("kind", "production"))


def test_what_lies_in_no_namespace_is_left_out():
    one = {"apiVersion": "v1", "kind": "ClusterRole", "metadata": {"name": "all"}}
    made = rendering.render([*rendered()["standalone"], one], HERE)
    assert made.left_out == ["ClusterRole/all: it lies in no namespace"]


##### The test's own objects #####


@pytest.fixture(scope="module")
def work() -> helpers.Loads:
    return helpers.loads(Forecaster(seasonal_naive_bytes(contract(name="shop", input_length=200))))


def own_objects(work: helpers.Loads, model: bytes = b"m" * 1_500_000) -> list[Object]:
    options = replace(HERE, pull_secret='{"auths": {}}')
    return [*helpers.objects("s:1", model, work, options), *helpers.closed("s:1", options)]


def test_the_tests_own_objects_are_valid_and_small_enough(work: helpers.Loads):
    for one in [*own_objects(work), helpers.namespace("mine", {}, "run")]:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
        assert len(json.dumps(one)) < 2**20, title(one)
    assert {one["metadata"]["namespace"] for one in own_objects(work)} == {"mine"}


def test_their_pods_meet_the_level_restricted(work: helpers.Loads):
    for pod in (one for one in own_objects(work) if one["kind"] == "Pod"):
        (container,) = pod["spec"]["containers"]
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert pod["spec"]["imagePullSecrets"]


def test_pods_mount_what_is_there(work: helpers.Loads):
    made = own_objects(work)
    there = {
        one["metadata"]["name"]: {*one.get("data", {}), *one.get("binaryData", {})}
        for one in made
        if one["kind"] == "ConfigMap"
    }
    mounted = [
        source["configMap"]
        for pod in (one for one in made if one["kind"] == "Pod")
        for volume in pod["spec"].get("volumes", ())
        for source in volume.get("projected", {}).get("sources", ())
    ]
    assert mounted
    for one in mounted:
        assert {item["key"] for item in one.get("items", ())} <= there[one["name"]]


def test_the_model_arrives_whole(work: helpers.Loads, tmp_path: Path, monkeypatch):
    model = os.urandom(1_500_000)
    for one in own_objects(work, model):
        for name, content in one.get("binaryData", {}).items():
            (tmp_path / name).write_bytes(base64.b64decode(content))
    server = store.serve(tmp_path, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (keys,) = (one for one in own_objects(work) if one["metadata"]["name"].endswith("model-store"))
    for name, value in keys["stringData"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://localhost:{server.server_address[1]}")
    assert fetch(manifests.MODEL_URI) == model
    assert state(manifests.MODEL_URI) == state(manifests.MODEL_URI)
    assert fetch("s3://kalecast/models/no-model.onnx") == b"This is no model."
    with pytest.raises(StoreError, match="NoSuchKey"):
        fetch("s3://kalecast/models/not-there.onnx")
    server.shutdown()
    server.server_close()


def test_a_model_that_does_not_fit_is_refused(work: helpers.Loads):
    with pytest.raises(helpers.ModelTooLargeError, match="received: 42 MB"):
        own_objects(work, bytes(helpers.PIECE * helpers.MOST_PIECES + 1))


##### Programs that run in pods #####


@pytest.fixture
def driver(work: helpers.Loads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls the load as a pod would: the outcome of `start` and of `end`."""
    for one in helpers.objects("s:1", b"m", work, HERE):
        in_package = one["metadata"]["name"] == f"{helpers.LABEL}-driver"
        folder = tmp_path / helpers.PACKAGE if in_package else tmp_path
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in one.get("data", {}).items():
            (folder / name).write_text(content.replace('Path("/tmp")', f"Path({str(tmp_path)!r})"))

    def call(what: str, job: str = "") -> subprocess.CompletedProcess[str]:
        command = [SERVER_PYTHON, tmp_path / helpers.LOAD_CLIENTS, what, "one"]
        return subprocess.run(
            command, cwd=tmp_path, input=job, capture_output=True, text=True, check=False
        )

    return call


def a_load(work: helpers.Loads, address: str, folder: Path) -> str:
    changes = {"forecast_at": ("forecast",), "bodies": str(folder / "page.jsonl")}
    load = {"seconds": 0.1, "clients": 3, "think": 0.01, "addresses": (address,)}
    return replace(work.page, **load, **changes).to_json()


@contextmanager
def failing_now_and_then() -> Iterator[ThreadingHTTPServer]:
    """A server that answers every fifth request with 503, and counts them."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            server.requests.append(self.path)
            self.send_response(200 if len(server.requests) % 5 else 503)
            self.send_header("Content-Length", str(len(FORECAST)))
            self.end_headers()
            self.wfile.write(FORECAST)

        def log_message(self, *_: object) -> None:
            pass

    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def test_the_load_goes_on_until_it_is_stopped(work: helpers.Loads, tmp_path: Path, driver):
    totals = Totals()
    with failing_now_and_then() as server:
        job = a_load(work, f"localhost:{server.server_port}", tmp_path)
        for _ in range(2):  # the second time, as after a lost answer, nothing more is started
            assert driver("start", job).returncode == 0
        ended = driver("end")
        assert driver("end").stdout == ended.stdout
    for line in ended.stdout.splitlines():
        totals.add(json.loads(line))
    assert totals.ok + totals.failed == len(server.requests)
    assert totals.kinds == Counter({"503": totals.failed})
    with pytest.raises(CheckFailed, match="503"):
        totals.judge()


def test_a_load_that_cannot_be_is_reported(work: helpers.Loads, tmp_path: Path, driver):
    begun = driver("start", a_load(work, "no.such.host.invalid:1", tmp_path))
    assert begun.returncode == 1
    assert "it did not start: socket.gaierror" in begun.stderr
    assert "it ended by itself" in driver("end").stderr


def run_in_pod(script: str, *arguments: str, python: Path | str = sys.executable) -> Any:
    done = subprocess.run(
        [python, "-", *arguments],
        input=helpers.script(script),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_what_can_be_reached_and_done_is_reported_from_inside():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        to = f"127.0.0.1:{listener.getsockname()[1]}"
        assert run_in_pod("reach.py", to) == {to: True}
    assert run_in_pod("reach.py", to)[to] is not True
    assert set(run_in_pod("inside.py")) == set(HARMLESS)


@pytest.mark.slow
def test_each_protocol_is_queried_and_what_fails_is_reported(model_file: Path):
    with seldon_server.serving(model_file) as server:
        to = (
            "127.0.0.1:9",
            *(f"127.0.0.1:{port}" for port in (server.ports.http, server.ports.grpc)),
        )
        arguments = (*to, "forecaster", "168")
        page, *others = run_in_pod("query.py", *arguments, python=seldon_server.PYTHON).values()
    assert "refused" in page["error"]
    assert [one["numbers"] for one in others] == [24 * 5] * 3


HARMLESS = {
    "user": 10001,
    "writable": [],
    "tmp": True,
    "token": False,
    "capabilities": 0,
    "no_new_privileges": True,
    "seccomp": True,
    "neighbours": [],
}
HARMFUL = {
    "user": (0, "runs as user 0"),
    "writable": (["/", "/app"], "can write to /, /app"),
    "tmp": (False, "cannot write to /tmp"),
    "token": (True, "has a token of the Kubernetes API"),
    "capabilities": (0x400, "has capabilities 0x400"),
    "no_new_privileges": (False, "may gain privileges"),
    "seccomp": (False, "runs without a seccomp profile"),
    "neighbours": (["KALECAST_PAGE"], "has variables of KALECAST_PAGE"),
}


def test_each_right_too_much_is_named():
    assert too_much(HARMLESS) == []
    for name, (value, text) in HARMFUL.items():
        assert too_much({**HARMLESS, name: value}) == [text]


##### What is concluded #####


def test_a_network_is_held_against_the_policies():
    open_path = network.NetworkPath("a", "b:1", "a to b", True)
    denied_path = network.NetworkPath("c", "b:1", "c to b", False)
    paths = [open_path, denied_path]
    as_said = {open_path: True, denied_path: "timed out"}
    assert network.judge(paths, as_said) == ([], [])
    otherwise = {open_path: "timed out", denied_path: True}
    assert network.judge(paths, otherwise) == (["a to b (timed out)"], ["c to b"])


def test_where_nothing_gets_a_denial_proves_nothing():
    control = network.NetworkPath("s", "api:1", "a stranger to the API", True, True)
    denied_path = network.NetworkPath("c", "api:1", "c to the API", False)
    open_path = network.NetworkPath("c", "b:1", "c to b", True)
    paths = [control, denied_path, open_path]
    reached: dict[network.NetworkPath, bool | str] = dict.fromkeys(paths, True)
    assert network.judged(paths, reached) == [denied_path, open_path]
    assert network.judged(paths, {**reached, control: "timed out"}) == [open_path]


def test_an_autoscaler_is_read():
    blind = {"type": "ScalingActive", "status": "False", "message": "no metrics"}
    printed = (
        "kalecast-page   Deployment/kalecast-page   cpu: 180%/70%, 1500m/2 (avg)   2   4   2   5m"
    )
    found = scaling.look({"spec": {}, "status": {"desiredReplicas": 4}}, printed)
    assert (found.wanted, found.problem, found.strain) == (4, "", 180 / 70)
    assert found.seen == "cpu: 180%/70%, 1500m/2 (avg) 2 4 2 5m"
    found = scaling.look({"spec": {}, "status": {"conditions": [blind]}}, "a b cpu: <unknown>/70%")
    assert (found.problem, found.strain) == ("no metrics", 0)


def deployment(**status: int) -> Object:
    counted = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    described = {"observedGeneration": 3, **counted, **status}
    return {"metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": described}


@pytest.mark.parametrize(
    ("status", "least", "report"),
    [
        ({}, 2, ""),
        ({}, 3, "2 pods wanted, 3 expected"),
        ({"observedGeneration": 2}, 2, "not taken up"),
        ({"replicas": 3}, 2, "of 2 pods"),
        ({"updatedReplicas": 1}, 2, "1 updated"),
        ({"readyReplicas": 1}, 2, "1 ready"),
    ],
)
def test_a_deployment_is_done_when_all_of_it_is(status: dict[str, int], least: int, report: str):
    found = context.lacks(deployment(**status), least)
    assert found == report if not report else report in found


def test_hardly_any_load_proves_nothing():
    with pytest.raises(CheckFailed, match="at least 20"):
        Totals(ok=19).judge()
    Totals(ok=20).judge()


RESULTS = [
    Result("ready", State.PASSED, "all of it", 3.21),
    Result("network", State.NOT_CHECKED, "nobody obeys " * 10, 0.0),
    Result("kill", State.FAILED, "3 failed", 40.0),
]


def test_what_was_not_checked_counts_only_where_it_is_required():
    assert [one.check for one in counts(RESULTS, ())] == ["kill"]
    assert [one.check for one in counts(RESULTS, ("network", "ready"))] == ["network", "kill"]


def test_the_table_has_a_row_a_check_within_a_terminals_width_and_the_json_the_same():
    head, line, *rows = table(RESULTS).splitlines()
    assert head.split() == ["check", "result", "s", "what", "was", "seen"]
    assert [row.split()[0] for row in rows if not row.startswith(" ")] == [
        "ready",
        "network",
        "kill",
    ]
    assert max(map(len, (head, line, *rows))) < 110
    summary = json.loads(json.dumps(as_json(RESULTS, ("ready",))))
    assert not summary["ok"]
    assert [summary[state] for state in ("passed", "failed", "not_checked")] == [1, 1, 1]
    assert summary["checks"]["kill"] == {"result": "failed", "seen": "3 failed", "seconds": 40.0}


def test_a_check_whose_need_has_not_passed_is_not_made():
    def fails(_: Any) -> str:
        raise CheckFailed("no")

    def cannot(_: Any) -> str:
        raise NotChecked("nothing here")

    def breaks(_: Any) -> str:
        raise KeyError("x")

    quiet: Any = type("Quiet", (), {"log": print, "settle": lambda self: 0})()
    several = [
        checks.Check("a", lambda _: "seen", "", needs=""),
        checks.Check("b", fails, "", needs="a"),
        checks.Check("c", lambda _: "seen", "", needs="b"),
        checks.Check("d", cannot, "", needs="a"),
        checks.Check("e", breaks, "", needs="a"),
    ]
    made = list(checks.make(several, quiet, print))
    assert [one.state.name for one in made] == [
        *("PASSED", "FAILED", "NOT_CHECKED", "NOT_CHECKED", "FAILED")
    ]
    assert made[2].seen == "'b' has not passed"
    assert made[4].seen == "KeyError: 'x'"


##### A whole run, with a stand-in for kubectl #####


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NamespacedKubectl]:
    stand_in = NamespacedKubectl(tmp_path, manifests.kubectl())
    for name, value in stand_in.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "model.onnx").write_bytes(seasonal_naive_bytes())
    yield stand_in


def run(kubectl: NamespacedKubectl, *more: str) -> int:
    model = str(kubectl.folder / "model.onnx")
    return main(["--model", model, "--namespace=it", "--patience=1", *more])


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return summary


@pytest.mark.parametrize("fault", ["refuse", "no-apply", "stop"])
def test_the_namespace_is_removed_whatever_happens(
    kubectl: NamespacedKubectl, fault: str, monkeypatch, capsys
):
    monkeypatch.setenv("FAULTS", fault)
    code = run(kubectl)
    summary = last_line(capsys)
    assert not kubectl.namespace.exists()
    assert not summary["ok"]
    if fault == "refuse":
        assert summary["checks"]["objects"]["result"] == "failed"
        assert "Service/kalecast-page: Error" in summary["checks"]["objects"]["seen"]
        assert summary["not_checked"] == len(checks.CHECKS) - 1
    assert code == {"refuse": 1, "no-apply": 1, "stop": 143}[fault]
    reason = {"refuse": "", "no-apply": "unknown field spec.portz", "stop": "stopped by SIGTERM"}
    assert reason[fault] in summary["error"]


def test_it_may_be_kept_to_look_at(kubectl: NamespacedKubectl, monkeypatch, capsys):
    monkeypatch.setenv("FAULTS", "no-apply")
    assert run(kubectl, "--keep") == 1
    assert kubectl.namespace.exists()
    assert "kubectl delete namespace it" in capsys.readouterr().err


def test_a_namespace_of_others_is_never_touched(kubectl: NamespacedKubectl, capsys):
    theirs = {"metadata": {"name": "it", "labels": {}}}
    kubectl.namespace.write_text(json.dumps(theirs))
    assert run(kubectl) == 1
    assert json.loads(kubectl.namespace.read_text()) == theirs
    assert "Expected to make the namespace 'it'" in last_line(capsys)["error"]
    assert not any("apply" in call or "delete" in call for call in kubectl.calls)


def test_what_could_not_be_removed_is_reported(kubectl: NamespacedKubectl, monkeypatch, capsys):
    monkeypatch.setenv("FAULTS", "no-apply no-delete")
    assert run(kubectl) == 1
    assert "To do: kubectl delete namespace it" in last_line(capsys)["error"]


def test_without_a_cluster_it_does_not_begin(kubectl: NamespacedKubectl, monkeypatch, capsys):
    monkeypatch.setenv("FAULTS", "no-cluster")
    assert run(kubectl) == 2
    assert "does KUBECONFIG name the right one?" in capsys.readouterr().err


def test_a_dry_run_asks_no_cluster(kubectl: NamespacedKubectl, capsys):
    assert run(kubectl, "--dry-run", "--overlay=production", "--page-image=p:9") == 0
    printed = capsys.readouterr().out
    assert "Makes the namespace it, which is removed at the end" in printed
    assert "the page's image is p:9" in printed
    assert {call[0] for call in kubectl.calls} == {"version"}
