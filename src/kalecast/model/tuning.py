"""Hyper-parameter search with Optuna here, with Katib on a cluster; both minimise the same.

    python -m kalecast.model.tuning search DATA [--trials 20] [--minutes 2]
    python -m kalecast.model.tuning trial DATA [--width 256 …]      one trial, as Katib runs it
    python -m kalecast.model.tuning experiment [--image …]          Katib's Experiment, as YAML

The search minimises the validation error during training; the hours on which the pipeline
judges a network are held out of it. It keeps every trial in a file and goes on from there.
"""

import argparse
import contextlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from kalecast.data.series import fingerprint, read_series, tidy
from kalecast.data.windows import hold_out
from kalecast.lifetime import end_in_order
from kalecast.model.network import NetworkSettings
from kalecast.model.training import TrainingSettings, validation_error
from kalecast.project import project_path

METRIC = "val_error"

TRIAL_CPUS = "2"
"""Of a trial on a cluster."""

WORKSPACE = "/home/jovyan"
"""Where the Notebook Server and Katib's trials mount the workspace's volume."""


@dataclass(frozen=True)
class Parameter:
    """A range or a list that a setting is searched in."""

    choices: tuple[int, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False


SPACE: Mapping[str, Parameter] = {
    "width": Parameter(choices=(128, 192, 256, 384)),
    "hour_width": Parameter(choices=(16, 24, 32, 48)),
    "blocks": Parameter(choices=(1, 2, 3)),
    "dropout": Parameter(low=0.0, high=0.5),
    "learning_rate": Parameter(low=5e-4, high=5e-3, log=True),
    "weight_decay": Parameter(low=1e-4, high=1e-1, log=True),
    "batch_size": Parameter(choices=(256, 512, 1024)),
}
"""What is searched; names are those of the notebook's parameters."""


@dataclass(frozen=True)
class Task:
    """Which series, and what is not searched."""

    data: str
    frequency: str = "h"
    shape: NetworkSettings = field(default_factory=NetworkSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    test_windows: int = 7

    def history(self) -> Any:
        """Tidy series without the hours on which networks are judged."""
        series = tidy(read_series(project_path(self.data)), self.frequency)
        return hold_out(series, self.test_windows * self.shape.horizon)[0]


def objective(task: Task, history: Any, values: Mapping[str, Any]) -> float:
    """The validation error of a training with these values; smaller is better."""
    of_shape = {known.name for known in fields(NetworkSettings)}
    shape = replace(task.shape, **{k: v for k, v in values.items() if k in of_shape})
    training = replace(task.training, **{k: v for k, v in values.items() if k not in of_shape})
    return validation_error(history, shape, training)


def search(task: Task, trials: int, folder: Path) -> tuple[dict[str, Any], float]:
    """Run trials until there are so many in the data's file; the best values and their error.

    The defaults are tried first. Stopping the search loses the trial that runs, no more.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    history = task.history()
    folder.mkdir(parents=True, exist_ok=True)
    name = fingerprint(history).removeprefix("sha256:")
    database = folder / f"{name}.db"
    _require_whole(database)
    study = optuna.create_study(
        storage=f"sqlite:///{database}",
        study_name=name,
        sampler=optuna.samplers.TPESampler(seed=task.training.seed),
        load_if_exists=True,
    )
    if not study.trials:
        study.enqueue_trial(_defaults(task))

    def logged(trial: Any) -> float:
        values = _suggested(trial)
        print(f"trial {trial.number + 1} of {trials}: {_written(values)}", flush=True)
        return objective(task, history, values)

    finished = [trial for trial in study.trials if trial.state.is_finished()]
    study.optimize(logged, n_trials=max(0, trials - len(finished)), catch=(ValueError,))
    return study.best_params, study.best_value


def _require_whole(database: Path) -> None:
    """Put a search's database aside where a power loss or a bad disk has damaged it, and say so."""
    import sqlite3

    if not database.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            (found,) = connection.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.OperationalError:  # another search writes to it
        return
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        aside = database.replace(database.with_suffix(".damaged"))
        print(f"The trials in '{database}' are damaged ({found.splitlines()[0]}) and not used.")
        print(f"The file is now '{aside}', and the search begins anew.", flush=True)


def experiment(
    task: Task, image: str, claim: str, trials: int, name: str = "kalecast-tuning"
) -> dict[str, Any]:
    """Katib's Experiment over the same space, whose trials run `kalecast.model.tuning trial`.

    Args:
        task: its data's path is one of the workspace, as the Notebook Server sees it.
        image: the workbench's.
        claim: name of the workspace's PersistentVolumeClaim.
        trials: how many, two at a time.
        name: the Experiment's.
    """
    template = {
        # A sidecar would keep the trial's pod alive after its work is done.
        "metadata": {"labels": {"sidecar.istio.io/inject": "false"}},
        "spec": _trial_pod(_trial_command(task), image, claim),
    }
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "kalecast"}},
        "spec": {
            "objective": {"type": "minimize", "objectiveMetricName": METRIC},
            "algorithm": {"algorithmName": "tpe"},
            "metricsCollectorSpec": {"collector": {"kind": "StdOut"}},
            "parallelTrialCount": min(2, trials),
            "maxTrialCount": trials,
            "maxFailedTrialCount": min(3, trials),
            "parameters": [_katib(name, parameter) for name, parameter in SPACE.items()],
            "trialTemplate": {
                "primaryContainerName": "trial",
                "trialParameters": [{"name": name, "reference": name} for name in SPACE],
                "trialSpec": {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "spec": {"backoffLimit": 0, "template": template},
                },
            },
        },
    }


