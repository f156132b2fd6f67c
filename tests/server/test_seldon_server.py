"""The real model server, over HTTP and gRPC, against `Forecaster` on the same file."""

import json
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from model_files import contract
from seldon_server import PYTHON, Ports, Server, end, serving, start

from kalecast.artifact.contract import Contract
from kalecast.artifact.runtime import Forecaster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason=f"the model server's environment: {PYTHON}"),
]

HISTORY = [float(value) for value in range(60)]
NAMES = ["q0.025", "q0.1", "q0.5", "q0.9", "q0.975"]
MANY = "1," * 60  # the beginning of a history that only a text can hold


def some_histories(rows: int, length: int = 200) -> list[list[Any]]:
    """Histories with a tenth of their values unknown."""
    random = np.random.default_rng(7)
    values = random.normal(300, 80, (rows, length)).astype(object)
    values[random.random((rows, length)) < 0.1] = None
    return values.tolist()


def as_array(answer: dict[str, Any]) -> np.ndarray:
    """The forecast out of an answer, whichever form it has."""
    data = answer["data"]
    if "ndarray" in data:
        return np.array(data["ndarray"], dtype=float)
    return np.reshape(data["tensor"]["values"], data["tensor"]["shape"])


def tensor(histories: list[list[Any]], unknown: Any) -> dict[str, Any]:
    values = [unknown if value is None else value for row in histories for value in row]
    return {"shape": [len(histories), len(histories[0])], "values": values}


def assert_same(answer: dict[str, Any], forecaster: Forecaster, histories: Any) -> None:
    expected = forecaster.forecast(histories)
    np.testing.assert_allclose(as_array(answer), expected, rtol=0, atol=1e-9)


# What is answered


@pytest.mark.parametrize("lengths", [[200] * 5, [48, 60, 168, 169, 1000]], ids=["alike", "ragged"])
def test_rest_answers_rows_as_rows(
    server: Server, forecaster: Forecaster, lengths: list[int]
) -> None:
    histories = [some_histories(1, length)[0] for length in lengths]
    reply = server.predict({"data": {"ndarray": histories}, "meta": {"puid": "request-1"}})
    answer = reply.json()
    assert reply.status_code == 200
    assert_same(answer, forecaster, histories)
    assert answer["data"]["names"] == NAMES
    assert answer["meta"] == {
        "puid": "request-1",
        "tags": {"model_name": "forecaster", "model_version": contract().version},
    }


@pytest.mark.parametrize("unknown", [None, "NaN"])
def test_rest_answers_a_tensor_as_a_tensor(
    server: Server, forecaster: Forecaster, unknown: Any
) -> None:
    histories = some_histories(300)
    message = {"data": {"tensor": tensor(histories, unknown)}}
    # Seldon's own client sends its JSON as a form, to another path.
    as_form = requests.post(server.url + "/predict", data={"json": json.dumps(message)}, timeout=30)
    for answer in (server.predict(message).json(), as_form.json()):
        assert answer["data"]["tensor"]["shape"] == [300, 24, 5]
        assert_same(answer, forecaster, histories)


def test_grpc_answers_the_same(server: Server, forecaster: Forecaster) -> None:
    rows, ragged = some_histories(4), [HISTORY, [*HISTORY, None, 1.5]]
    as_tensor, as_rows, by_client = server.call_grpc(
        {"method": "Predict", "message": {"data": {"tensor": tensor(rows, "NaN")}}},
        {"method": "Predict", "message": {"data": {"ndarray": ragged}, "meta": {"puid": "p"}}},
        {"method": "SeldonClient", "histories": [HISTORY], "form": "tensor"},
    )
    assert_same(as_tensor, forecaster, rows)
    assert_same(as_rows, forecaster, ragged)
    assert as_rows["data"]["names"] == NAMES
    assert as_rows["meta"]["puid"] == "p"
    assert as_rows["meta"]["tags"]["model_version"] == contract().version
    assert by_client["success"]
    assert_same(by_client["response"], forecaster, [HISTORY])


def test_metadata_carries_the_contract(server: Server) -> None:
    over_rest = requests.get(server.url + "/metadata", timeout=10).json()
    (over_grpc,) = server.call_grpc({"method": "ModelMetadata"})
    for metadata in (over_rest, over_grpc):
        assert Contract.from_json(metadata["custom"]["contract"]) == contract()
        assert metadata["versions"] == [contract().version]
    assert over_rest["inputs"] == [{"name": "history", "datatype": "FP64", "shape": [-1, 168]}]
    assert over_rest["outputs"] == [{"name": "forecast", "datatype": "FP64", "shape": [-1, 24, 5]}]


