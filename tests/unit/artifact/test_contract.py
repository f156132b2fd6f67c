"""A model file carries its contract, and a file that lies about it is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from model_files import contract, seasonal_naive_bytes

from kalecast.artifact.contract import (
    TEXTS,
    Contract,
    ContractError,
    open_session,
    read_contract,
    write_contract,
)


def test_the_contract_survives_the_file():
    wanted = contract(scores={"mase": 0.5}, trained_on={"series": 3})
    assert read_contract(open_session(seasonal_naive_bytes(wanted))) == wanted


def test_scores_that_are_not_finite_leave_as_null():
    content = json.loads(contract(scores={"mase": float("nan")}).to_json())
    assert content["scores"] == {"mase": None}


def test_fields_of_a_newer_library_are_ignored():
    content = {**json.loads(contract().to_json()), "of_the_future": 1}
    assert Contract.from_json(json.dumps(content)) == contract()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        *(("{", "no JSON"), ("[]", "an object"), ("{}", "incomplete"), ('"x"', "an object")),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_a_broken_contract_is_said_to_be_one(text: str, part: str):
    with pytest.raises(ContractError, match=part):
        Contract.from_json(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"horizon": 0},
        {"minimum_history": 1000},
        {"input_length": 10**9},
        *(
            {"quantiles": quantiles}
            for quantiles in (
                (0.1, 0.9),
                (0.9, 0.5, 0.1),
                (0.0, 0.5, 1.0),
                (0.1, None, 0.5),
                (0.1, 0.5, 10**400),
                tuple(0.5 + at / 10_000 for at in range(2000)),
            )
        ),
        {"trained_on": {"series": float("nan")}},
        {"trained_on": {"first": "\ud800"}},
    ],
)
def test_a_contract_that_cannot_hold_is_refused(changes: dict):
    with pytest.raises(ContractError, match="Expected"):
        contract(**changes)


def test_a_contract_that_contradicts_the_network_is_refused():
    wrong = write_contract(seasonal_naive_bytes(), contract(horizon=48))
    with pytest.raises(ContractError, match="forecast"):
        read_contract(open_session(wrong))


def test_an_onnx_file_without_contract_is_refused():
    import onnx

    model = onnx.load_from_string(seasonal_naive_bytes())
    del model.metadata_props[:]
    with pytest.raises(ContractError, match="Kalecast model file"):
        read_contract(open_session(model.SerializeToString()))


def test_opening_a_model_sends_no_telemetry(tmp_path: Path):
    """ONNX Runtime's reports leave an identifier of the device in the home folder."""
    model = tmp_path / "model.onnx"
    model.write_bytes(seasonal_naive_bytes(contract()))
    home = tmp_path / "home"
    home.mkdir()
    silent = {"CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}
    environment = {k: v for k, v in os.environ.items() if k not in silent} | {"HOME": str(home)}
    code = f"from kalecast.artifact.contract import open_session; open_session({str(model)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=tmp_path)
    assert list(home.iterdir()) == []


LONG = "x" * 1000
NO_TEXT = [None, True, -1, 5, 24.0, 10**400, [], ["0.1"], [[0.5]]]
OBJECTS = [{}, {"a": "0.7"}, {"a": [0.7]}, {"a": True}]
VALUES = [*NO_TEXT, "x", "two\nlines", LONG, "\ud800", *OBJECTS]
RIGHT = {
    **{name: ["x"] for name in TEXTS},
    **{name: [5] for name in ("horizon", "season", "minimum_history")},
    "input_length": [],  # five steps would be shorter than the shortest history
    "quantiles": [],
    "scores": [{}],
    "trained_on": OBJECTS,
    "card": ["x", "two\nlines", LONG],
}
"""Those of the values that a field may have."""


@pytest.mark.parametrize("name", RIGHT)
def test_a_field_of_another_type_is_refused_wherever_it_is_read(name: str):
    content = json.loads(contract().to_json())
    assert set(RIGHT) == set(content)
    for value in VALUES:
        changed = json.dumps({**content, name: value})
        if value in RIGHT[name]:
            assert getattr(Contract.from_json(changed), name) == value
        else:
            with pytest.raises(ContractError, match="Expected"):
                Contract.from_json(changed)
