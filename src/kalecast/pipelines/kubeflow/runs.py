"""Runs on Kubeflow Pipelines: started, followed line by line, and kept for the report.

The log of a step that failed is the end of what its pod printed. KFP's API names no pods, only
the nodes of its workflow. What a pod is called follows from its node and from the template that it
was made of (`RetrievePodName` in KFP's workflow.go).
"""

import http.client
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from kalecast.client.http import opener
from kalecast.pipelines.compiled_pipeline import CompiledPipeline, step_name, task_names
from kalecast.pipelines.kubeflow.connection import KfpError, by_name
from kalecast.pipelines.kubeflow.recurring import Schedule, replace_recurring, stop_recurring
from kalecast.pipelines.local.terminal_text import plain
from kalecast.results import write_results

if TYPE_CHECKING:
    from kalecast.pipelines.kubeflow.client import RemoteKfp

Log = Callable[[str], None]
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
BEGUN = ("RUNNING", "PAUSED", "CANCELING", "SUCCEEDED", "FAILED", "CANCELED")
LOG_LINES = 40
LOG_SECONDS = 15.0
LOG_BYTES = 1024 * 1024
TEMPLATES = ("system-container-impl", "retry-system-container-impl")
"""Of the pods that run a step's own code; the second where the step has retries."""


class UploadedVersion(NamedTuple):
    """A pipeline version on KFP."""

    pipeline_id: str
    version_id: str
    is_new: bool


class RemoteRuns:
    """Starts, follows and repeats runs; each method says in its last line how it went.

    Args:
        kfp: where they run.
        say: is given each line.
        poll_seconds: between two looks at a run.
        results: the file for the figures of a run that succeeds.
    """

    def __init__(
        self, kfp: "RemoteKfp", say: Log, poll_seconds: float, results: Path | None = None
    ) -> None:
        self._kfp = kfp
        self._say = say
        self._poll_seconds = poll_seconds
        self._results = results

    def run_once(
        self, pipeline: CompiledPipeline, experiment: str, parameters: dict[str, Any]
    ) -> int:
        """Upload, run and follow; the exit code."""
        version = self._upload(pipeline)
        experiment_id = self._experiment_id(experiment)
        run = self._kfp.do(
            lambda c: c.run_pipeline(
                experiment_id,
                f"{pipeline.name} {datetime.now():%Y-%m-%d %H:%M:%S}",
                params=parameters,
                pipeline_id=version.pipeline_id,
                version_id=version.version_id,
            )
        )
        return self._follow(str(run.run_id), pipeline.spec)

    def follow_again(self, run_id: str, stop: bool) -> int:
        """Follow a run that was started before, and stop it if `stop`; the exit code."""
        run = self._kfp.query(lambda c: c.get_run(run_id))
        if stop:
            self._kfp.do(lambda c: c.terminate_run(run_id))
            self._say("stop requested")
        return self._follow(run_id, self._spec_of(run))

    def repeat(
        self,
        pipeline: CompiledPipeline,
        experiment: str,
        parameters: dict[str, Any],
        schedule: Schedule,
    ) -> int:
        """Create the recurring run, or replace it; the exit code."""
        version = self._upload(pipeline)
        experiment_id = self._experiment_id(experiment)
        name = _recurring_name(pipeline)
        wanted = {
            "interval_second": schedule.every_seconds,
            "cron_expression": schedule.cron,
            "params": parameters,
            "pipeline_id": version.pipeline_id,
            "version_id": version.version_id,
        }
        done = replace_recurring(self._kfp, experiment_id, name, wanted)
        zone = ", in KFP's time zone (UTC unless it was given another)" if schedule.cron else ""
        self._say(f"recurring run '{name}': {schedule}{zone}, one at a time, {done}")
        return 0

    def stop_repeating(self, pipeline: CompiledPipeline, experiment: str) -> int:
        """Disable the recurring run; the exit code."""
        name = _recurring_name(pipeline)
        count = stop_recurring(self._kfp, name, self._experiment_id(experiment))
        self._say(f"recurring run '{name}': {'disabled' if count else 'none was enabled'}")
        return 0

    def _upload(self, pipeline: CompiledPipeline) -> UploadedVersion:
        version = upload(self._kfp, pipeline)
        done = "uploaded" if version.is_new else "is there already"
        self._say(f"pipeline '{pipeline.name}', version {pipeline.version_name}: {done}")
        return version

    def _experiment_id(self, name: str) -> str:
        """The experiment of that name, made where there is none."""
        made = self._kfp.query(lambda c: c.create_experiment(name, namespace=self._kfp.namespace))
        return str(made.experiment_id)

    def _follow(self, run_id: str, spec: dict[str, Any]) -> int:
        self._say(f"run {run_id}: {self._kfp.run_link(run_id)}")
        tasks = task_names(spec)
        try:
            run = follow(self._kfp, run_id, tasks, self._say, self._poll_seconds)
        except (KeyboardInterrupt, KfpError) as end:
            self._say(f"\nThe run goes on. Follow it again: make cluster-run RUN={run_id}")
            self._say(f"Stop it: make cluster-run RUN={run_id} STOP=1")
            if isinstance(end, KfpError):
                raise
            return 130
        if run.state == "FAILED":
            self._report_why(run)
        if run.state == "SUCCEEDED" and self._results:
            record(self._results, run, tasks)
            self._say(f"saved {self._results}")
        seconds = seconds_of(run, "created_at", "finished_at")
        took = f" after {seconds:.0f} s" if seconds is not None else ""
        self._say(f"run {run_id}: {run.state}{took}")
        return 0 if run.state == "SUCCEEDED" else 1

    def _report_why(self, run: Any) -> None:
        for line in failed_log(self._kfp, run):
            self._say(f"log | {line}")
        if reason := reason_of(run):
            self._say(f"FAILED   {reason}")

    def _spec_of(self, run: Any) -> dict[str, Any]:
        """The pipeline of a run, which KFP holds with the run or as a version."""
        spec, reference = run.pipeline_spec, run.pipeline_version_reference
        if spec is None:
            version = self._kfp.query(
                lambda c: c.get_pipeline_version(
                    reference.pipeline_id, reference.pipeline_version_id
                )
            )
            spec = version.pipeline_spec
        return dict(spec.get("pipeline_spec", spec))


