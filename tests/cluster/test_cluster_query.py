"""`make cluster-query` against the real model server and page; kubectl is a stand-in."""

import http.client
import json
import os
import re
import shlex
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import page_process
import psutil
import pytest
from sample_series import hourly_series
from seldon_server import PYTHON, ROOT, Server, serving

from kalecast.client import grpc as grpc_client
from kalecast.client.rest import RequestError, ServerAddress, forecast_over_http, read_contract
from kalecast.cluster import query
from kalecast.cluster.port_forward import PortForward

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason=f"the model server's environment: {PYTHON}"),
]
STAND_IN = ROOT / "tests" / "support" / "stand_in_kubectl.py"
SERVICE = {
    "spec": {
        "selector": {"seldon-app": "kalecast-model-server"},
        "ports": [{"name": "http", "port": 9000}, {"name": "grpc", "port": 9500}],
    }
}


@dataclass
class Cluster:
    """What the stand-in for kubectl finds."""

    folder: Path
    state: dict[str, Any] = field(default_factory=dict)

    def set(self, **changes: Any) -> None:
        self.state |= changes
        (self.folder / "state.json").write_text(json.dumps(self.state))

    def forwards(self) -> list[int]:
        """The processes that forwarded ports, oldest first."""
        file = self.folder / "forwards"
        return [int(line) for line in file.read_text().split()] if file.exists() else []


@pytest.fixture(scope="module")
def server(model_file: Path) -> Iterator[Server]:
    with serving(model_file) as running:
        yield running


