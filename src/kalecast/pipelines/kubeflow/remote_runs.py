"""Runs on Kubeflow Pipelines, logged line by line."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from kalecast.pipelines.compiled_pipeline import CompiledPipeline, task_names
from kalecast.pipelines.kubeflow.connection import KfpError
from kalecast.pipelines.kubeflow.pipeline_upload import UploadedVersion, upload
from kalecast.pipelines.kubeflow.recurring_runs import Recurring, replace_recurring, stop_recurring
from kalecast.pipelines.kubeflow.remote_kfp import Log, RemoteKfp
from kalecast.pipelines.kubeflow.run_following import follow, reason_of, seconds_of
from kalecast.pipelines.kubeflow.schedules import Schedule
from kalecast.pipelines.kubeflow.step_logs import failed_log

Keep = Callable[[Any, Sequence[str]], None]
"""Is given a run that succeeded, and its steps' names as KFP knows them."""


class RemoteRuns:
    """Starts, follows and repeats runs; each method says in its last line how it went.

    Args:
        kfp: where they run.
        say: is given each line.
        poll_seconds: between two looks at a run.
        keep: a run's results, once it has succeeded.
    """

    def __init__(
        self, kfp: RemoteKfp, say: Log, poll_seconds: float, keep: Keep | None = None
    ) -> None:
        self._kfp = kfp
        self._say = say
        self._poll_seconds = poll_seconds
        self._keep = keep

    def run_once(
        self, pipeline: CompiledPipeline, experiment: str, parameters: dict[str, Any]
    ) -> int:
        """Upload, run and follow; the exit code."""
        version = self._upload(pipeline)
        experiment_id = self._experiment_id(experiment)
        run = self._kfp.do(
            lambda: self._kfp.client.run_pipeline(
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
        run = self._kfp.query(lambda: self._kfp.client.get_run(run_id))
        if stop:
            self._kfp.do(lambda: self._kfp.client.terminate_run(run_id))
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
        wanted = Recurring(_recurring_name(pipeline), experiment_id, version, parameters, schedule)
        done = replace_recurring(self._kfp, wanted)
        zone = ", in KFP's time zone (UTC unless it was given another)" if schedule.cron else ""
        self._say(f"recurring run '{wanted.name}': {schedule}{zone}, one at a time, {done}")
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
        made = self._kfp.query(
            lambda: self._kfp.client.create_experiment(name, namespace=self._kfp.namespace)
        )
        return str(made.experiment_id)

    def _follow(self, run_id: str, spec: dict[str, Any]) -> int:
        self._say(f"run {run_id}: {self._kfp.run_link(run_id)}")
        tasks = list(task_names(spec))
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
        if run.state == "SUCCEEDED" and self._keep:
            self._keep(run, tasks)
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
                lambda: self._kfp.client.get_pipeline_version(
                    reference.pipeline_id, reference.pipeline_version_id
                )
            )
            spec = version.pipeline_spec
        return dict(spec.get("pipeline_spec", spec))


def _recurring_name(pipeline: CompiledPipeline) -> str:
    return f"{pipeline.name}-again"
