"""The SeldonDeployment as the cluster receives it, against a stand-in for its API."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kubernetes import client

from kalecast.deployment import (
    DeploymentError,
    DeploymentSettings,
    apply,
    on_cluster,
    render,
    wait_until_ready,
)

URI = "s3://models/forecaster.onnx"
SETTINGS = DeploymentSettings(name="kalecast", namespace="team", image="registry.local/server:1")


@dataclass
class Cluster:
    """What the stand-in keeps: the objects, the calls, and the states still to come."""

    objects: dict = field(default_factory=dict)
    calls: list = field(default_factory=list)
    states: list = field(default_factory=list)
    refusal: int | None = None
    port: int = 0

    def api(self) -> client.CustomObjectsApi:
        configuration = client.Configuration(host=f"http://127.0.0.1:{self.port}")
        return client.CustomObjectsApi(client.ApiClient(configuration))


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    state = Cluster()

    class Handler(BaseHTTPRequestHandler):
        def reply(self, code: int, content: dict) -> None:
            body = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def handle_call(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            content = json.loads(body) if body else {}
            state.calls.append((self.command, self.path))
            name = content.get("metadata", {}).get("name")
            if state.refusal:
                self.reply(state.refusal, {"message": "no such right"})
            elif self.command == "POST" and name in state.objects:
                self.reply(409, {"reason": "AlreadyExists"})
            elif self.command in ("POST", "PATCH"):
                state.objects[name] = content
                self.reply(200, content)
            else:
                found = dict(state.objects[self.path.rsplit("/", 1)[1]])
                found["status"] = state.states.pop(0) if len(state.states) > 1 else state.states[0]
                self.reply(200, found)

        do_GET = do_POST = do_PATCH = handle_call

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


def test_apply_creates_and_a_second_time_patches(cluster: Cluster):
    manifest = render(URI, "v1", SETTINGS)
    apply(manifest, cluster.api())
    apply(manifest, cluster.api())
    path = "/apis/machinelearning.seldon.io/v1/namespaces/team/seldondeployments"
    assert cluster.calls == [("POST", path), ("POST", path), ("PATCH", f"{path}/kalecast")]
    assert cluster.objects["kalecast"] == manifest


def test_a_refusal_names_object_namespace_and_reason(cluster: Cluster):
    cluster.refusal = 403
    with pytest.raises(
        DeploymentError, match=r"'kalecast' in namespace 'team': 403 .*no such right"
    ):
        apply(render(URI, "v1", SETTINGS), cluster.api())


def test_waiting_reports_each_state_once(cluster: Cluster):
    manifest = render(URI, "v1", SETTINGS)
    apply(manifest, cluster.api())
    cluster.states = [{}, {}, {"state": "Creating"}, {"state": "Available"}]
    told: list[str] = []
    wait_until_ready(manifest, api=cluster.api(), report=told.append, interval=0.01)
    assert told == [
        "SeldonDeployment 'kalecast': Creating",
        "SeldonDeployment 'kalecast': Available",
    ]


def test_a_failed_deployment_says_why(cluster: Cluster):
    manifest = render(URI, "v1", SETTINGS)
    apply(manifest, cluster.api())
    cluster.states = [{"state": "Failed", "description": "image not found"}]
    with pytest.raises(DeploymentError, match="image not found"):
        wait_until_ready(manifest, api=cluster.api(), interval=0.01)


def test_waiting_ends(cluster: Cluster):
    manifest = render(URI, "v1", SETTINGS)
    apply(manifest, cluster.api())
    cluster.states = [{"state": "Creating"}]
    with pytest.raises(DeploymentError, match="Creating after 0 s"):
        wait_until_ready(manifest, timeout=0.05, api=cluster.api(), interval=0.01)


def test_the_container_carries_the_graphs_name_uri_and_probes():
    (predictor,) = render(URI, "v1", SETTINGS)["spec"]["predictors"]
    (component,) = predictor["componentSpecs"]
    (container,) = component["spec"]["containers"]
    assert container["name"] == predictor["graph"]["name"]
    (parameter,) = predictor["graph"]["parameters"]
    assert parameter["value"] == URI
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"].startswith("/health/")
    assert component["metadata"]["annotations"]["kalecast/model-version"] == "v1"


def test_impossible_replicas_are_refused():
    with pytest.raises(ValueError, match="minimum_replicas"):
        DeploymentSettings(minimum_replicas=5, maximum_replicas=2)


def test_this_machine_is_no_cluster(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert not on_cluster()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert on_cluster()


@pytest.mark.parametrize("uri", ["models/forecaster.onnx", "file:///models/forecaster.onnx"])
def test_a_path_is_refused_because_pods_cannot_reach_it(uri: str):
    with pytest.raises(DeploymentError, match="every pod can reach"):
        render(uri, "v1", SETTINGS)
