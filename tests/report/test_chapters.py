"""What chapters show, from results as benchmarks write them and from the repository itself."""

from pathlib import Path

import pytest

from report import app, automation, cluster, protection, serving

ROOT = Path(__file__).resolve().parents[2]

SERVING = {
    "ours": {"requests_per_second": 9000.0, "burst_seconds": 0.8, "errors": 0},
    "stock, 1 x 16": {"requests_per_second": 900.0, "burst_seconds": 9.0, "errors": 0},
    "stock, 2 x 1": {"requests_per_second": 500.0, "burst_seconds": 5.0, "errors": 2},
    "bare loop, 2 x 1": {"windows_per_second": 90_000.0},
}


def test_contenders_are_named_for_readers():
    frame = serving.contenders(SERVING)
    assert list(frame[""]) == [
        "this server",
        "Seldon's wrapper, 1 worker × 16 threads",
        "Seldon's wrapper, 2 workers × 1 thread",
        "ONNX Runtime alone, 2 processes × 1 thread",
    ]
    assert list(frame["requests a second"]) == ["9,000", "900", "500", "–"]


def test_the_best_setting_is_that_of_each_measure():
    assert serving.best_stock(SERVING, "requests_per_second") == "stock, 1 x 16"
    assert serving.best_stock(SERVING, "burst_seconds", least=True) == "stock, 2 x 1"


def test_a_forecast_costs_a_share_of_its_batch():
    frame = serving.costs(
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
    frame = serving.protocols().set_index("what")
    assert frame.loc["forecasts", "Seldon protocol"] == "`POST /api/v1.0/predictions`"
    assert not frame.isna().to_numpy().any()


def test_an_example_is_the_readmes_own():
    shown = serving.example("seldon/README.md", "Requests", "python")
    assert shown in (ROOT / "seldon" / "README.md").read_text()
    with pytest.raises(ValueError, match="Expected 9 blocks of bash under 'Requests'"):
        serving.example("seldon/README.md", "Requests", "bash", 8)


def test_what_breaks_the_promise_stands_out():
    shape = {"page": "4 x 300m", "model_server": "4 x 130m", "upstream_requests": 8, "cores": 1.72}
    frame = app.shapes([{**shape, "refused": 0, "p99": 2.0, "p99_one_away": 2.01}], 2.0)
    assert list(frame["99 of 100 within, s"]) == ["2.00"]
    assert list(frame["with one of each away, s"]) == ["**2.01**"]


def test_pods_on_nodes_are_all_that_is_requested():
    parts = cluster.states()["a team at work"]
    nodes = cluster.place(parts, 3)
    assert sum(map(cluster.cores, nodes)) == pytest.approx(cluster.cores(parts))
    assert sorted(sum(pod.name == "page" for pod in node) for node in nodes) == [1, 1, 2]


def test_steps_come_after_those_that_they_need_and_what_passes_is_named():
    steps = automation.compiled_steps()
    names = [step.name for step in steps]
    assert names[0] == "load_data"
    for at, step in enumerate(steps):
        assert set(step.after) | set(step.artifacts) <= set(names[:at])
    by_name = {step.name: step for step in steps}
    assert by_name["train"].artifacts == {"preprocess": ["history"]}
    assert by_name["query"].artifacts["deploy"] == ["model_uri"]


def test_every_tag_of_the_notebook_is_explained():
    kinds = {tag.partition(":")[0] for tags in automation.tags_of_cells() for tag in tags}
    assert kinds <= set(automation.TAGS)
    assert all(automation.tags_table()["Cells"] > 0)


def test_timelines_hold_every_step():
    steps = [
        {"name": "load_data", "began": 0.0, "seconds": 3.0},
        {"name": "train", "began": 3.0, "seconds": 97.0},
    ]
    (axes,) = automation.timeline(steps, 100.0).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["load data", "train"]
    assert [text.get_text() for text in axes.texts] == ["3.0 s", "97.0 s"]


def test_each_threat_has_a_control_and_tests_that_are_there():
    found = protection.threats()
    assert {threat.number[0] for threat in found} == set("STRIDE")
    assert len({threat.number for threat in found}) == len(found)
    assert protection.threats_table(found)["Threats"].sum() == len(found)
    for file, name in {tuple(test.split("::")) for threat in found for test in threat.tests}:
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file}::{name}"


def test_a_threat_without_a_test_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = tmp_path / "model.md"
    model.write_text("## Spoofing\n\n| S1 | someone asks | a key | none yet |\n")
    monkeypatch.setattr(protection, "MODEL", model)
    with pytest.raises(ValueError, match="threat S1"):
        protection.threats()


def test_what_remains_is_read_whole():
    text = protection.MODEL.read_text().partition("## What remains")[2]
    assert len(protection.remaining_table()) == text.count("\n- ")


def test_each_attack_of_the_benchmark_is_described():
    words = protection.words_of_attacks()
    for name in ("slow_heads", "rapid_reset", "five_hundred_customers"):
        assert words[name]
