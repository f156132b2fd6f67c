"""The Open Inference Protocol v2 over HTTP, against the forecast of the same file."""

import json
from typing import Any

import numpy as np
import pytest
import requests
from model_files import contract
from seldon_server import Server

from kalecast.artifact.contract import Contract
from kalecast.artifact.runtime import Forecaster

pytestmark = pytest.mark.slow

HISTORY = [300.5 + hour % 24 for hour in range(60)]
GAPPY = [None, *HISTORY[1:]]
INFER = "/v2/models/forecaster/infer"


def tensor(data: Any, shape: Any = (1, 60), **changes: Any) -> dict[str, Any]:
    return {"name": "history", "shape": list(shape), "datatype": "FP64", "data": data, **changes}


def infer(server: Server, content: Any, path: str = INFER) -> requests.Response:
    body = content if isinstance(content, str | bytes) else json.dumps(content)
    headers = {"Content-Type": "application/json"}
    return requests.post(server.url + path, data=body, headers=headers, timeout=30)


@pytest.mark.parametrize("data", [[*HISTORY, *GAPPY], [HISTORY, GAPPY]], ids=["flat", "nested"])
def test_forecasts(server: Server, forecaster: Forecaster, data: Any) -> None:
    reply = infer(server, {"id": "request-1", "inputs": [tensor(data, (2, 60))]})
    assert reply.status_code == 200
    answer = reply.json()
    (output,) = answer.pop("outputs")
    assert answer == {
        "model_name": "forecaster",
        "model_version": contract().version,
        "id": "request-1",
    }
    assert (output["name"], output["datatype"]) == ("forecast", "FP64")
    found = np.reshape(output["data"], output["shape"])
    np.testing.assert_allclose(found, forecaster.forecast([HISTORY, GAPPY]), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "changes",
    [{}, {"parameters": {"a": 1}}, {"outputs": [{"name": "forecast"}]}, {"outputs": []}],
)
def test_optional_parts(server: Server, changes: dict[str, Any]) -> None:
    reply = infer(server, {"inputs": [tensor(HISTORY)], **changes})
    assert reply.status_code == 200
    assert "id" not in reply.json()


def test_a_version_may_be_named(server: Server) -> None:
    path = f"/v2/models/forecaster/versions/{contract().version}"
    assert infer(server, {"inputs": [tensor(HISTORY)]}, path + "/infer").status_code == 200
    assert requests.get(server.url + path, timeout=10).json()["name"] == "forecaster"
    assert requests.get(server.url + path + "/ready", timeout=10).json() == {"ready": True}


