"""The model server's end, and its model's: no request is lost."""

import json
import os
import pty
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from model_files import contract, replace_file, seasonal_naive_bytes
from seldon_server import PYTHON, SERVE, Ports, Server, end, serving

pytestmark = pytest.mark.slow

HISTORY = [float(hour % 24) for hour in range(60)]
MESSAGE = {"data": {"ndarray": [HISTORY]}}


@contextmanager
def clients_querying(server: Server, clients: int = 4) -> Iterator[list[tuple[int, str]]]:
    """Clients that send requests all the while, each on one connection; what they receive."""
    replies: list[tuple[int, str]] = []
    stop = threading.Event()

    def query() -> None:
        with requests.Session() as session:
            while not stop.is_set():
                url = server.url + "/api/v1.0/predictions"
                reply = session.post(url, json=MESSAGE, timeout=10)
                version = reply.json()["meta"]["tags"]["model_version"] if reply.ok else ""
                replies.append((reply.status_code, version))

    threads = [threading.Thread(target=query) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield replies
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def until(condition: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def version(server: Server) -> str:
    return str(server.predict(MESSAGE).json()["meta"]["tags"]["model_version"])


def test_sigterm_takes_readiness_first_and_answers_all_the_while(model_file: Path) -> None:
    with serving(model_file, KALECAST_DRAIN_SECONDS="2") as server:
        with requests.Session() as kept:
            kept.post(server.url + "/api/v1.0/predictions", json=MESSAGE, timeout=10)
            server.process.send_signal(signal.SIGTERM)
            ready = server.url + "/health/status"
            until(lambda: requests.get(ready, timeout=5).status_code == 503, 1.5)
            assert requests.get(server.url + "/health/ping", timeout=5).ok
            # A kept connection is answered, with a header that it is the last time.
            reply = kept.post(server.url + "/api/v1.0/predictions", json=MESSAGE, timeout=10)
            assert (reply.status_code, reply.headers["Connection"]) == (200, "close")
            assert server.predict(MESSAGE).ok
        code, _ = end(server.process, 0)
    assert code == 0


def test_a_second_signal_ends_the_draining(model_file: Path) -> None:
    with serving(model_file, KALECAST_DRAIN_SECONDS="60") as server:
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert end(server.process, signal.SIGTERM)[0] == 0


def test_a_request_that_is_still_being_sent_is_answered(model_file: Path) -> None:
    body = json.dumps(MESSAGE).encode()
    head = (
        "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    with serving(model_file) as server:
        with socket.create_connection(("127.0.0.1", server.ports.http), timeout=10) as connection:
            connection.sendall(head + body[:20])
            time.sleep(0.2)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            connection.sendall(body[20:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert end(server.process, 0)[0] == 0


@pytest.mark.parametrize("by_signal", [True, False])
def test_a_new_model_comes_without_losing_a_request(own_model: Path, by_signal: bool) -> None:
    watch = "0" if by_signal else "0.1"
    with serving(own_model, KALECAST_WATCH_SECONDS=watch) as server:
        with clients_querying(server) as replies:
            until(lambda: len(replies) > 20)
            replace_file(own_model, seasonal_naive_bytes(contract(version="next", horizon=48)))
            if by_signal:
                server.process.send_signal(signal.SIGHUP)
            until(lambda: replies[-1][1] == "next")
            enough = len(replies) + 20
            until(lambda: len(replies) > enough)
        assert {code for code, _ in replies} == {200}
        assert {version for _, version in replies} == {contract().version, "next"}
        metadata = requests.get(server.url + "/metadata", timeout=10).json()
        assert metadata["outputs"][0]["shape"] == [-1, 48, 5]
        assert server.counted('kalecast_model_reloads_total{result="good"}') == 1
        assert server.counted('kalecast_model_info{name="forecaster",version="next"}') == 1


def test_a_bad_model_changes_nothing(own_model: Path) -> None:
    with serving(own_model, KALECAST_WATCH_SECONDS="0") as server:
        with clients_querying(server) as replies:
            replace_file(own_model, b"no model")
            server.process.send_signal(signal.SIGHUP)
            failed = 'kalecast_model_reloads_total{result="bad"}'
            until(lambda: server.counted(failed) == 1)
        assert {code for code, _ in replies} == {200}
        assert version(server) == contract().version
        replace_file(own_model, seasonal_naive_bytes(contract(version="next")))
        server.process.send_signal(signal.SIGHUP)
        until(lambda: version(server) == "next")
        _, logged = end(server.process)
    assert "Going on with" in logged


def test_a_closed_terminal_ends_it_and_a_signal_from_elsewhere_does_not(model_file: Path) -> None:
    ours, its = pty.openpty()
    command = [
        "setsid",
        "--ctty",
        PYTHON,
        *SERVE,
        "--model-uri",
        model_file,
        *Ports.free().options(),
    ]
    server = subprocess.Popen(command, stdin=its, stdout=subprocess.PIPE, text=True)
    os.close(its)
    assert server.stdout is not None
    assert "gRPC" in next(line for line in server.stdout if "gRPC" in line)
    server.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        server.wait(1)
    os.close(ours)
    assert server.wait(30) == 0
