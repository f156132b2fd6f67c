"""The load driver counts what clients got, against a small server that misbehaves on request."""

import json
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from misbehaving_server import CLOSE, FORECAST, SILENCE, reply, serving
from ports import free_ports

from benchmarks.load.job import Job
from benchmarks.load.stack import SERVER_PYTHON

ROOT = Path(__file__).resolve().parents[2]

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

Driver = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    """Runs the driver, with a thousand bodies."""
    bodies = tmp_path / "bodies.jsonl"
    bodies.write_text("".join(f'{{"client": {at}}}\n' for at in range(1000)))

    def run(*addresses: str, **changes: Any) -> subprocess.CompletedProcess[str]:
        job = {
            "shape": "burst",
            "path": "/forecast",
            "bodies": str(bodies),
            "clients": 20,
            "forecast_at": ("forecast",),
            **changes,
        }
        return subprocess.run(
            [SERVER_PYTHON, "-m", "benchmarks.load.driver"],
            cwd=ROOT,
            input=Job(addresses=addresses, **job).to_json(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


@pytest.fixture
def load(driver: Driver) -> Callable[..., dict[str, Any]]:
    """The summary of the only round."""

    def run(*addresses: str, **changes: Any) -> dict[str, Any]:
        done = driver(*addresses, **changes)
        assert done.returncode == 0, done.stderr
        (summary,) = json.loads(done.stdout)["rounds"]
        return summary

    return run


def test_a_burst_sends_once_for_each_client_over_a_connection_of_its_own(load):
    with serving(lambda _, body: reply(b'{"forecast": [' + body + b"]}")) as server:
        seen = load(server.address, clients=300, mark='"client": 7}')
    assert (seen["ok"], seen["errors"], server.connections) == (300, 0, 300)
    assert sorted(json.loads(body)["client"] for body in server.bodies) == [*range(300)]
    assert 0 < seen["p50"] <= seen["p99"] <= seen["slowest"] <= seen["seconds"]
    assert sum(row["ok"] for row in seen["timeline"]) == 300
    assert seen["cpu_microseconds"] > 0
    assert seen["marked"] == sum(row["marked"] for row in seen["timeline"]) == 1
    assert len(seen["samples"]) == 20
    for sample in seen["samples"]:
        assert json.loads(sample["body"])["forecast"] == [{"client": sample["client"]}]


@pytest.mark.slow
def test_each_round_has_its_own_connections_and_counts(driver: Driver):
    with serving(lambda number, _: reply(status=500 if number > 20 else 200)) as server:
        first, second = json.loads(driver(server.address, rounds=2).stdout)["rounds"]
    assert (first["ok"], first["errors"], second["ok"], second["errors"]) == (20, 0, 0, 20)
    assert server.connections == 40


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("503", reply(b"{}", 503)),
        ("500", reply(b"{}", 500)),
        ("204", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("reset", None),
        ("reset", b"HTTP/1.1 200 OK\r\n" + CLOSE.encode() + b"Content-Length: 9\r\n\r\n{}"),
        ("malformed", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        ("malformed", b"HTTP/1.1 OK\r\n\r\n"),
        ("malformed", b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"),
        ("malformed", CHUNKED + b"xyz\r\n"),
        ("wrong content", reply(b"<html>")),
        ("wrong content", reply(b'{"forecast": []}')),
        ("wrong content", reply(b'{"detail": "sorry"}')),
        ("wrong content", reply(b"[1]")),
        ("timeout", SILENCE),
        ("timeout", reply()[:-1]),
    ],
)
def test_errors_are_reported_by_kind(load, kind: str, answer: bytes | None):
    with serving(lambda number, _: answer if number % 4 == 0 else reply()) as server:
        seen = load(server.address, timeout=2.0 if kind == "timeout" else 30.0)
    assert (seen["ok"], seen["errors"], seen["kinds"]) == (15, 5, {kind: 5})
    assert seen["slowest_error"] is not None
    assert len(server.bodies) == 20  # without `retry` nothing is tried again


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED + b'e\r\n{"forecast": [\r\n2;part=2\r\n1]\r\n1\r\n}\r\n0\r\n\r\n',
        CHUNKED + b"17\r\n" + FORECAST + b"\r\n0\r\nX: y\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + reply(),
        reply(more="X: " + "x" * 10_000 + "\r\n"),
    ],
    ids=["chunks", "chunks and trailers", "an interim answer before", "a long head"],
)
def test_answers_are_read_however_they_are_sent(load, answer: bytes):
    with serving(lambda *_: answer) as server:
        seen = load(server.address, shape="steady", clients=1, seconds=0.5)
    assert seen["ok"] > 1
    assert (seen["errors"], server.connections) == (0, 1)


def test_nobody_there(load):
    (port,) = free_ports(1)
    seen = load(f"127.0.0.1:{port}", timeout=5)
    assert (seen["ok"], seen["kinds"], seen["p50"]) == (0, {"refused": 20}, None)


def test_retries_hide_lost_connections_and_refusals(load):
    answers = {1: reply(b"", 503), 2: None}
    with serving(lambda number, _: answers.get(number, reply())) as server:
        seen = load(server.address, retry=True)
    assert (seen["ok"], seen["errors"], seen["retried"]) == (20, 0, 2)
    assert seen["hidden_by_retry"] == {"503": 1, "reset": 1}


def test_retries_go_on_to_the_next_address(load):
    (port,) = free_ports(1)
    with serving(lambda *_: reply()) as server:
        seen = load(f"127.0.0.1:{port}", server.address, retry=True)
    assert (seen["ok"], seen["errors"]) == (20, 0)
    assert seen["hidden_by_retry"] == {"refused": 10}


@pytest.mark.slow
def test_retries_wait_as_the_server_asks(load):
    busy = reply(b"", 503, "Retry-After: 1\r\n")
    with serving(lambda number, _: busy if number == 1 else reply()) as server:
        seen = load(server.address, clients=1, retry=True)
    assert (seen["ok"], seen["retried"]) == (1, 1)
    assert 1.0 <= seen["slowest"] < 1.5


def test_retries_end_at_the_deadline(load):
    with serving(lambda *_: reply(b"", 503)) as server:
        seen = load(server.address, retry=True, timeout=0.5)
    assert (seen["ok"], seen["retried"], sum(seen["kinds"].values())) == (0, 0, 20)
    # The deadline may come while the last try is under way.
    assert seen["kinds"].keys() <= {"503", "timeout"}
    assert len(server.bodies) > 20
    assert seen["seconds"] < 5.0


def test_other_errors_are_not_tried_again(load):
    with serving(lambda *_: reply(b"", 500)) as server:
        load(server.address, retry=True)
    assert len(server.bodies) == 20


def test_steady_clients_send_again_over_the_same_connections(load):
    with serving(lambda *_: reply()) as server:
        seen = load(server.address, shape="steady", clients=4, seconds=0.5)
    assert seen["ok"] == len(server.bodies) > 100
    assert (seen["errors"], server.connections) == (0, 4)
    assert 0.5 <= seen["seconds"] < 1.0


def test_a_plateau_keeps_connections_and_its_rate(load):
    with serving(lambda *_: reply()) as server:
        seen = load(server.address, shape="plateau", clients=100, seconds=2.0, think=0.5)
    assert (seen["errors"], server.connections) == (0, 100)
    assert 250 < seen["ok"] == len(server.bodies) < 550  # 100 / 0.5 s for 2 s


def test_a_connection_that_the_server_ended_is_opened_again(load):
    with serving(lambda number, _: None if number == 5 else reply()) as server:
        seen = load(server.address, shape="steady", clients=1, seconds=1.0)
    assert (seen["kinds"], server.connections) == ({"reset": 1}, 2)
    assert seen["ok"] > 10


def test_a_connection_given_up_before_it_was_used_is_opened_again_once_and_counted(load):
    once = {"shape": "plateau", "clients": 20, "seconds": 0.5, "think": 0.4}
    with serving(lambda number, _: None if number == 5 else reply()) as server:
        seen = load(server.address, **once)
    assert (seen["errors"], seen["hidden_by_retry"]) == (0, {"reset": 1})
    with serving(lambda *_: None) as server:
        seen = load(server.address, **once)
    assert seen["ok"] == 0
    assert seen["kinds"]["reset"] < len(server.bodies) <= seen["kinds"]["reset"] + 20


def test_a_connection_that_the_server_is_to_end_is_not_used_again(load):
    with serving(lambda *_: reply(more=CLOSE)) as server:
        seen = load(server.address, shape="steady", clients=4, seconds=1.0)
    assert seen["errors"] == 0
    assert 10 < seen["ok"] <= server.connections <= seen["ok"] + 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clients": max(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 65536)}, "ulimit"),
        ({"bodies": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"bodies": "/dev/null"}, "Expected a JSON body a line"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(driver: Driver, change: dict, message: str):
    done = driver("127.0.0.1:1", **change)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