def test_64_at_once_are_answered_right_and_counted(server: Server, forecaster: Forecaster) -> None:
    before = server.counted('kalecast_requests_total{code="200",protocol="seldon"}')
    histories = some_histories(64)
    with ThreadPoolExecutor(64) as pool:
        replies = list(
            pool.map(lambda row: server.predict({"data": {"ndarray": [row]}}), histories)
        )
    for reply, history in zip(replies, histories, strict=True):
        assert reply.status_code == 200
        assert_same(reply.json(), forecaster, [history])
    after = server.counted('kalecast_requests_total{code="200",protocol="seldon"}')
    assert after == before + 64


def test_64_grpc_calls_at_once(server: Server, forecaster: Forecaster) -> None:
    job = {"method": "Predict", "message": {"data": {"ndarray": [HISTORY]}}, "times": 64}
    (answers,) = server.call_grpc(job)
    assert len(answers) == 64
    for answer in answers:
        assert_same(answer, forecaster, [HISTORY])


def test_metrics_count_requests_histories_and_refusals(server: Server) -> None:
    names = [
        'kalecast_requests_total{code="200",protocol="seldon"}',
        'kalecast_requests_total{code="400",protocol="seldon"}',
        'kalecast_request_seconds_count{protocol="seldon"}',
        "kalecast_histories_total",
        "kalecast_batch_windows_sum",
    ]
    before = [server.counted(name) for name in names]
    server.predict({"data": {"ndarray": [HISTORY] * 3}})
    server.predict({"data": {"ndarray": [[1]]}})
    after = [server.counted(name) for name in names]
    assert np.subtract(after, before).tolist() == [1, 1, 2, 3, 3]
    version = contract().version
    assert server.counted(f'kalecast_model_info{{name="forecaster",version="{version}"}}') == 1
    assert server.counted("kalecast_in_flight") == server.counted("kalecast_queue_windows") == 0
    assert server.counted("process_resident_memory_bytes") > 0


# What is refused

# What JSON is not, or holds too deeply. What a message lacks: test_messages, and
# test_conformance beside Seldon Core's own server.
BAD_MESSAGES = {
    "no body": ("", "Expected JSON"),
    "not UTF-8": (b"\xff\xfe{", "Expected JSON"),
    "endless number": ("1" * 5000, "Expected JSON"),
    "null": ("null", "JSON"),
    "an object": ({"data": {"ndarray": [[*HISTORY, {}]]}}, "{} at position 60"),
    "text": ({"data": {"ndarray": [[*HISTORY, "a\nb"]]}}, "'a\\nb' at position 60"),
    "infinite": (f'{{"data": {{"ndarray": [[{MANY} Infinity]]}}}}', "write null"),
    "not a number": (f'{{"data": {{"ndarray": [[{MANY} NaN]]}}}}', "write null"),
    "beyond float64": (f'{{"data": {{"ndarray": [[{MANY} 1e999]]}}}}', "Expected JSON"),
    "unclosed depth": ("[" * 100_000, "nested too deeply"),
    "depth": (f'{{"data": {{"ndarray": {"[" * 5000}1{"]" * 5000}}}}}', "nested too deeply"),
    "depth in a row": (f'{{"data": {{"ndarray": [{"[" * 900}1{"]" * 900}]}}}}', "Expected"),
}


def assert_refused(reply: requests.Response, code: int, reason: str) -> None:
    """In Seldon's status format, on one line, without a look inside."""
    assert reply.status_code == code, reply.text
    status = reply.json()["status"]
    assert status["status"] == 1 and status["reason"].startswith("MICROSERVICE_")
    assert reason in status["info"]
    assert "\n" not in status["info"] and "Traceback" not in reply.text
    assert len(status["info"]) < 300


@pytest.mark.parametrize("case", BAD_MESSAGES)
def test_bad_messages_are_refused(server: Server, case: str) -> None:
    message, reason = BAD_MESSAGES[case]
    assert_refused(server.predict(message), 400, reason)


@pytest.mark.parametrize("content_type", ["text/plain", "text/csv", ""])
def test_other_content_types_are_refused(server: Server, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    reply = server.predict({"data": {"ndarray": [HISTORY]}}, headers=headers)
    assert_refused(reply, 415, "Expected the content type application/json")


def test_forms_that_hold_no_json_are_refused(server: Server) -> None:
    url = server.url + "/predict"
    for form in ("{", "1" * 5000, "[" * 100_000):
        assert_refused(requests.post(url, data={"json": form}, timeout=10), 400, "Expected")
    parts: Any = {"data": (None, "{bad")}
    assert_refused(requests.post(url, files=parts, timeout=10), 400, "Expected JSON")
    assert_refused(requests.post(url, files={"data": b"\xff"}, timeout=10), 400, "Expected JSON")


def test_huge_requests_are_refused_declared_or_not(server: Server) -> None:
    huge = b"[" + b"1," * 3_000_000
    assert_refused(server.predict(huge), 413, "Expected a request of at most")
    parts = (huge[at : at + 65536] for at in range(0, len(huge), 65536))
    url = server.url + "/predict"
    headers = {"Content-Type": "application/json"}
    assert_refused(requests.post(url, data=parts, headers=headers, timeout=30), 413, "at most")


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/nothing-here", 404),
        ("GET", "/../../etc/passwd", 404),
        ("PUT", "/metadata", 405),
        *(("POST", f"/{path}", 404) for path in ("transform-input", "route", "aggregate")),
    ],
)
def test_other_paths_are_refused(server: Server, method: str, path: str, code: int) -> None:
    message = {"data": {"ndarray": [[1], [2, 3]]}}
    assert_refused(requests.request(method, server.url + path, json=message, timeout=10), code, "")