def _trial_command(task: Task) -> list[str]:
    """What a trial's container runs; Katib puts values for the `trialParameters`."""
    command = ["python", "-m", "kalecast.model.tuning", "trial", task.data]
    command.append(f"--minutes={task.training.minutes:g}")
    command += [f"--{name}=${{trialParameters.{name}}}" for name in SPACE]
    # Katib joins a container's words with spaces to a line for a shell, unless it is one already.
    return ["sh", "-c", shlex.join(command)]


def _trial_pod(command: list[str], image: str, claim: str) -> dict[str, Any]:
    """A pod that sees the workspace where the Notebook Server does, but cannot write to it."""
    container = {
        "name": "trial",
        "image": image,
        "command": command,
        "env": [
            {"name": "HOME", "value": "/tmp"},
            {"name": "KALECAST_HOME", "value": f"{WORKSPACE}/kalecast"},
            # TensorFlow would start a thread for each core of the node, and be throttled.
            {"name": "TF_NUM_INTRAOP_THREADS", "value": TRIAL_CPUS},
        ],
        # The largest network of the space takes 0.9 GiB on the sample data.
        "resources": {
            "requests": {"cpu": TRIAL_CPUS, "memory": "1536Mi"},
            "limits": {"cpu": TRIAL_CPUS, "memory": "4Gi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "workspace", "mountPath": WORKSPACE, "readOnly": True}],
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # The pipeline's steps run as this user; the group is the Notebook Server's volume's.
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "runAsGroup": 0,
            "fsGroup": 100,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "workspace", "persistentVolumeClaim": {"claimName": claim}}],
    }


def _katib(name: str, parameter: Parameter) -> dict[str, Any]:
    if parameter.choices:
        space: dict[str, Any] = {"list": [str(choice) for choice in parameter.choices]}
        return {"name": name, "parameterType": "categorical", "feasibleSpace": space}
    space = {"min": str(parameter.low), "max": str(parameter.high)}
    if parameter.log:
        space["distribution"] = "logUniform"
    return {"name": name, "parameterType": "double", "feasibleSpace": space}


def _suggested(trial: Any) -> dict[str, Any]:
    return {
        name: trial.suggest_categorical(name, list(parameter.choices))
        if parameter.choices
        else trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)
        for name, parameter in SPACE.items()
    }


def _defaults(task: Task) -> dict[str, Any]:
    known = {**asdict(task.shape), **asdict(task.training)}
    return {name: known[name] for name in SPACE}


def _written(values: Mapping[str, Any]) -> str:
    """Values as `make run PARAMS="…"` takes them."""
    return " ".join(f"{name}={value:.4g}" for name, value in values.items())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Hyper-parameter search.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("search", "trial", "experiment"):
        command = commands.add_parser(name)
        command.add_argument("data", nargs="?", default="notebooks/data/electricity.csv")
        command.add_argument("--minutes", type=float, default=2.0, help="for each training")
        if name != "trial":
            command.add_argument("--trials", type=int, default=20)
    commands.choices["search"].add_argument("--folder", default="runs/tuning")
    commands.choices["experiment"].add_argument("--image", default="kalecast/workbench:0.1.0")
    commands.choices["experiment"].add_argument("--claim", default="kalecast-workspace")
    commands.choices["experiment"].add_argument("--name", default="kalecast-tuning")
    for name, parameter in SPACE.items():
        kind = int if parameter.choices else float
        commands.choices["trial"].add_argument(f"--{name}", type=kind)
    arguments = parser.parse_args()
    task = Task(arguments.data, training=TrainingSettings(minutes=arguments.minutes))
    if arguments.command == "experiment":
        import yaml

        options = vars(arguments)
        made = experiment(task, *(options[key] for key in ("image", "claim", "trials", "name")))
        print(yaml.safe_dump(made, sort_keys=False), end="")
    elif arguments.command == "trial":
        given = {name: vars(arguments)[name] for name in SPACE}
        values = {name: value for name, value in given.items() if value is not None}
        # Katib's collector reads `name=value` from the log.
        print(f"{METRIC}={objective(task, task.history(), values):.6f}")
    else:
        best, loss = search(task, arguments.trials, project_path(arguments.folder))
        print(f'best so far: make run PARAMS="{_written(best)}"')
        print(json.dumps({METRIC: loss, "parameters": best}))


if __name__ == "__main__":
    end_in_order()
    main()
