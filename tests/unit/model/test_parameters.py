"""What a pipeline's parameters may be is known before its first step, for each of them."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from kalecast.model.network import NetworkSettings
from kalecast.model.parameters import CHECKS, ParameterError, check_parameters
from kalecast.pipelines.compiled_pipeline import CompiledPipeline, check_values
from kalecast.pipelines.local.run_pipeline import main

PROJECT = Path(__file__).resolve().parents[3]


PIPELINE = PROJECT / "kale" / "forecast-pipeline.pipeline.yaml"


@pytest.fixture(scope="module")
def defaults() -> dict[str, Any]:
    """The first cell of the notebook, run."""
    cells = nbformat.read(PROJECT / "notebooks" / "forecast_pipeline.ipynb", as_version=4).cells
    values: dict[str, Any] = {}
    exec(next(cell.source for cell in cells if cell.cell_type == "code"), {}, values)
    return values


def test_every_parameter_of_the_notebook_is_checked_and_its_default_holds(defaults):
    assert set(CHECKS) == set(defaults)
    check_parameters(**defaults)
    assert CompiledPipeline(PIPELINE).defaults == defaults


IMPOSSIBLE = [
    *[
        (name, value)
        for name in ("season", "test_windows", "horizon", "epochs")
        for value in (0, -3)
    ],
    *[(name, 0) for name in ("input_length", "minimum_history", "width", "hour_width", "blocks")],
    *[(name, 0) for name in ("steps_per_epoch", "batch_size", "patience", "validation_steps")],
    *[("frequency", value) for value in ("-1h", "0h", "YS", "2B", "hourly", "")],
    *[("dropout", value) for value in (1.0, -0.1, float("nan"))],
    *[("learning_rate", value) for value in (0.0, -1.0, float("inf"))],
    *[("minutes", value) for value in (0.0, -5.0, float("nan"))],
    *[("seed", value) for value in (-1, 2**32)],
    *[("gate_margin", value) for value in (100.0, float("nan"))],
    *[("model_name", value) for value in ("", "../up", "a b", "-x")],
    *[("model_store", value) for value in ("", "ftp://host/models", "gs://bucket")],
    *[("data", value) for value in ("", " ", "http://host/a.csv")],
    *[("namespace", value) for value in ("", "Team_A", "-a", "a" * 64)],
    *[("server_image", value) for value in ("", "a b")],
    *[("canary_percent", value) for value in (-1, 51)],
    *[("canary_minutes", value) for value in (0.0, -1.0)],
    ("weight_decay", -0.1),
    ("seldon_scales", "yes"),
    ("batch_size", 10**9),
    ("input_length", 10**9),
]


@pytest.mark.parametrize(("name", "value"), IMPOSSIBLE)
def test_a_value_that_cannot_be_is_named(name: str, value: Any, defaults):
    with pytest.raises(ParameterError, match=name) as refused:
        check_parameters(**{**defaults, name: value})
    assert "Expected" in str(refused.value) and "received" in str(refused.value)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"input_length": 104, "season": 52}, "multiple of season=52, 4 .* The nearest is 208"),
        ({"input_length": 500}, "multiple of season=24, .* 500. The nearest is 504"),
        ({"season": 10}, "multiple of season=10"),
        ({"minimum_history": 505}, "minimum_history to be at most input_length=504"),
        ({"batch_size": 65_536, "input_length": 9_600}, "batch_size times input_length"),
    ],
)
def test_values_that_do_not_fit_each_other_are_named(given: dict, part: str, defaults):
    with pytest.raises(ParameterError, match=part):
        check_parameters(**{**defaults, **given})


@pytest.mark.parametrize(
    "given",
    [
        {"season": 1, "input_length": 4, "horizon": 1, "minimum_history": 4},
        {"frequency": "3h", "season": 8},
        {"frequency": "D", "season": 7, "input_length": 49},
        {"gate_margin": -1000.0, "dropout": 0.0, "weight_decay": 0, "canary_percent": 0},
        {"model_store": "s3://bucket/models", "data": "s3://bucket/a b.csv"},
        {"model_store": "file:///models", "minutes": 1},
    ],
)
def test_what_can_be_is_let_through(given: dict, defaults):
    check_parameters(**{**defaults, **given})


def test_the_parameters_of_other_pipelines_are_their_own():
    check_values({"season": 0, "rows": -1})


@pytest.mark.parametrize("quantiles", [(0.1, 0.9), (0.5, 0.1), (0.0, 0.5), (0.5, 1.5), ()])
def test_quantiles_that_are_none_are_refused(quantiles: tuple):
    with pytest.raises(ValueError, match="Expected quantiles"):
        NetworkSettings(quantiles=quantiles)


@pytest.mark.parametrize(
    "given", ["season=0", "test_windows=0", "frequency=-1h", "input_length=104"]
)
def test_a_run_refuses_them_before_its_first_step(given: str, tmp_path: Path, capsys):
    assert main([str(PIPELINE), "--runs-dir", str(tmp_path), "--param", given]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(rf"error: .*{given.partition('=')[0]}.*\n", said.err)
    assert list(tmp_path.iterdir()) == []
