"""What the model server does with more than it can take: it says so at once, and goes on."""

import json
import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from model_files import seasonal_naive_bytes
from seldon_server import Server, serving

pytestmark = pytest.mark.slow

HISTORY = [float(hour % 24) for hour in range(60)]
BODY = json.dumps({"data": {"ndarray": [HISTORY]}}).encode()


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forward pass takes a good part of a second."""
    path = tmp_path_factory.mktemp("models") / "slow.onnx"
    path.write_bytes(seasonal_naive_bytes(work=12))
    return path


def connect(server: Server, body: bytes = BODY, length: int | None = None, *headers: str) -> Any:
    """A connection that has sent a request, or the beginning of one."""
    connection = socket.create_connection(("127.0.0.1", server.ports.http), timeout=20)
    head = [
        "POST /api/v1.0/predictions HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
    ]
    connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
    return connection


def status_of(connection: socket.socket) -> int:
    return int(connection.recv(65536).split(b" ", 2)[1])


def test_requests_beyond_the_limit_are_refused_at_once(model_file: Path) -> None:
    with serving(model_file, KALECAST_MAX_IN_FLIGHT="2") as server, ExitStack() as stack:
        held = [stack.enter_context(connect(server, BODY[:9], len(BODY))) for _ in range(2)]
        time.sleep(0.2)
        started = time.monotonic()
        refused = server.predict({"data": {"ndarray": [HISTORY]}})
        assert time.monotonic() - started < 1
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert refused.json()["status"]["reason"] == "MICROSERVICE_NOT_READY"
        assert requests.get(server.url + "/health/status", timeout=10).ok
        for connection in held:
            connection.sendall(BODY[9:])
            assert status_of(connection) == 200
        assert server.predict({"data": {"ndarray": [HISTORY]}}).ok


def test_a_full_queue_refuses_and_empties(slow_model: Path) -> None:
    settings = {"KALECAST_MAX_BATCH": "1", "KALECAST_MAX_QUEUE": "2"}
    with serving(slow_model, **settings) as server, ExitStack() as stack:
        connections = []
        for _ in range(5):
            connections.append(stack.enter_context(connect(server)))
            time.sleep(0.02)
        assert sorted(status_of(connection) for connection in connections) == [200] * 3 + [503] * 2
        assert server.predict({"data": {"ndarray": [HISTORY]}}).ok


def test_who_hung_up_is_not_computed(slow_model: Path) -> None:
    with serving(slow_model, KALECAST_MAX_BATCH="1") as server, ExitStack() as stack:
        stay = [stack.enter_context(connect(server)) for _ in range(2)]
        time.sleep(0.1)
        for _ in range(6):
            connect(server).close()
        time.sleep(0.1)
        stay.append(stack.enter_context(connect(server)))
        assert [status_of(connection) for connection in stay] == [200] * 3
        # The first of those who left may have been met before the queue was long.
        assert server.counted("kalecast_batch_windows_count") <= 4
        gone = server.counted('kalecast_requests_total{code="499",protocol="seldon"}')
        assert gone >= 5


def test_a_request_whose_time_is_over_is_not_computed(slow_model: Path) -> None:
    with serving(slow_model, KALECAST_MAX_BATCH="1") as server, ExitStack() as stack:
        first = stack.enter_context(connect(server))
        time.sleep(0.05)
        timed = "x-envoy-expected-rq-timeout-ms: 20"
        late = stack.enter_context(connect(server, BODY, None, timed))
        assert (status_of(first), status_of(late)) == (200, 504)
        assert server.counted("kalecast_batch_windows_count") == 1


def test_a_body_that_does_not_arrive_is_given_up(model_file: Path) -> None:
    with serving(model_file, KALECAST_REQUEST_SECONDS="0.3") as server:
        with connect(server, BODY[:9], len(BODY)) as connection:
            assert status_of(connection) == 408
            while connection.recv(65536):  # until it is closed: it is of no more use
                pass
        assert server.predict({"data": {"ndarray": [HISTORY]}}).ok


def test_bodies_together_are_bounded(model_file: Path) -> None:
    with serving(model_file, KALECAST_MAX_BODIES="300000") as server, ExitStack() as stack:
        part = b'{"data": {"ndarray": [[' + b"1," * 60_000
        held = stack.enter_context(connect(server, part, 1_000_000))
        time.sleep(0.2)
        assert server.predict(part + b" " * 200_000).status_code == 503
        held.close()
        time.sleep(0.2)
        assert server.predict({"data": {"ndarray": [HISTORY]}}).ok


@pytest.mark.parametrize(
    "body",
    [
        b'--xx\r\nContent-Disposition: form-data; name="' + b"a " * 250_000 + b'"\r\n\r\n1',
        b"--xx\r\nContent-Disposition: form-data; " + b"a=b; " * 50_000 + b"\r\n\r\n1",
        b"--xx\r\n\r\n" * 300_000,
        b"--xx" * 900_000,
        b"\r\n" * 900_000,
    ],
    ids=["long name", "many parameters", "many parts", "boundaries alone", "line ends alone"],
)
def test_a_form_made_to_keep_the_server_busy(server: Server, body: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=xx"}
    reply = requests.post(server.url + "/predict", data=body, headers=headers, timeout=5)
    assert reply.status_code == 400
    assert "Expected JSON" in reply.json()["status"]["info"]


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "99999999999999999999999"])
def test_a_wrong_length_is_refused(server: Server, length: str) -> None:
    with connect(server, b"", length=length) as connection:  # type: ignore[arg-type]
        assert status_of(connection) in (400, 413)


@pytest.mark.parametrize("given", ["abc-123", "x" * 128])
def test_a_requests_id_comes_back(server: Server, given: str) -> None:
    reply = requests.get(server.url + "/health/ping", headers={"X-Request-Id": given}, timeout=10)
    assert reply.headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "\xe4"])
def test_an_id_that_logs_cannot_hold_is_replaced(server: Server, given: str) -> None:
    headers = {"X-Request-Id": given.encode("latin-1")}
    reply = requests.get(server.url + "/health/ping", headers=headers, timeout=10)
    assert reply.headers["X-Request-Id"] not in ("", given)


def malformed(count: int) -> Iterator[bytes]:
    """Bodies that are no request: broken, wrong in type or shape, too deep, too large."""
    rng = random.Random(7)
    wrong = [
        b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e400", b"1e101", b"true", b"false", b'"1"',
        b"{}", b"[]", b"[[]]", b"01", b"1.", b".5", b"+1", b"0x10", b"1_0", b"\xff", b"\x00",
        b'"\\ud800"', b"nul", b"1e", b"--1", b"9" * 400,
    ]  # fmt: skip
    numbers = ",".join(str(hour) for hour in range(60)).encode()
    whole = b'{"data": {"ndarray": [[' + numbers + b"]]}}"
    makers = [
        lambda: whole[: rng.randrange(1, len(whole))],
        lambda: b'{"data": {"ndarray": [[' + numbers + b"," + rng.choice(wrong) + b"]]}}",
        lambda: b'{"data": {"ndarray": ' + rng.choice(wrong) + b"}}",
        lambda: (
            b'{"data": {"tensor": {"shape": [%s, 60], "values": [%s]}}}'
            % (rng.choice([b"0", b"-1", b"2", b"1.0", b'"1"', b"null", b"1e9", *wrong]), numbers)
        ),
        lambda: b'{"data": ' + rng.choice([b"[", b'{"a":']) * rng.randrange(1, 3000),
        lambda: b'{"data": {"ndarray": ' + b"[" * 700 + b"1" + b"]" * 700 + b"}}",
        lambda: whole.decode().encode(rng.choice(["utf-16", "utf-32", "cp037"])),
        lambda: rng.randbytes(rng.randrange(0, 200)),
        lambda: whole.replace(b'"data"', rng.choice([b'"date"', b"data", b'"data']), 1),
        lambda: whole + rng.choice([b"}", b",", b"[]", b"\x00"]),
        lambda: b'{"data": {"ndarray": [' + b",".join([b"[]"] * rng.randrange(1, 3000)) + b"]}}",
    ]
    for at in range(count):
        yield makers[at % len(makers)]()


def test_a_thousand_malformed_bodies_are_refused_with_a_reason(server: Server) -> None:
    memory = server.counted("process_resident_memory_bytes")
    with requests.Session() as session:
        for path in ("/api/v1.0/predictions", "/v2/models/forecaster/infer"):
            for body in malformed(1100):
                headers = {"Content-Type": "application/json"}
                reply = session.post(server.url + path, data=body, headers=headers, timeout=10)
                assert 400 <= reply.status_code < 500, (body[:80], reply.text)
                content = reply.json()
                message = content["error"] if "v2" in path else content["status"]["info"]
                assert "xpected" in message or "too short" in message, message
                assert "Traceback" not in message and "\n" not in message
    assert server.predict({"data": {"ndarray": [HISTORY]}}).ok
    grown = server.counted("process_resident_memory_bytes") - memory
    assert grown < 32 * 2**20