def upload(kfp: "RemoteKfp", compiled: CompiledPipeline) -> UploadedVersion:
    """The version with this content, uploaded where there is none yet.

    The first version of a pipeline gets the pipeline's name, whatever is requested: there the
    name that follows from the content stands in the description.
    """
    name, description = compiled.version_name, compiled.description
    pipeline_id = _pipeline_id(kfp, compiled.name)
    path = str(compiled.path)
    if pipeline_id:
        for shown in (name, compiled.name):
            for version in _versions(kfp, pipeline_id, shown):
                if name in (version.display_name, *(version.description or "").split()):
                    return UploadedVersion(pipeline_id, version.pipeline_version_id, False)
        made = kfp.do(
            lambda c: c.upload_pipeline_version(
                path, name, pipeline_id=pipeline_id, description=description
            )
        )
        return UploadedVersion(pipeline_id, made.pipeline_version_id, True)
    pipeline = kfp.do(
        lambda c: c.upload_pipeline(
            path, compiled.name, f"{description} {name}".strip(), namespace=kfp.namespace
        )
    )
    (first,) = _versions(kfp, pipeline.pipeline_id, compiled.name)
    return UploadedVersion(pipeline.pipeline_id, first.pipeline_version_id, True)


def _pipeline_id(kfp: "RemoteKfp", name: str) -> str | None:
    """The profile's own pipeline of that name."""
    found = kfp.query(
        lambda c: c.list_pipelines(filter=by_name(name), namespace=kfp.namespace)
    ).pipelines
    return str(found[0].pipeline_id) if found else None


def _versions(kfp: "RemoteKfp", pipeline_id: str, name: str) -> list[Any]:
    found = kfp.query(lambda c: c.list_pipeline_versions(pipeline_id, filter=by_name(name)))
    return found.pipeline_versions or []


def _recurring_name(pipeline: CompiledPipeline) -> str:
    return f"{pipeline.name}-again"


def follow(
    kfp: "RemoteKfp",
    run_id: str,
    tasks: list[str],
    log: Log,
    poll_seconds: float,
) -> Any:
    """Log each step as it starts and ends, until the run has ended; returns the run.

    Args:
        kfp: where it runs.
        run_id: the run.
        tasks: the names of the pipeline's steps as KFP knows them.
        log: is given each line.
        poll_seconds: between two looks.
    """
    begun: list[str] = []
    ended: set[str] = set()
    state = ""
    while True:
        run = kfp.query(lambda c: c.get_run(run_id))
        for task in _steps(run, tasks):
            name = task.display_name
            if task.state in BEGUN and name not in begun:
                begun.append(name)
                log(_title(name, begun, tasks))
            if task.state in ENDED and name in begun and name not in ended:
                ended.add(name)
                seconds = seconds_of(task, "start_time", "end_time")
                took = f" {seconds:.1f} s" if seconds is not None else ""
                how = "" if task.state == "SUCCEEDED" else f" {task.state}"
                log(f"{_title(name, begun, tasks)} ...{took}{how}")
        if run.state != state and run.state in ("PENDING", "CANCELING", "PAUSED"):
            log(f"the run is {run.state.lower()}")
        state = run.state
        if state in ENDED:
            return run
        time.sleep(poll_seconds)


