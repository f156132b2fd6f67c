"""A new version is tried beside the one that serves, and takes all or is withdrawn."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cluster_double import ClusterDouble, a_cluster
from stand_in_server import StandInServer, standing_in

from kalecast.cluster.canary import Canary, canary_pods, release
from kalecast.cluster.canary_watch import _Counted
from kalecast.cluster.deployment import DeploymentSettings, render
from kalecast.cluster.rollout import Timeouts
from kalecast.cluster.seldon_deployment import DeploymentError, SeldonDeployment
from kalecast.cluster.service_figures import Figures, parse
from kalecast.serving.metrics import Metrics

SETTINGS = DeploymentSettings(namespace="team", minimum_replicas=2)
QUICK = Timeouts(total=0.3, pulling=0.05, interval=0.01)
SHORT = Canary(percent=20, minutes=0.005, least_requests=20, interval=0.03)
LONG = replace(SHORT, minutes=1)
"""For what ends before its time: however slow the machine is."""


class VersionPods:
    """The pods of one version: they answer, and report what they have counted."""

    def __init__(self, server: StandInServer, metrics_port: int, metrics: Metrics) -> None:
        self.server, self.metrics_port, self.metrics = server, metrics_port, metrics
        self.traffic: Callable[[], None] = self.answers_well

    def answers_well(self) -> None:
        for _ in range(40):
            self.metrics.answered("seldon", 200, 0.004)

    def fails(self) -> None:
        self.answers_well()
        for _ in range(5):
            self.metrics.answered("seldon", 500, 0.004)
            self.metrics.answered("seldon-grpc", "INTERNAL", 0.004)

    def refuses(self) -> None:
        self.answers_well()
        for _ in range(10):
            self.metrics.answered("seldon", 422, 0.001)

    def is_slow(self) -> None:
        for _ in range(40):
            self.metrics.answered("seldon", 200, 0.9)


@contextmanager
def version_pods(host: str, ports: tuple[int, int] = (0, 0)) -> Iterator[VersionPods]:
    """Pods of a version at an address of their own, with the ports that all have."""
    with standing_in(host=host, port=ports[0]) as server:
        metrics = Metrics()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                version.traffic()
                body = metrics.page()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        text = ThreadingHTTPServer((host, ports[1]), Handler)
        version = VersionPods(server, text.server_address[1], metrics)
        threading.Thread(target=text.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield version
        finally:
            text.shutdown()
            text.server_close()


class Team:
    """A cluster in which v1 serves, and v2 is to come."""

    def __init__(self, cluster: ClusterDouble, v1: VersionPods, v2: VersionPods) -> None:
        self.cluster, self.v1, self.v2 = cluster, v1, v2
        self.text: list[str] = []

    def deployment(self, name: str, **changes: Any) -> SeldonDeployment:
        settings = replace(SETTINGS, **changes)
        made = render(f"s3://models/forecaster-{name}.onnx", name, settings)
        ports = {"http": self.v1.server.port, "metrics": self.v1.metrics_port}
        for port in made.container["ports"]:
            port["containerPort"] = ports.get(port["name"], port["containerPort"])
        return made

    def release(self, name: str, canary: Canary = SHORT, **changes: Any) -> None:
        deployment = self.deployment(name, **changes)
        release(deployment, canary, self.cluster.cluster(), self.text.append, QUICK)

    def failure(self, name: str = "v2", canary: Canary = SHORT) -> str:
        with pytest.raises(DeploymentError) as caught:
            self.release(name, canary)
        return str(caught.value)

    @property
    def predictors(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cluster.objects["kalecast"]["spec"]["predictors"]
        return found


@pytest.fixture
def team() -> Iterator[Team]:
    with ExitStack() as stack:
        cluster = stack.enter_context(a_cluster())
        v1 = stack.enter_context(version_pods("127.0.0.1"))
        ports = (v1.server.port, v1.metrics_port)
        v2 = stack.enter_context(version_pods("127.0.0.2", ports))
        cluster.addresses = {"v1": "127.0.0.1", "v2": "127.0.0.2"}
        made = Team(cluster, v1, v2)
        made.release("v1")
        assert "version v1 serves with 2 pods" in made.text
        made.text.clear()
        yield made


def test_a_version_that_holds_takes_all(team: Team):
    team.release("v2")
    assert team.cluster.version() == "v2"
    (predictor,) = team.predictors
    assert (predictor["name"], "traffic" in predictor) == ("default", False)
    assert team.text[0] == "version v2 beside version v1: 1 of 3 pods"
    assert any(line.startswith("  v2: ") and "0 failures" in line for line in team.text)
    assert "version v2 has held for 0.005 minutes" in team.text
    assert team.text[-1] == "version v2 serves with 2 pods"


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (VersionPods.fails, "of its answers are failures, 0.0% of the other's"),
        (VersionPods.refuses, "of the requests, the other 0.0%"),
        (VersionPods.is_slow, "99 of 100 answers take up to 0.99 s, the other's 0.00 s"),
    ],
)
def test_a_version_that_does_worse_is_withdrawn(
    what: Callable[[VersionPods], None], reason: str, team: Team
):
    team.v2.traffic = lambda: what(team.v2)
    message = team.failure()
    assert "Version v2 is withdrawn: " in message
    assert reason in message
    assert message.endswith("Version v1 serves again.")
    assert [one["name"] for one in team.predictors] == ["default"]
    assert team.cluster.version() == "v1"


@pytest.mark.parametrize("what", [VersionPods.fails, VersionPods.refuses, VersionPods.is_slow])
def test_what_the_other_does_as_badly_is_no_reason(what: Callable[[VersionPods], None], team: Team):
    for version in (team.v1, team.v2):
        version.traffic = lambda version=version: what(version)
    team.release("v2")
    assert team.cluster.version() == "v2"


@pytest.mark.parametrize("fate", ["no-image", "crash", "no-room", "starting"])
def test_one_whose_pods_do_not_start_leaves_the_other_alone(fate: str, team: Team):
    team.cluster.fates["v2"] = fate
    message = team.failure()
    assert message.endswith("Version v1 serves again.")
    assert team.cluster.version() == "v1"


def test_one_that_crashes_while_it_is_watched_is_withdrawn(team: Team):
    team.v2.traffic = lambda: team.cluster.fates.update(v2="crash")
    assert "the model file is no ONNX file" in team.failure(canary=LONG)
    assert team.cluster.version() == "v1"


def test_a_version_that_gives_no_forecast_is_noticed_without_any_customer(team: Team):
    team.v1.traffic = team.v2.traffic = lambda: None
    team.v2.server.behaviour.hangs_up = True
    assert "No model server answers" in team.failure(canary=LONG)


def test_figures_that_cannot_be_read_say_so(team: Team):
    team.cluster.addresses["v2"] = "127.0.0.3"  # where nothing listens
    message = team.failure(canary=LONG)
    assert "may pods of a pipeline reach the model server's ports?" in message


def test_its_model_changes_and_nothing_else(team: Team):
    team.release("v2", minimum_replicas=1, maximum_replicas=3, cpu="1", image="another:1")
    assert team.predictors == team.deployment("v2").predictors


def test_restarts_before_the_watch_are_borne_with_and_later_ones_not(team: Team):
    team.cluster.started_again["v2"] = 2
    team.release("v2")
    assert team.cluster.version() == "v2"
    team.cluster.addresses["v3"] = "127.0.0.2"
    team.v2.traffic = lambda: team.cluster.started_again.update(v3=1)
    assert "was started again" in team.failure("v3", LONG)


def test_who_is_stopped_leaves_no_canary_behind(team: Team):
    team.v2.traffic = lambda: os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(SystemExit):
        team.release("v2", LONG)
    assert [one["name"] for one in team.predictors] == ["default"]
    assert team.cluster.version() == "v1"
    assert "stopped: version v2 is withdrawn" in team.text


def test_no_room_is_no_fault_of_the_version(team: Team):
    team.cluster.fates["v2"] = "no-room"
    team.failure()
    del team.cluster.fates["v2"]
    team.release("v2")
    assert team.cluster.version() == "v2"


def test_what_was_withdrawn_is_not_tried_again_by_a_repeated_step(team: Team):
    team.v2.traffic = team.v2.fails
    team.failure(canary=LONG)
    calls = len(team.cluster.calls)
    message = team.failure()
    assert message.startswith("Version v2 was withdrawn before and is not tried again. ")
    assert "of its answers are failures" in message
    assert all(method == "GET" for method, _ in team.cluster.calls[calls:])


def test_a_canary_that_was_left_behind_is_no_version_to_go_back_to(team: Team):
    left = team.deployment("v1").with_canary(team.deployment("v2"), 20, 1).manifest
    cluster = team.cluster.cluster()
    release(team.deployment("v1"), SHORT, cluster, team.text.append, QUICK)
    number = team.cluster.objects["kalecast"]["metadata"]["resourceVersion"]
    team.cluster.objects["kalecast"] = left
    left["metadata"]["resourceVersion"] = number
    team.cluster.fates["v2"] = "crash"
    assert team.failure().endswith("Version v1 serves again.")
    assert [one["name"] for one in team.predictors] == ["default"]


def test_without_a_canary_all_pods_change_at_once(team: Team):
    team.release("v2", Canary(percent=0))
    assert not any("beside" in line for line in team.text)
    assert team.cluster.version() == "v2"


def test_the_same_version_again_needs_no_canary(team: Team):
    team.release("v1")
    assert not any("beside" in line for line in team.text)


def test_two_predictors_are_what_the_operator_takes():
    v1, v2 = (render("s3://models/f.onnx", version, SETTINGS) for version in ("v1", "v2"))
    stable, fresh = v1.with_canary(v2, 10, 1).predictors
    assert (stable["traffic"], fresh["traffic"]) == (90, 10)
    assert stable["name"] != fresh["name"]
    assert "pdbSpec" not in fresh["componentSpecs"][0]
    assert fresh["replicas"] == 1
    assert stable["componentSpecs"] == v1.predictor["componentSpecs"]


@pytest.mark.parametrize(
    ("percent", "stable", "pods"), [(10, 4, 1), (20, 4, 1), (25, 4, 2), (50, 4, 4), (10, 16, 2)]
)
def test_a_canarys_pods_give_it_its_percent_or_more(percent: int, stable: int, pods: int):
    assert canary_pods(percent, stable) == pods
    assert 100 * pods >= percent * (pods + stable)


def test_too_few_answers_are_no_proof():
    few, enough = Figures(requests=5), Figures(requests=500)
    for canary, stable, text in (
        (few, enough, "it answered 5"),
        (enough, few, "the other answered"),
    ):
        assert Canary().against(canary, stable, at_the_end=False) is None
        assert text in str(Canary().against(canary, stable, at_the_end=True))


def test_chance_alone_is_no_reason():
    stable = Figures(requests=4000, failed=40)
    assert Canary().against(Figures(requests=100, failed=3), stable, at_the_end=False) is None
    assert Canary().against(Figures(requests=1000, failed=60), stable, at_the_end=False)


def test_a_pod_that_is_started_again_counts_on():
    counted = _Counted()
    for requests in (100, 150, 10, 30):
        counted.look("pod", Figures(requests=requests))
    assert counted.so_far().requests == 50 + 30


def test_impossible_shares_and_times_are_refused():
    with pytest.raises(ValueError, match="0 to 50 percent, received: 60"):
        Canary(percent=60)
    with pytest.raises(ValueError, match="more than 0 minutes"):
        Canary(minutes=0)


def test_figures_are_read_from_what_the_server_writes():
    metrics = Metrics()
    for code in (200, 200, 422, 500, 503, "OK", "INVALID_ARGUMENT", "UNAVAILABLE"):
        metrics.answered("any", code, 0.02)
    figures = parse(metrics.page().decode())
    assert (figures.requests, figures.failed, figures.refused) == (8, 3, 2)
    assert 0.01 < figures.seconds(0.99) <= 0.025
    assert Canary().most_failed < figures.share(figures.failed)


def test_probes_are_no_answers():
    metrics = Metrics()
    metrics.answered("other", 200, 0.001)
    metrics.answered("seldon", 200, 0.001)
    assert parse(metrics.page().decode()).requests == 1


def test_seconds_beyond_the_last_bound_are_that_bound():
    metrics = Metrics()
    metrics.answered("any", 200, 60.0)
    assert parse(metrics.page().decode()).seconds(0.99) == 10.0
