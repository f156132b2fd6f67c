"""The model server against Seldon Core's own: the same requests, the same answers and refusals.

Also Seldon's own testers and clients, and a client of the Open Inference Protocol, against it.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from model_files import contract
from seldon_server import REFERENCE, SUPPORT, Server, stock_serving

pytestmark = pytest.mark.slow

HISTORY = [300.5 + hour % 24 for hour in range(200)]
GAPPY = [None if at % 7 == 3 else value for at, value in enumerate(HISTORY)]
ROWS = {"data": {"ndarray": [HISTORY, GAPPY]}, "meta": {"puid": "p-1", "tags": {"mine": 1}}}
TENSOR = {"data": {"tensor": {"shape": [2, 60], "values": [*HISTORY[:60], "NaN", *HISTORY[:59]]}}}
JSON = {"Content-Type": "application/json"}
WITHOUT_LINE = "received text that cannot be read"


@pytest.fixture(scope="module")
def stock(model_file: Path) -> Iterator[Server]:
    with stock_serving(model_file) as server:
        yield server


def post(message: Any, path: str = "/api/v1.0/predictions", **more: Any) -> dict[str, Any]:
    body = message if isinstance(message, str | bytes) else json.dumps(message)
    return {"method": "POST", "url": path, "data": body, "headers": JSON, **more}


REQUESTS: dict[str, dict[str, Any]] = {
    "rows": post(ROWS),
    "an older path": post(ROWS, "/api/v0.1/predictions"),
    "the wrapper's path": post(ROWS, "/predict"),
    "a tensor": post(TENSOR),
    "names": post({"data": {"names": ["a"], "ndarray": [HISTORY]}}),
    "whole numbers": post({"data": {"ndarray": [list(range(60))]}}),
    "ragged rows": post({"data": {"ndarray": [HISTORY, HISTORY[:50]]}}),
    "a form": {"method": "POST", "url": "/predict", "data": {"json": json.dumps(TENSOR)}},
    "a form with parts": {
        "method": "POST",
        "url": "/predict",
        "files": {
            "data": (None, json.dumps(ROWS["data"])),
            "meta": (None, json.dumps(ROWS["meta"])),
        },
    },
    "a query": {"method": "GET", "url": "/predict", "params": {"json": json.dumps(ROWS)}},
    "alive": {"method": "GET", "url": "/health/ping"},
    "ready": {"method": "GET", "url": "/health/status"},
    "ready by the long path": {"method": "GET", "url": "/api/v1.0/health/status"},
    "metadata": {"method": "GET", "url": "/metadata"},
    "metadata by the long path": {"method": "GET", "url": "/api/v1.0/metadata"},
    "feedback": post({"reward": 1}, "/api/v1.0/feedback"),
    "a path that is none": {"method": "GET", "url": "/none"},
    "no body": post(""),
    "half a message": post('{"data": '),
    "a list": post([1]),
    "no data": post({}),
    "empty data": post({"data": {}}),
    "another kind": post({"strData": "secret"}),
    "no rows": post({"data": {"ndarray": []}}),
    "a short history": post({"data": {"ndarray": [HISTORY, [1, 2]]}}),
    "one history, not in a list": post({"data": {"ndarray": HISTORY}}),
    "a dimension too many": post({"data": {"ndarray": [[HISTORY] * 60]}}),
    "text among numbers": post({"data": {"ndarray": [[*HISTORY, "a"]]}}),
    "a truth value among numbers": post({"data": {"ndarray": [[*HISTORY, True]]}}),
    "too large a number": post({"data": {"ndarray": [[*HISTORY, 1e101]]}}),
    "nothing known": post({"data": {"ndarray": [[None] * 60]}}),
    "too many rows": post({"data": {"ndarray": [[]] * 2000}}),
    "a wrong shape": post({"data": {"tensor": {"shape": [2, 60], "values": HISTORY}}}),
    "no shape": post({"data": {"tensor": {"values": HISTORY}}}),
    "wrong meta": post({"data": {"ndarray": [HISTORY]}, "meta": 1}),
    "another content type": post(ROWS, headers={"Content-Type": "text/plain"}),
    "too large a body": post(b"[" + b"1," * 3_000_000),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_both_servers_say_the_same(server: Server, stock: Server, case: str) -> None:
    mine, reference = (output(one, REQUESTS[case]) for one in (server, stock))
    assert mine == reference
    status, content = mine
    if status >= 400:
        info = content["status"]["info"]
        assert content["status"]["reason"].startswith("MICROSERVICE_")
        assert "\n" not in info and "Traceback" not in info and len(info) < 300


def output(server: Server, case: dict[str, Any]) -> tuple[int, Any]:
    """Status and content, without what the wrapper measures."""
    arguments = {**case, "url": server.url + case["url"]}
    reply = requests.request(**arguments, timeout=30)
    if "json" not in reply.headers["content-type"]:
        return reply.status_code, reply.text
    content = reply.json()
    content.get("meta", {}).pop("metrics", None)
    info = content.get("status", {}).get("info", "")
    if WITHOUT_LINE in info:  # where in the text, each JSON reader says in its own words
        content["status"]["info"] = info[: info.index(WITHOUT_LINE)]
    return reply.status_code, content


def test_where_they_differ(server: Server, stock: Server) -> None:
    """NaN is no JSON, though the wrapper's reader takes it; a wrong method is reported as such."""
    message = json.dumps({"data": {"ndarray": [[float("nan"), *HISTORY]]}})
    assert (output(server, post(message))[0], output(stock, post(message))[0]) == (400, 200)
    wrong = {"method": "GET", "url": "/api/v1.0/predictions"}
    assert (output(server, wrong)[0], output(stock, wrong)[0]) == (405, 404)