def _title(name: str, begun: list[str], tasks: list[str]) -> str:
    return f"[{begun.index(name) + 1}/{len(tasks)}] {step_name(name)}"


def _steps(run: Any, tasks: list[str]) -> list[Any]:
    """The steps among the nodes of a run's workflow, in the order in which they started."""
    nodes = (run.run_details.task_details if run.run_details else None) or []
    steps = [node for node in nodes if node.display_name in tasks]
    return sorted(steps, key=lambda step: step.start_time or datetime.now(UTC))


def seconds_of(thing: Any, begin: str, end: str) -> float | None:
    """How long a run or step took, by the names of its timestamps; None where KFP has not said.

    KFP writes a timestamp that it does not have as the year 1 or 1970.
    """
    timestamps = [getattr(thing, name) for name in (begin, end)]
    if any(timestamp is None or timestamp.year < 2000 for timestamp in timestamps):
        return None
    return float((timestamps[1] - timestamps[0]).total_seconds())


def reason_of(run: Any) -> str:
    """Why a run failed, where KFP says it."""
    history = [status.error for status in run.state_history or []]
    messages = [
        error.message for error in (run.error, *reversed(history)) if error and error.message
    ]
    return " ".join(str(messages[0]).split()) if messages else ""


def record(path: Path, run: Any, tasks: list[str]) -> None:
    """Write the steps of a run that has ended, with their states and times, which the report draws.

    Addresses, names and parameters are left out: they may be confidential.

    Args:
        path: of the results file, JSON.
        run: what KFP has on it.
        tasks: the names of the pipeline's steps as KFP knows them.
    """
    results = {
        "state": run.state,
        "seconds": seconds_of(run, "created_at", "finished_at"),
        "workflow_nodes": len(run.run_details.task_details),
        "steps": [
            {
                "name": step_name(task.display_name),
                "state": task.state,
                # Seconds from the run's creation to its start, and from there to its end.
                "began": (task.start_time - run.created_at).total_seconds(),
                "seconds": seconds_of(task, "start_time", "end_time"),
            }
            for task in _steps(run, tasks)
        ],
        # Not this machine's, which only sent requests.
        "machine": {"cpu": "a Kubernetes cluster with Kubeflow Pipelines"},
        "cores": None,
    }
    write_results(path, "make cluster-run", results)


def failed_log(kfp: "RemoteKfp", run: Any) -> list[str]:
    """The last lines that the failed steps of a run printed; none where they cannot be had."""
    for pod in _pods(run):
        for address in _addresses(kfp, str(run.run_id), pod):
            text = _read(kfp, address)
            if text.strip():
                return plain(text).strip().splitlines()[-LOG_LINES:]
    return []


def _pods(run: Any) -> Iterator[str]:
    """What the pods of failed steps may be called, those of the last attempt first."""
    for task in run.run_details.task_details if run.run_details else []:
        if task.state != "FAILED" or (task.display_name or "").endswith("-driver"):
            continue
        for child in reversed(task.child_tasks or []):
            workflow, _, hashed = (child.pod_name or "").rpartition("-")
            for template in TEMPLATES if workflow else ():
                yield f"{workflow}-{template}-{hashed}"
            yield child.pod_name


def _addresses(kfp: "RemoteKfp", run_id: str, pod: str) -> Iterator[str]:
    """Where KFP's page has the log of a pod, and where its API server has it."""
    query = {"podname": pod, "runid": run_id}
    if kfp.namespace:
        query["podnamespace"] = kfp.namespace
    yield f"{kfp.host}/k8s/pod/logs?{urllib.parse.urlencode(query)}"
    run, node = urllib.parse.quote(run_id), urllib.parse.quote(pod)
    yield f"{kfp.host}/apis/v1alpha1/runs/{run}/nodes/{node}/log"


def _read(kfp: "RemoteKfp", address: str) -> str:
    """The end of the text there, nothing where there is none."""
    try:
        context = ssl.create_default_context(cafile=kfp.connection.ssl_ca_cert)
        request = urllib.request.Request(address, headers=kfp.headers())
        without_proxy = opener(context, proxies=False)  # KFP's client knows of none
        with without_proxy.open(request, timeout=LOG_SECONDS) as answer:
            kind = answer.headers.get_content_type()
            text = _end_of(answer).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException, urllib.error.URLError, ValueError):
        return ""
    # The page answers unknown paths with itself; the API server reports an error after it has
    # sent the status 200.
    return "" if kind == "text/html" or text.startswith('{"error') else text


def _end_of(answer: IO[bytes]) -> bytes:
    """The last of what comes, read in pieces: a log may be larger than the memory."""
    end = b""
    while piece := answer.read(LOG_BYTES):
        end = (end + piece)[-LOG_BYTES:]
    return end