def test_health_and_metadata(server: Server) -> None:
    def get(path: str) -> Any:
        reply = requests.get(server.url + path, timeout=10)
        assert reply.status_code == 200
        return reply.json()

    assert get("/v2/health/live") == {"live": True}
    assert get("/v2/health/ready") == {"ready": True}
    assert get("/v2")["name"] == "kalecast"
    model = get("/v2/models/forecaster")
    assert model["inputs"] == [{"name": "history", "datatype": "FP64", "shape": [-1, 168]}]
    assert model["outputs"] == [{"name": "forecast", "datatype": "FP64", "shape": [-1, 24, 5]}]
    assert Contract.from_json(model["properties"]["contract"]) == contract()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Expected JSON"),
        ([1], "Expected a JSON object with 'inputs'"),
        ({}, "Expected 'inputs' with one tensor, 'history'"),
        ({"inputs": []}, "Expected 'inputs' with one tensor"),
        ({"inputs": [1]}, "Expected 'inputs' with one tensor"),
        ({"inputs": [tensor(HISTORY)] * 2}, "Expected 'inputs' with one tensor"),
        ({"inputs": [tensor(HISTORY, name="x")]}, "Expected the input 'history', received: 'x'"),
        ({"inputs": [tensor(HISTORY, datatype="BYTES")]}, "Expected the datatype FP64"),
        ({"inputs": [tensor(HISTORY, datatype=[])]}, "Expected the datatype FP64"),
        ({"inputs": [tensor("abc")]}, "Expected 'data' to be a list"),
        ({"inputs": [tensor(HISTORY, (2, 60))]}, "as many values as 'shape' says"),
        ({"inputs": [tensor(HISTORY, (60,))]}, "Expected 'shape' to be two positive"),
        ({"inputs": [tensor(HISTORY, (1, -60))]}, "Expected 'shape' to be two positive"),
        ({"inputs": [tensor(HISTORY, ("1", 60))]}, "Expected 'shape' to be two positive"),
        ({"inputs": [tensor([HISTORY], (1, 61))]}, "Expected 61 values in each row"),
        ({"inputs": [tensor([HISTORY, [1]], (2, 60))]}, "received 1 in row 1"),
        ({"inputs": [tensor([[1], HISTORY], (2, 60))]}, "received 1 in row 0"),
        ({"inputs": [tensor([HISTORY, 1], (2, 60))]}, "Expected a list in row 1 of 'data'"),
        ({"inputs": [tensor([HISTORY], (2, 60))]}, "Expected 2 rows of 'data'"),
        ({"inputs": [tensor([1, HISTORY], (1, 2))]}, "received [300.5"),
        ({"inputs": [tensor([HISTORY], (True, 60))]}, "Expected 'shape'"),
        ({"inputs": [tensor([*HISTORY[1:], "a"])]}, "'a' at position 59"),
        ({"inputs": [tensor([*HISTORY[1:], True])]}, "True at position 59"),
        ({"inputs": [tensor([None] * 60)]}, "at least one known value"),
        ({"inputs": [tensor([1.0] * 5, (1, 5))]}, "too short"),
        ({"inputs": [tensor([[]] * 2000, (2000, 0))]}, "at most 1024 histories"),
        ({"inputs": [tensor(HISTORY)], "outputs": [{"name": "x"}]}, "the output 'forecast'"),
        ({"inputs": [tensor(HISTORY)], "outputs": 1}, "Expected 'outputs'"),
        ({"inputs": [tensor(HISTORY)], "id": 7}, "Expected 'id' to be a text"),
    ],
)
def test_bad_requests_are_refused(server: Server, content: Any, message: str) -> None:
    reply = infer(server, content)
    assert reply.status_code == 400, reply.text
    assert reply.json().keys() == {"error"}
    assert message in reply.json()["error"]
    assert "\n" not in reply.json()["error"] and len(reply.text) < 300


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/forecaster/versions/1", "/v2/x"])
def test_what_is_not_there(server: Server, path: str) -> None:
    for suffix in ("", "/ready", "/infer"):
        method = "POST" if suffix == "/infer" else "GET"
        reply = requests.request(method, server.url + path + suffix, timeout=10)
        assert reply.status_code == 404
        assert reply.json().keys() == {"error"}


def test_a_path_as_a_gateway_leaves_it(server: Server) -> None:
    answered = infer(server, {"inputs": [tensor(HISTORY)]}, "/seldon/team/kalecast" + INFER)
    refused = infer(server, {}, "/seldon/team/kalecast" + INFER)
    assert (answered.status_code, refused.status_code) == (200, 400)
    assert refused.json().keys() == {"error"}


def test_a_wrong_method_is_reported_the_right_one(server: Server) -> None:
    reply = requests.get(server.url + INFER, timeout=10)
    assert (reply.status_code, reply.headers["Allow"]) == (405, "POST")
    assert reply.json() == {"error": "Expected POST, received GET."}


def test_binary_tensors_are_refused_in_words(server: Server) -> None:
    headers = {"Inference-Header-Content-Length": "10"}
    reply = requests.post(server.url + INFER, data=b"x" * 20, headers=headers, timeout=10)
    assert (reply.status_code, reply.json()["error"]) == (
        415,
        "Expected tensors as JSON, received binary ones.",
    )
