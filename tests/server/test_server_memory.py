"""The model server within the memory of its pod, whatever it is sent and however slowly."""

import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
import requests
from h2_streams import Connection
from memory_limit import memory_limit
from seldon_server import Server, serving

from kalecast.protocols.protocol_buffers import inference, seldon

pytestmark = pytest.mark.slow

POD = 512
"""Mebibytes, as `SeldonDeployment` gives its server."""
INFER = "/inference.GRPCInferenceService/ModelInfer"
PREDICT = "/seldon.protos.Seldon/Predict"
MEBIBYTE = 2**20
LARGEST = 4 * MEBIBYTE - 200


@pytest.fixture(scope="module")
def server(model_file: Path) -> Iterator[Server]:
    settings = {"KALECAST_ACCESS_LOG": "off", "KALECAST_REQUEST_SECONDS": "2"}
    with memory_limit(POD) as limit, serving(model_file, limit, **settings) as running:
        yield running
        assert running.process.poll() is None


def memory(server: Server) -> int:
    return int(psutil.Process(server.process.pid).memory_info().rss)


def answers_at_once(server: Server) -> None:
    started = time.monotonic()
    assert requests.get(server.url + "/health/ping", timeout=20).ok
    assert time.monotonic() - started < 10  # a machine that tests keep busy is slow


def caller(server: Server, path: str) -> Callable[[bytes], str]:
    """What calls a method with a message's bytes, and says with which code it ended."""
    unlimited = [("grpc.max_send_message_length", -1)]
    channel = grpc.insecure_channel(f"127.0.0.1:{server.ports.grpc}", options=unlimited)
    method = channel.unary_unary(path)

    def call(message: bytes) -> str:
        try:
            method(message, timeout=60)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"

    return call


def tensor(values: bytes, *shape: int, name: str = "history") -> bytes:
    """A `ModelInferRequest`."""
    request = inference.ModelInferRequest(model_name="forecaster")
    request.inputs.add(name=name, datatype="FP64", shape=shape)
    request.raw_input_contents.append(values)
    return bytes(request.SerializeToString())


def empty_values(rows: int, columns: int) -> bytes:
    """A `SeldonMessage` whose values are two bytes each, and say nothing."""
    message = seldon.SeldonMessage()
    for _ in range(rows):
        row = message.data.ndarray.values.add().list_value
        for _ in range(columns):
            row.values.add()
    return bytes(message.SerializeToString())


def refused_by_grpc(server: Server) -> dict[str, tuple[Callable[[bytes], str], bytes, str]]:
    """What is small and refused, and how."""
    infer, predict = caller(server, INFER), caller(server, PREDICT)
    missing = np.full(336, np.nan).tobytes()
    return {
        "shape": (infer, tensor(bytes(8), 1, 336), "INVALID_ARGUMENT"),
        "part": (infer, tensor(bytes(9), 1, 1), "INVALID_ARGUMENT"),
        "missing": (infer, tensor(missing, 1, 336), "INVALID_ARGUMENT"),
        "name": (infer, tensor(bytes(8), 1, 1, name="x"), "INVALID_ARGUMENT"),
        "garbage": (infer, b"\x0f\x0f no message", "INVALID_ARGUMENT"),
        "nothing": (infer, b"", "NOT_FOUND"),
        "rows": (predict, empty_values(2, 100), "INVALID_ARGUMENT"),
        "no data": (predict, b"", "INVALID_ARGUMENT"),
        "feedback": (caller(server, "/seldon.protos.Seldon/SendFeedback"), b"", "UNIMPLEMENTED"),
        "no method": (caller(server, "/x/y"), b"", "UNIMPLEMENTED"),
    }


