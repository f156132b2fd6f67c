"""Hyper-parameter search: goes on where it stopped, and Katib searches the same space."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from sample_series import hourly_series

from kalecast import tuning
from kalecast.network import NetworkSettings
from kalecast.training import TrainingSettings
from kalecast.tuning import SPACE, Task, experiment, objective, search


@pytest.fixture
def task(tmp_path: Path) -> Task:
    hourly_series(count=2, hours=400).to_csv(tmp_path / "series.csv", index=False)
    return Task(
        str(tmp_path / "series.csv"),
        shape=NetworkSettings(input_length=168, horizon=24),
        training=TrainingSettings(epochs=1, steps_per_epoch=2, validation_steps=48),
        test_windows=2,
    )


def test_the_objective_takes_any_values_of_the_space(task: Task):
    values = {name: p.choices[0] if p.choices else p.low for name, p in SPACE.items()}
    assert 0 < objective(task, task.history(), values) < 10


def test_a_search_goes_on_where_it_stopped(task: Task, tmp_path: Path, monkeypatch):
    tried: list[dict] = []

    def told(task: Task, history: object, values: dict) -> float:
        tried.append(dict(values))
        return abs(values["dropout"] - 0.3)

    monkeypatch.setattr(tuning, "objective", told)
    search(task, 2, tmp_path / "tuning")
    assert tried[0]["width"] == NetworkSettings().width, "the defaults come first"
    best, loss = search(task, 5, tmp_path / "tuning")
    assert len(tried) == 5
    assert loss == min(abs(values["dropout"] - 0.3) for values in tried)
    assert best in tried


def test_a_trial_that_fails_does_not_end_the_search(task: Task, tmp_path: Path, monkeypatch):
    losses = iter([0.5, ValueError("no such network"), 0.4])

    def told(*_: object) -> float:
        outcome = next(losses)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(tuning, "objective", told)
    assert search(task, 3, tmp_path / "tuning")[1] == 0.4


def test_the_hours_that_judge_a_network_are_held_out(task: Task):
    assert len(task.history()) == 2 * (400 - 2 * 24)


def test_katib_searches_the_same_space_with_the_same_trial(task: Task):
    made = yaml.safe_load(yaml.safe_dump(experiment(replace(task, data="a.csv"), "image", "c", 9)))
    spec = made["spec"]
    assert [parameter["name"] for parameter in spec["parameters"]] == list(SPACE)
    template = spec["trialTemplate"]
    referenced = {parameter["reference"] for parameter in template["trialParameters"]}
    assert referenced == set(SPACE)
    (container,) = template["trialSpec"]["spec"]["template"]["spec"]["containers"]
    assert template["primaryContainerName"] == container["name"]
    assert container["command"][:5] == [
        "python",
        "-m",
        "kalecast.tuning",
        "trial",
        "/workspace/a.csv",
    ]
    for name in SPACE:
        assert f"--{name}=${{trialParameters.{name}}}" in container["command"]
    for parameter in spec["parameters"]:
        space = parameter["feasibleSpace"]
        assert space.get("list") or float(space["min"]) < float(space["max"])
