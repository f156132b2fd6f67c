"""What the report's chapters on serving and the app show, from results as benchmarks write them."""

import json
from pathlib import Path

import pytest

from report import app_pictures, serving_pictures

ROOT = Path(__file__).resolve().parents[2]

SERVING = {
    "ours": {"requests_per_second": 9000.0, "burst_seconds": 0.8, "errors": 0},
    "stock, 1 x 16": {"requests_per_second": 900.0, "burst_seconds": 9.0, "errors": 0},
    "stock, 2 x 1": {"requests_per_second": 500.0, "burst_seconds": 5.0, "errors": 2},
    "bare loop, 2 x 1": {"windows_per_second": 90_000.0},
}


def of_report(name: str) -> dict:
    return json.loads((ROOT / "report" / "figures" / f"{name}.json").read_text())


def test_contenders_are_named_for_readers():
    frame = serving_pictures.contenders(SERVING)
    assert list(frame[""]) == [
        "this server",
        "Seldon's wrapper, 1 worker × 16 threads",
        "Seldon's wrapper, 2 workers × 1 thread",
        "ONNX Runtime alone, 2 processes × 1 thread",
    ]
    assert list(frame["requests a second"]) == ["9,000", "900", "500", "–"]


def test_the_best_setting_is_that_of_each_measure():
    assert serving_pictures.best_stock(SERVING, "requests_per_second") == "stock, 1 x 16"
    assert serving_pictures.best_stock(SERVING, "burst_seconds", least=True) == "stock, 2 x 1"


def test_a_forecast_costs_a_share_of_its_batch():
    frame = serving_pictures.costs(
        {
            "forward_fixed_us": 640.0,
            "forward_each_us": 20.0,
            "alone_us": {"model server": 1000.0},
            "burst_us": {"model server": 130.0},
            "model_server_each_in_64_us": 60.0,
        }
    )
    assert list(frame["forward"]) == [660.0, 30.0, 30.0]
    assert list(frame["rest"]) == [340.0, 100.0, 30.0]


def test_each_protocol_has_a_name_for_what_is_offered():
    frame = serving_pictures.protocols().set_index("what")
    assert frame.loc["forecasts", "Seldon protocol"] == "`POST /api/v1.0/predictions`"
    assert not frame.isna().to_numpy().any()


def test_an_example_is_the_readmes_own():
    shown = serving_pictures.example("seldon/README.md", "Requests", "python")
    assert (
        shown.removeprefix("```python\n").removesuffix("```")
        in (ROOT / "seldon" / "README.md").read_text()
    )
    with pytest.raises(ValueError, match="Expected 9 blocks of bash under 'Requests'"):
        serving_pictures.example("seldon/README.md", "Requests", "bash", 8)


def test_what_breaks_the_promise_stands_out():
    shape = {"page": "4 x 300m", "model_server": "4 x 130m", "upstream_requests": 8, "cores": 1.72}
    frame = app_pictures.shapes([{**shape, "refused": 0, "p99": 2.0, "p99_one_away": 2.01}], 2.0)
    assert list(frame["99 of 100 within, s"]) == ["2.00"]
    assert list(frame["with one of each away, s"]) == ["**2.01**"]


def test_the_loads_own_words_are_the_reports():
    frame = app_pictures.faults(of_report("load-test")["faults"])
    assert {"model swapped", "the page rolled over"} <= set(frame["what happens"])
    assert set(frame["sent again"][frame["what happens"] == "model swapped"]) == {"never"}


def test_the_sums_are_those_of_the_capacity_sheet():
    sheet = (ROOT / "cluster-setup" / "4-model-and-app" / "capacity.md").read_text()
    for result in app_pictures.summed(app_pictures.capacity())["comes to"].iloc[:2]:
        assert result in sheet