def refused_by_http() -> dict[str, tuple[str, str, bytes, dict[str, str], int]]:
    """Method, path, body, headers and status of what is small and refused."""
    kind = {"Content-Type": "application/json"}
    infer, predict = "/v2/models/forecaster/infer", "/api/v1.0/predictions"
    v2 = '{"inputs": [{"name": "history", "shape": [1, 336], "datatype": "FP64", "data": %s}]}'
    return {
        "text": ("POST", predict, b"\xff\xfe{", kind, 400),
        "NaN": ("POST", predict, b'{"data": {"ndarray": [[NaN]]}}', kind, 400),
        "short": ("POST", predict, b'{"data": {"ndarray": [[1]]}}', kind, 400),
        "deep": ("POST", predict, b"[" * 3000, kind, 400),
        "shape": ("POST", infer, (v2 % "[1, 2]").encode(), kind, 400),
        "missing": (
            "POST",
            infer,
            (v2 % str([None] * 336).replace("None", "null")).encode(),
            kind,
            400,
        ),
        "kind": ("POST", predict, b"{}", {"Content-Type": "text/plain"}, 415),
        "packed": ("POST", predict, b"{}", {**kind, "Content-Encoding": "gzip"}, 415),
        "path": ("GET", "/nowhere", b"", {}, 404),
        "model": ("POST", "/v2/models/other/infer", b"{}", kind, 404),
        "method": ("DELETE", predict, b"", {}, 405),
    }


def test_10000_refused_requests_leave_nothing(server: Server) -> None:
    grpc_kinds, http_kinds = refused_by_grpc(server), refused_by_http()

    def refuse(times: int) -> None:
        for _ in range(times):
            for call, message, code in grpc_kinds.values():
                assert call(message) == code
            for method, path, body, headers, status in http_kinds.values():
                url = server.url + path
                reply = session.request(method, url, data=body, headers=headers, timeout=60)
                assert reply.status_code == status, reply.text

    with requests.Session() as session:
        refuse(20)
        before = memory(server)
        refuse(10_000 // (len(grpc_kinds) + len(http_kinds)) + 1)
        assert memory(server) < 1.1 * before


def test_large_refused_requests_leave_nothing(server: Server) -> None:
    infer, predict = caller(server, INFER), caller(server, PREDICT)
    missing = np.full(LARGEST // 8, np.nan).tobytes()
    before = memory(server)
    for _ in range(6):
        assert infer(tensor(bytes(LARGEST), 1, 336)) == "INVALID_ARGUMENT"
        assert infer(tensor(missing, 1, LARGEST // 8)) == "INVALID_ARGUMENT"
        assert infer(tensor(bytes(2 * LARGEST), 1, 336)) == "RESOURCE_EXHAUSTED"
        body = b'{"data": {"ndarray": [[' + b"null," * (LARGEST // 5 - 20) + b"1]]}"
        assert server.predict(body).status_code == 400
        assert server.predict(b" " * 2 * LARGEST).status_code == 413
    for _ in range(2):
        assert predict(empty_values(1000, 1900)) == "INVALID_ARGUMENT"
    answers_at_once(server)
    assert memory(server) < before + 32 * MEBIBYTE


def test_messages_that_stop_before_their_end_are_given_up(server: Server) -> None:
    with Connection(server.ports.grpc, INFER) as connection:
        connection.listen(0.2)
        left = {connection.open(): LARGEST for _ in range(100)}
        for stream in left:
            connection.send(stream, struct.pack(">BI", 0, LARGEST))
        deadline = time.monotonic() + 60
        while len(connection.ended) < len(left):
            assert time.monotonic() < deadline
            for stream in left.keys() - connection.ended:
                left[stream] -= connection.send(stream, bytes(min(left[stream] - 6, 16384)))
            connection.listen(0.001)
            assert memory(server) < POD * MEBIBYTE * 0.8
    answers_at_once(server)


def test_calls_without_a_message_are_given_up(server: Server) -> None:
    with Connection(server.ports.grpc, INFER) as connection:
        for _ in range(2000):
            connection.open()
        answers_at_once(server)
        deadline = time.monotonic() + 30
        while len(connection.ended) < 2000:
            assert time.monotonic() < deadline
            connection.listen(0.1)


def test_answers_that_are_not_read_are_given_up(server: Server) -> None:
    many = tensor(np.ones((1024, 48)).tobytes(), 1024, 48)  # answered with 960 KiB
    with Connection(server.ports.grpc, INFER, window=0) as connection:
        connection.listen(0.2)
        for _ in range(120):
            connection.call(many)
        assert connection.is_closed
        answers_at_once(server)
    assert caller(server, INFER)(many) == "OK"
