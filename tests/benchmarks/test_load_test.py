"""The load test and the comparison of servers, in small; and what starts and ends servers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from ports import free_ports

from benchmarks.load.local_service import LocalService, ServiceError
from benchmarks.load.routes import checked, histories, seldon_route
from benchmarks.load.stack import NGINX, balancer
from kalecast.artifact.runtime import Forecaster

ROOT = Path(__file__).resolve().parents[2]

SERVER = """
import http.server, os, subprocess, sys
child = subprocess.Popen(["sleep", "60"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = " ".join([self.path, str(child.pid), *sorted(os.environ)]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def small_server(folder: Path, code: str = SERVER, **changes: Any) -> LocalService:
    (port,) = free_ports(1)
    command = [sys.executable, "-c", code, str(port)]
    return LocalService("small server", command, port, "/ready", folder, **changes)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LocalService]:
    with small_server(tmp_path) as service:
        yield service


def child_of(service: LocalService) -> psutil.Process:
    return psutil.Process(int(service.request("GET", "/")[1].split()[1]))


def is_gone(process: psutil.Process) -> bool:
    """Ended, though whoever inherited it may not have noticed yet."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_service_knows_nothing_of_the_shell_and_its_memory_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUNICORN_WORKERS", "7")
    with small_server(tmp_path, environment={"GIVEN": "1"}) as service:
        message = service.request("GET", "/")[1].decode().split()
        all_of_it = service.peak_memory()
        child = child_of(service)
        child.kill()
        while not is_gone(child):
            time.sleep(0.01)
        assert 5 < service.peak_memory() <= all_of_it < 200
    assert "GIVEN" in message and "GUNICORN_WORKERS" not in message


@pytest.mark.parametrize("how", ["kill", "end"])
def test_nothing_of_it_is_left(service: LocalService, how: str) -> None:
    child = child_of(service)
    getattr(service, how)()
    assert is_gone(child)
    with pytest.raises(OSError):
        service.request("GET", "/")
    service.start()
    service.wait()
    assert child_of(service) != child


def test_what_a_service_said_before_it_died_is_reported(tmp_path: Path) -> None:
    with (
        pytest.raises(ServiceError, match=r"(?s)small server ended with status 3.*no model here"),
        small_server(tmp_path, "print('no model here'); exit(3)"),
    ):
        pass


@pytest.mark.skipif(NGINX is None, reason="needs nginx")
def test_the_balancer_asks_the_replica_that_is_there(service: LocalService, tmp_path: Path) -> None:
    nobody = LocalService("nobody", [], *free_ports(1), "/ready", tmp_path)
    with balancer([nobody, service], tmp_path / "nginx") as front:
        answers = [front.request("POST" if at % 2 else "GET", f"/{at}")[0] for at in range(20)]
    assert set(answers) == {200, 501}  # the small server has no POST


def test_answers_with_other_numbers_than_the_models_are_errors(
    service: LocalService, model_file: Path, tmp_path: Path
) -> None:
    forecaster = Forecaster(model_file)
    batches = histories(2, forecaster.contract.input_length)[:, np.newaxis]
    route = seldon_route(service, batches, tmp_path)
    right = forecaster.forecast_windows(batches[0])
    samples = [
        {"client": client, "body": json.dumps({"data": {"ndarray": numbers.tolist()}})}
        for client, numbers in ((0, right), (2, right), (1, right), (0, 1.01 * right))
    ]
    summary = {"ok": 4, "errors": 0, "kinds": {}, "samples": samples}
    (seen,) = checked([summary], route, batches, forecaster)
    assert seen == {"ok": 2, "errors": 2, "kinds": {"wrong forecast": 2}, "compared": 4}


@pytest.mark.slow
def test_load_test(run, model_file: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures"
    small = ("--users", "60", "--rounds", "2", "--plateau", "2", "--think", "0.5")
    paths = ("--model", model_file, "--output", figures)
    message = run("load.load_test", *small, *paths)
    assert message["users"] == 60
    for rounds in ("rounds", "model_rounds", "page_rounds"):
        assert [(one["ok"], one["errors"]) for one in message[rounds]] == [(60, 0)] * 2, rounds
        assert all(one["p50"] <= one["p99"] <= one["seconds"] for one in message[rounds])
    assert message["rounds"][0]["compared"] == 20
    assert (message["plateau"]["ok"] > 60, message["plateau"]["errors"]) == (True, 0)
    assert message["forecasts_per_second"] > 0
    assert 20 < message["server_rss_mib"] < 1000 and 20 < message["app_rss_mib"] < 1000
    assert "<svg" in (figures / "load-test.svg").read_text()
    saved = json.loads((figures / "load-test.json").read_text())
    assert saved["plateau"]["timeline"] and saved["cores"] == len(os.sched_getaffinity(0))
    assert str(tmp_path) not in (figures / "load-test.json").read_text()


@pytest.mark.slow
def test_serving_beside_others(run, model_file: Path, tmp_path: Path) -> None:
    small = ("--users", "60", "--seconds", "0.5", "--repetitions", "1", "--stock", "1x4")
    elsewhere = ("--mlserver", "nowhere", "--output", tmp_path)
    message = run("serving.compare", model_file, *small, *elsewhere)
    saved = json.loads((tmp_path / "serving.json").read_text())
    assert saved.items() >= message.items()
    assert {"ours", "stock, 1 x 4", "bare loop, 1 x 1"} <= message["figures"].keys()
    for ratio in ("throughput_over_stock", "burst_over_stock", "batched_over_bare"):
        assert message[ratio] > 0
    assert message["errors"] == 0
    assert message["cold_start_seconds"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_load_test_leaves_nothing_running(
    model_file: Path, tmp_path: Path, number: int
) -> None:
    small = ("--users", "10", "--rounds", "1", "--route", "api", "--plateau", "60")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.load.load_test", *small),
            *("--model", str(model_file), "--output", str(tmp_path)),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "open connections" in line:
            break
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number
    assert [child for child in children if not is_gone(child)] == []