@pytest.fixture
def cluster(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.parent.mkdir()
    # In place: the process id of a port-forward must be the right one.
    command = shlex.join([sys.executable, str(STAND_IN)])
    kubectl.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{kubectl.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("KUBECTL_STATE", str(tmp_path / "state.json"))
    cluster = Cluster(tmp_path)
    targets = {"9000": server.ports.http, "9500": server.ports.grpc}
    cluster.set(services={"team": SERVICE}, ready=True, targets=targets)
    return cluster


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two series; the second has missing values."""
    frame = hourly_series(2, 400)
    frame.loc[frame.index[-5:-2], "y"] = np.nan
    path = tmp_path / "hours.csv"
    frame.to_csv(path, index=False)
    return path


##### Through kubectl #####


def test_rest_and_grpc_give_the_same_forecast(
    cluster: Cluster, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert query.main(["--data", str(data), "--series", "series_1"]) == 0
    printed = capsys.readouterr().out
    assert "server     Service kalecast-model-server in namespace team" in printed
    assert "model      forecaster, version 20260102-030405-abcdef" in printed
    assert (
        "history    168 values of 'series_1' up to 2026-01-17 15:00, 3 of them missing" in printed
    )
    assert re.search(r"2\.5 % +10 % +median +90 % +97\.5 %", printed)
    assert printed.count("2026-01-17 ") == 1 + 8
    assert "and 12 more" in printed
    assert re.search(r"rest and grpc agree \(at most \S+ apart\)", printed.splitlines()[-1])
    (process,) = cluster.forwards()
    assert not psutil.pid_exists(process)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_one_protocol_is_enough(
    protocol: str, cluster: Cluster, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert query.main(["--data", str(data), "--namespace", "team", "--protocol", protocol]) == 0
    printed = capsys.readouterr().out
    assert re.search(rf"^{protocol} +\d+ ms, answered by version 2026", printed, re.MULTILINE)
    assert "agree" not in printed


POD = {"metadata": {"name": "pod-1"}, "status": {"phase": "Pending"}}
PULLING = {**POD, "status": {"containerStatuses": [{"state": {"waiting": {"reason": "ErrPull"}}}]}}
FORBIDDEN = "Error from server (Forbidden): services is forbidden: you are nobody"
REFUSED = "The connection to the server 127.0.0.1:6443 was refused"


@pytest.mark.parametrize(
    "missing",
    [
        (
            {"error": REFUSED},
            [],
            f"of context 'tests' does not answer; does KUBECONFIG .* {REFUSED}",
        ),
        ({"error": FORBIDDEN}, [], "does not let you look into all of them"),
        ({"error": FORBIDDEN}, ["--namespace", "team"], "does not let you look: .*nobody"),
        ({"services": {}}, [], "run the pipeline's step deploy"),
        ({"services": {"a": {}, "b": {}}}, [], "several have a Service '.*': a, b"),
        ({}, ["--namespace", "tem"], "Namespace 'tem' has no Service '.*'; these have one: team"),
        ({"ready": False}, [], "is ready: there is none"),
        ({"ready": False, "pods": [POD]}, [], r"is ready: pod-1 \(Pending\)"),
        ({"ready": False, "pods": [PULLING]}, [], r"is ready: pod-1 \(ErrPull\)"),
        ({"services": {"team": {"spec": {"ports": [{"port": 80}]}}}}, [], "ports named http and"),
        (
            {"forward_error": "error: no permission"},
            [],
            "kubectl port-forward failed .*: error: no perm",
        ),
        ({}, ["--series", "none"], "Expected the name of one of the series"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(
    missing: tuple[dict[str, Any], list[str], str],
    cluster: Cluster,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state, arguments, words = missing
    cluster.set(**state)
    assert query.main(["--data", str(data), *arguments]) == 1
    printed = capsys.readouterr().err
    assert re.search(words, printed), printed
    assert "Traceback" not in printed
    assert not any(psutil.pid_exists(process) for process in cluster.forwards())


def test_without_kubectl(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert query.main(["--data", str(data)]) == 1
    assert "Expected 'kubectl' on the PATH" in capsys.readouterr().err


def test_a_port_forward_leads_to_the_next_pod_at_the_same_ports(cluster: Cluster) -> None:
    with PortForward("team") as forward:
        address = ServerAddress(f"http://{forward.http}")
        version = read_contract(address).version
        os.kill(cluster.forwards()[0], signal.SIGKILL)
        # The next one is another process at the same ports.
        assert query._with_retries(lambda: read_contract(address)).version == version
        assert f"http://{forward.http}" == address.url
    assert len(cluster.forwards()) == 2
    assert not any(psutil.pid_exists(process) for process in cluster.forwards())


def test_a_port_forward_ends_with_the_process_that_opened_it(cluster: Cluster) -> None:
    code = "from kalecast.cluster.port_forward import PortForward; forward = PortForward('team'); "
    code += "print(forward.http, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout
    assert process.stdout.readline()
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(cluster.forwards()[0]):
        assert time.monotonic() < deadline
        time.sleep(0.02)


##### At an ingress #####


class Quiet(BaseHTTPRequestHandler):
    """Answers, and logs nothing."""

    def answer(self, status: int, body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def listening(handler: type[Quiet], certificate: Path | None = None) -> Iterator[int]:
    """A server on a port of its own, with TLS where it has a certificate."""
    listener = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
    threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield listener.server_port
    finally:
        listener.shutdown()
        listener.server_close()


@contextmanager
def ingress(server: Server, certificate: Path) -> Iterator[str]:
    """TLS, a path of Istio's and a token before the model server."""

    class Handler(Quiet):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            _, found, path = self.path.partition("/seldon/team/kalecast")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if not found:
                self.answer(404, b"<html>nothing here</html>")
            elif self.headers.get("Authorization") != "Bearer secret":
                self.answer(403, b"RBAC: access denied")
            else:
                inner = http.client.HTTPConnection("127.0.0.1", server.ports.http, timeout=30)
                inner.request(self.command, path, body, {"Content-Type": "application/json"})
                answer = inner.getresponse()
                self.answer(answer.status, answer.read())

    with listening(Handler, certificate) as port:
        yield f"https://localhost:{port}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tls") / "tls.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    named = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(file), "-out", "-"]
    done = subprocess.run([*command.split(), *named], capture_output=True, text=True, check=True)
    with file.open("a") as both:
        both.write(done.stdout)
    return file


def test_an_ingress_is_queried_with_token_and_authority(
    server: Server,
    certificate: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def message(url: str, code: int) -> str:
        assert query.main(["--data", str(data), "--url", url]) == code
        captured = capsys.readouterr()
        return captured.out + captured.err

    with ingress(server, certificate) as host:
        url = f"{host}/seldon/team/kalecast"
        assert "is not one that is trusted here" in message(url, 1)
        for file in (data, data.parent / "none.pem"):
            monkeypatch.setenv("KALECAST_CA", str(file))
            words = f"Expected a file with certificates in KALECAST_CA, received: {file}."
            assert words in message(url, 1)
        monkeypatch.setenv("KALECAST_CA", str(certificate))
        assert "does not let you in (HTTP 403): is KALECAST_TOKEN set" in message(url, 1)
        monkeypatch.setenv("KALECAST_TOKEN", "secret")
        assert "rest " in message(url, 0)
        assert "has no model server (HTTP 404)" in message(f"{host}/elsewhere", 1)


def test_istio_finds_the_server_over_grpc_by_headers() -> None:
    address = ServerAddress(
        "https://h/seldon/team/kalecast/", {"Authorization": "Bearer t"}, "ca.pem"
    )
    found = query._grpc_address(address)
    assert (found.server, found.tls, found.ca_file) == ("h:443", True, "ca.pem")
    assert found.headers == {"authorization": "Bearer t", "namespace": "team", "seldon": "kalecast"}


def test_the_page_is_queried_too(
    server: Server, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with page_process.running(tmp_path / "page", server.url) as page:
        assert query.main(["--data", str(data), "--url", page.url, "--series", "series_1"]) == 0
        assert "page " in capsys.readouterr().out
        assert query.main(["--data", str(data), "--url", page.url, "--protocol", "grpc"]) == 1
        assert "is the page, which speaks no gRPC" in capsys.readouterr().err


##### Wrong ports and histories #####


def test_wrong_ports_are_named(
    server: Server, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def message(url: str, protocol: str) -> str:
        assert query.main(["--data", str(data), "--url", url, "--protocol", protocol]) == 1
        return capsys.readouterr().err

    grpc = f"http://127.0.0.1:{server.ports.grpc}"
    assert "speaks gRPC, not HTTP" in message(grpc, "rest")
    assert "speaks HTTP, not gRPC" in message(server.url, "grpc")
    assert "does not speak TLS: is it http://" in message(
        server.url.replace("http", "https"), "rest"
    )
    metrics = f"http://127.0.0.1:{server.ports.metrics}"
    assert "has no model server (HTTP 404)" in message(metrics, "rest")
    assert "No model server answers at http://127.0.0.1:1" in message("http://127.0.0.1:1", "rest")
    assert "Expected URL=https://…" in message("models.example.org", "rest")


def test_a_refused_history_is_reported_in_the_servers_words(server: Server) -> None:
    short = np.ones(2)
    with pytest.raises(RequestError, match=r"refuses this history: .*too short"):
        forecast_over_http(ServerAddress(server.url), short)
    grpc = query.GrpcAddress(f"127.0.0.1:{server.ports.grpc}")
    with pytest.raises(RequestError, match=r"refuses this history: .*too short"):
        query.forecast_over_grpc(grpc, short)


@contextmanager
def foreign(answers: dict[str, tuple[int, int, bytes]]) -> Iterator[str]:
    """A program that answers at each path with a status, a length that it claims, and a body."""

    class Handler(Quiet):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, length, body = answers[self.path]
            self.answer(status, body, length)

        do_POST = do_GET

    with listening(Handler) as port:
        yield f"http://127.0.0.1:{port}"


def test_an_error_whose_body_breaks_off_keeps_its_status() -> None:
    with foreign({"/metadata": (500, 99, b"{")}) as url, pytest.raises(RequestError) as caught:
        read_contract(ServerAddress(url))
    assert caught.value.status == 500
    assert "answers with HTTP 500" in str(caught.value)


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"forecast": {"0.5": ["a"]}}'])
def test_a_page_that_answers_with_something_else(body: bytes, server: Server) -> None:
    contract = read_contract(ServerAddress(server.url))
    with (
        foreign({"/api/forecast": (200, len(body), body)}) as url,
        pytest.raises(RequestError, match="answers, but not with a forecast"),
    ):
        query.forecast_of_page(ServerAddress(url), np.ones(contract.input_length), contract)


def test_a_grpc_answer_without_a_forecast() -> None:
    """Seldon's messages are lenient: what holds no tensor reads as an empty one."""
    answer = grpc_client.seldon.SeldonMessage()
    handler = grpc.unary_unary_rpc_method_handler(lambda *_: answer.SerializeToString())
    methods = grpc.method_handlers_generic_handler("seldon.protos.Seldon", {"Predict": handler})
    other = grpc.server(ThreadPoolExecutor(1), handlers=[methods])
    port = other.add_insecure_port("127.0.0.1:0")
    other.start()
    try:
        with pytest.raises(RequestError, match="over gRPC, but not with a forecast"):
            query.forecast_over_grpc(query.GrpcAddress(f"127.0.0.1:{port}"), np.ones(3))
    finally:
        other.stop(None).wait()


def test_forecasts_that_differ_are_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    one = np.ones((24, 5))
    assert query._agree({"rest": one, "grpc": one + 1e-9})
    assert not query._agree({"rest": one, "grpc": one + 1e-3})
    assert not query._agree({"rest": one, "grpc": np.ones((12, 5))})
    assert capsys.readouterr().out.count("DIFFER") == 2


def test_bars_show_the_shape_and_the_gaps() -> None:
    assert query.sparkline(np.array([0.0, 3.5, np.nan, 7.0])) == "▁▅ █"
    assert query.sparkline(np.ones(3)) == "▁▁▁"
