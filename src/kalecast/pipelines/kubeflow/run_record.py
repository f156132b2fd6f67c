"""A run on Kubeflow Pipelines as a results file, which the report draws."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kalecast.pipelines.kubeflow.run_following import seconds_of
from kalecast.pipelines.local.step_launcher import step_name
from kalecast.results import write_results

COMMAND = "make cluster-run"


def record(path: Path, run: Any, tasks: Sequence[str]) -> bool:
    """Write the steps of a run that has ended, with their states and times.

    Addresses, names and parameters are left out: they may be confidential.

    Args:
        path: of the results file, JSON.
        run: KFP's word on it.
        tasks: the names of the pipeline's steps as KFP knows them.

    Returns:
        Whether it was written. A run of `make lab`'s stand-in is not: it says nothing of a
        cluster, and is known by having no nodes of KFP's workflow beside its steps.
    """
    nodes = [task.display_name for task in run.run_details.task_details]
    if not any(name.endswith("-driver") for name in nodes):
        return False
    found = [task for task in run.run_details.task_details if task.display_name in tasks]
    steps = [_step(task, run) for task in sorted(found, key=lambda task: task.start_time)]
    results = {
        "state": run.state,
        "seconds": seconds_of(run, "created_at", "finished_at"),
        "workflow_nodes": len(nodes),
        "steps": steps,
        # Not this machine's, which only sent requests.
        "machine": {"cpu": "a Kubernetes cluster with Kubeflow Pipelines"},
        "cores": None,
    }
    write_results(path, COMMAND, results)
    return True


def _step(task: Any, run: Any) -> dict[str, Any]:
    """Its name, state, and seconds: from the run's creation to its start, and to its end."""
    return {
        "name": step_name(task.display_name.replace("-", "_")),
        "state": task.state,
        "began": (task.start_time - run.created_at).total_seconds(),
        "seconds": seconds_of(task, "start_time", "end_time"),
    }
