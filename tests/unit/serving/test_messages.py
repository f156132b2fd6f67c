"""What the model server reads out of Seldon messages; needs no seldon-core."""

from typing import Any

import pytest
from model_files import contract

from kalecast.artifact.runtime import HistoryError, as_windows
from kalecast.serving.messages import MOST_HISTORIES, read_json, shown

HISTORY = [float(value) for value in range(60)]


def test_rows_come_as_they_were_sent() -> None:
    rows = [HISTORY, [1, None, 3]]
    request = read_json({"data": {"ndarray": rows}, "meta": {"puid": "a-1"}})
    assert (request.histories, request.form, request.puid) == (rows, "ndarray", "a-1")


def test_tensor_becomes_rows() -> None:
    request = read_json({"data": {"tensor": {"shape": [2, 3], "values": [1, 2, 3, 4, 5, 6]}}})
    assert (request.histories, request.form) == ([[1, 2, 3], [4, 5, 6]], "tensor")


@pytest.mark.parametrize("unknown", [None, float("nan"), "NaN"])
def test_tensor_may_hold_unknown_values(unknown: Any) -> None:
    tensor = {"shape": [1, 60], "values": [unknown, *HISTORY[1:]]}
    windows = as_windows(read_json({"data": {"tensor": tensor}}).histories, contract())
    assert windows[0, -59:].tolist() == HISTORY[1:]


def test_most_histories_are_answered_and_one_more_is_not() -> None:
    read_json({"data": {"ndarray": [[]] * MOST_HISTORIES}})
    with pytest.raises(HistoryError, match=f"at most {MOST_HISTORIES} histories"):
        read_json({"data": {"ndarray": [[]] * (MOST_HISTORIES + 1)}})
    tensor = {"shape": [MOST_HISTORIES + 1, 1], "values": [1] * (MOST_HISTORIES + 1)}
    with pytest.raises(HistoryError, match=f"at most {MOST_HISTORIES} histories"):
        read_json({"data": {"tensor": tensor}})


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ([1], "Expected a JSON object with 'data', received: [1]."),
        ({}, "one history a row, received: none."),
        ({"strData": "secret"}, "one history a row, received: 'strData'."),
        ({"data": [1]}, "Expected 'data' to be an object"),
        ({"data": {}}, "either 'ndarray' or 'tensor', received: none."),
        ({"data": {"tftensor": {}}}, "either 'ndarray' or 'tensor', received: 'tftensor'."),
        ({"data": {"ndarray": [], "tensor": {}}}, "received: 'ndarray, tensor'."),
        ({"data": {"tensor": {"shape": [1, 2]}}}, "an object with 'shape' and 'values'"),
        ({"data": {"tensor": {"shape": [1, 1], "values": "1"}}}, "'values' to be a list"),
        ({"data": {"tensor": {"shape": [60], "values": HISTORY}}}, "received: [60]."),
        ({"data": {"tensor": {"shape": [-1, -60], "values": HISTORY}}}, "two positive"),
        ({"data": {"tensor": {"shape": [True, 60], "values": HISTORY}}}, "two positive"),
        ({"data": {"tensor": {"shape": [2, 60], "values": HISTORY}}}, "[2, 60], received 60."),
        ({"data": {"tensor": {"shape": [9**99, 9**99], "values": []}}}, "as 'shape' says"),
        ({"data": {"ndarray": []}, "meta": [1]}, "Expected 'meta' to be an object"),
        ({"data": {"ndarray": []}, "meta": {"puid": 1}}, "Expected 'meta.puid' to be a text"),
    ],
)
def test_what_cannot_be_read_is_reported(message: Any, text: str) -> None:
    with pytest.raises(HistoryError) as refusal:
        read_json(message)
    assert text in str(refusal.value)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 200


def test_a_shown_value_is_short_whatever_its_size_and_depth() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, "x\n" * 1000, [[1] * 1000] * 1000, {"k" * 1000: "v" * 1000}):
        assert len(shown(value)) <= 60 and "\n" not in shown(value)