def test_grpc_refuses_with_a_status(server: Server) -> None:
    bad: list[dict[str, Any]] = [
        {"data": {"ndarray": [[1]]}},
        {"data": {"ndarray": [[*HISTORY, {"a": 1}]]}},
        {"data": {"tensor": {"shape": [2, 60], "values": HISTORY}}},
        {"data": {"tensor": {"shape": [1, 60], "values": [*HISTORY[1:], "Infinity"]}}},
        {"strData": "secret"},
        {"data": {}},
        {},
    ]
    answers = server.call_grpc(*({"method": "Predict", "message": message} for message in bad))
    for answer in answers:
        assert answer["code"] == "INVALID_ARGUMENT"
        assert "xpected" in answer["details"] and "\n" not in answer["details"]
    huge, many, feedback, graph = server.call_grpc(
        {"method": "Predict", "zeros": [1, 1_000_000]},
        {"method": "Predict", "zeros": [2000, 60]},
        {"method": "SendFeedback"},
        {"method": "GraphMetadata"},
    )
    assert huge["code"] == "RESOURCE_EXHAUSTED"
    assert many["code"] == "INVALID_ARGUMENT"
    assert feedback["code"] == graph["code"] == "UNIMPLEMENTED"


# Start and end


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")  # how gRPC's sockets name IPv4
        for process in server.processes()
        for connection in process.net_connections("tcp")
        if connection.status == "LISTEN"
    }
    assert listening == {"127.0.0.1"}


@pytest.mark.parametrize("taken", ["http", "grpc", "metrics"])
def test_a_port_in_use_is_reported_before_the_start(model_file: Path, taken: str) -> None:
    ports = Ports.free()
    with socket.socket() as other:
        other.bind(("127.0.0.1", getattr(ports, taken)))
        other.listen()
        code, output = end_of(start("--model-uri", str(model_file), *ports.options()))
    assert code == 2
    assert str(getattr(ports, taken)) in output and len(output.splitlines()) == 1


@pytest.mark.parametrize("content", [None, b"no model", b""])
def test_a_bad_model_file_is_reported(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(content)
    code, output = end_of(start("--model-uri", str(path), *Ports.free().options()))
    assert code == 2
    assert str(path) in output and len(output.splitlines()) == 1


def test_a_missing_model_uri_is_reported() -> None:
    code, output = end_of(start(*Ports.free().options()))
    assert code == 2
    assert "MODEL_URI" in output and len(output.splitlines()) == 1


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Of a process that ends by itself."""
    _, output = process.communicate(timeout=60)
    return process.returncode, output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_and_leaves_nothing_running(model_file: Path, number: int) -> None:
    with serving(model_file) as server:
        processes = server.processes()
        with requests.Session() as idle:  # a connection kept open is no reason to stay
            idle.get(server.url + "/health/ping", timeout=10)
            code, logged = end(server.process, number)
    assert code == 0
    assert [process for process in processes if process.is_running()] == []
    assert "Traceback" not in logged


def test_the_operators_environment_is_enough(model_file: Path) -> None:
    ports = Ports.free()
    parameters = [{"name": "model_uri", "type": "STRING", "value": str(model_file)}]
    process = start(
        PREDICTIVE_UNIT_PARAMETERS=json.dumps(parameters),
        PREDICTIVE_UNIT_HTTP_SERVICE_PORT=str(ports.http),
        PREDICTIVE_UNIT_GRPC_SERVICE_PORT=str(ports.grpc),
        PREDICTIVE_UNIT_METRICS_SERVICE_PORT=str(ports.metrics),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Serving forecaster")
        ready = requests.get(f"http://127.0.0.1:{ports.http}/health/status", timeout=10)
        assert ready.status_code == 200
    finally:
        end(process)


def test_logs_are_json_without_what_customers_send(model_file: Path) -> None:
    with serving(model_file) as server:
        server.predict({"data": {"ndarray": [[*HISTORY, "a-secret"]]}})
        server.predict({"data": {"ndarray": [[31337.5, *HISTORY]]}})
        server.call_grpc({"method": "Predict", "message": {"strData": "a-secret"}})
        _, logged = end(server.process)
    assert "a-secret" not in logged and "31337" not in logged
    for line in logged.splitlines():
        assert {"time", "level", "logger", "message"} <= json.loads(line).keys()