def test_grpc_says_the_same(server: Server, stock: Server) -> None:
    jobs = [
        {"method": "Predict", "message": {"data": {"ndarray": [HISTORY, GAPPY]}}},
        {"method": "Predict", "message": {"data": {"ndarray": [HISTORY, HISTORY[:50]]}}},
        {"method": "Predict", "message": {**TENSOR, "meta": {"puid": "p-1"}}},
        {"method": "SeldonClient", "histories": [HISTORY, HISTORY], "form": "ndarray"},
        {"method": "SeldonClient", "histories": [HISTORY], "form": "tensor"},
        {"method": "ModelMetadata"},
    ]
    mine, reference = server.call_grpc(*jobs), stock.call_grpc(*jobs)
    for answer in (*reference, *(answer.get("response", {}) for answer in reference)):
        answer.get("meta", {}).pop("metrics", None)
    assert mine == reference
    refused = [
        {"method": "Predict", "message": message}
        for message in ({}, {"strData": "a"}, {"data": {"ndarray": [[1]]}})
    ]
    for bad, known in zip(server.call_grpc(*refused), stock.call_grpc(*refused), strict=True):
        assert bad["code"] == "INVALID_ARGUMENT"  # the wrapper has one code for all
        assert bad["details"] in known["details"]


@pytest.mark.parametrize("form", [[], ["-t"]])
@pytest.mark.parametrize("transport", [[], ["--grpc"]])
@pytest.mark.parametrize("tester", ["seldon-core-api-tester", "seldon-core-microservice-tester"])
def test_seldons_own_testers(
    server: Server, tmp_path: Path, tester: str, transport: list[str], form: list[str]
) -> None:
    feature = {
        "name": "hour", "dtype": "FLOAT", "ftype": "continuous", "range": [1, 9], "repeat": 60,
    }  # fmt: skip
    path = tmp_path / "contract.json"
    path.write_text(json.dumps({"features": [feature], "targets": []}))
    port = server.ports.grpc if transport else server.ports.http
    command = [REFERENCE.with_name(tester), path, "127.0.0.1", str(port), "-p", "-b", "3"]
    done = subprocess.run([*command, *transport, *form], capture_output=True, text=True, check=True)
    assert "q0.975" in done.stdout, done.stdout
    assert "FAILURE" not in done.stdout


def test_a_client_of_the_open_inference_protocol(server: Server) -> None:
    done = subprocess.run(
        [REFERENCE, SUPPORT / "triton_client.py", f"127.0.0.1:{server.ports.grpc}"],
        input=json.dumps({"model": "forecaster", "histories": [HISTORY, HISTORY]}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["live"] and answer["ready"] and answer["model_ready"]
    assert answer["metadata"]["inputs"][0]["shape"] == ["-1", "168"]
    expected = output(server, post({"data": {"ndarray": [HISTORY, HISTORY]}}))[1]["data"]["ndarray"]
    assert answer["raw"] == answer["typed"] == expected
    assert answer["id"] == "request-1"
    assert answer["model_version"] == contract().version
    assert set(answer["refused"]) == {"NOT_FOUND", "INVALID_ARGUMENT"}
