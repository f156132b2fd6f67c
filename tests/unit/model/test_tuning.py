"""Hyper-parameter search: goes on where it stopped, and Katib searches the same space."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from sample_series import hourly_series

from kalecast.model import tuning
from kalecast.model.network import NetworkSettings
from kalecast.model.training import TrainingSettings
from kalecast.model.tuning import METRIC, SPACE, Task, experiment, objective, search


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

    def scored(task: Task, history: object, values: dict) -> float:
        tried.append(dict(values))
        return abs(values["dropout"] - 0.3)

    monkeypatch.setattr(tuning, "objective", scored)
    search(task, 2, tmp_path / "tuning")
    assert tried[0]["width"] == NetworkSettings().width, "the defaults come first"
    best, loss = search(task, 5, tmp_path / "tuning")
    assert len(tried) == 5
    assert loss == min(abs(values["dropout"] - 0.3) for values in tried)
    assert best in tried


def test_a_trial_that_fails_does_not_end_the_search(task: Task, tmp_path: Path, monkeypatch):
    losses = iter([0.5, ValueError("no such network"), 0.4])

    def scored(*_: object) -> float:
        outcome = next(losses)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(tuning, "objective", scored)
    assert search(task, 3, tmp_path / "tuning")[1] == 0.4


def test_a_damaged_database_is_put_aside_and_named(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.setattr(tuning, "objective", lambda *_: 0.4)
    search(task, 1, tmp_path)
    (database,) = tmp_path.glob("*.db")
    whole = database.read_bytes()
    capsys.readouterr()
    for damaged in (b"no database" * 100, whole[: len(whole) // 2], whole[:4096] + b"\xff" * 8192):
        database.write_bytes(damaged)
        assert search(task, 1, tmp_path)[1] == 0.4
        assert f"'{database}' are damaged" in capsys.readouterr().out
        assert database.with_suffix(".damaged").read_bytes() == damaged
    search(task, 2, tmp_path)
    said = capsys.readouterr().out
    assert "damaged" not in said and "trial 2 of 2" in said


def test_the_hours_that_judge_a_network_are_held_out(task: Task):
    assert len(task.history()) == 2 * (400 - 2 * 24)


# How Katib's collector reads a log, as its source has it (pkg/metricscollector/v1beta1/common).
KATIBS_FILTER = r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)"


def made(task: Task, **options: Any) -> dict[str, Any]:
    """The Experiment's specification, as read back from YAML."""
    manifest = experiment(task, **{"image": "image", "claim": "c", "trials": 9, **options})
    return yaml.safe_load(yaml.safe_dump(manifest))["spec"]


def trial_pod(spec: dict[str, Any]) -> dict[str, Any]:
    return spec["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]


def test_katib_searches_the_same_space_with_the_same_trial(task: Task):
    spec = made(task)
    assert [parameter["name"] for parameter in spec["parameters"]] == list(SPACE)
    template = spec["trialTemplate"]
    referenced = {parameter["reference"] for parameter in template["trialParameters"]}
    assert referenced == set(SPACE)
    (container,) = trial_pod(spec)["containers"]
    assert template["primaryContainerName"] == container["name"]
    shell, line = container["command"][:2], container["command"][2]
    assert shell == ["sh", "-c"]
    assert shlex.split(line) == [
        *("python", "-m", "kalecast.model.tuning", "trial", task.data),
        f"--minutes={task.training.minutes:g}",
        *(f"--{name}=${{trialParameters.{name}}}" for name in SPACE),
    ]
    for parameter in spec["parameters"]:
        space = parameter["feasibleSpace"]
        assert space.get("list") or float(space["min"]) < float(space["max"])


def test_katib_takes_a_search_of_one_trial(task: Task):
    spec = made(task, trials=1)
    counts = ("parallelTrialCount", "maxTrialCount", "maxFailedTrialCount")
    assert [spec[name] for name in counts] == [1, 1, 1]


def test_a_trial_may_not_do_more_than_it_needs(task: Task):
    pod = trial_pod(made(task))
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert set(container["resources"]) == {"requests", "limits"}
    assert all(mount["readOnly"] for mount in container["volumeMounts"])


@pytest.mark.slow
def test_katib_reads_the_error_of_the_trial_that_it_starts(tmp_path: Path):
    data = tmp_path / "series of mine.csv"
    hourly_series(count=2, hours=1500).to_csv(data, index=False)
    task = Task(str(data), training=TrainingSettings(minutes=0.01))
    spec = made(task)
    (container,) = trial_pod(spec)["containers"]
    shell, (line,) = container["command"][:2], container["command"][2:]
    for parameter in spec["parameters"]:
        space = parameter["feasibleSpace"]
        value = space["list"][0] if "list" in space else space["min"]
        line = line.replace(f"${{trialParameters.{parameter['name']}}}", value)
    # What Katib makes of the command, in order to read the log beside it.
    log, ended = tmp_path / "metrics.log", tmp_path / "ended"
    wrapped = f"{line} 1>{log} 2>&1 && echo completed > {ended}"
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {"PATH": path, "HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path)}
    subprocess.run([*shell, wrapped], env=environment, cwd=tmp_path, check=False)
    assert ended.is_file(), log.read_text()
    found = re.findall(KATIBS_FILTER, log.read_text())
    (error,) = (float(match[1]) for match in found if match[0] == METRIC)
    assert spec["objective"]["objectiveMetricName"] == METRIC
    assert 0 < error < 10
