"""Recurring runs on Kubeflow Pipelines: one for each pipeline, replaced by its name."""

from dataclasses import dataclass
from typing import Any

from kalecast.pipelines.kubeflow.connection import KfpError
from kalecast.pipelines.kubeflow.pipeline_upload import UploadedVersion
from kalecast.pipelines.kubeflow.remote_kfp import PAGE, NotFoundError, RemoteKfp, by_name
from kalecast.pipelines.kubeflow.schedules import Schedule


@dataclass(frozen=True)
class Recurring:
    """What is to run again and again."""

    name: str
    experiment_id: str
    version: UploadedVersion
    parameters: dict[str, Any]
    schedule: Schedule


def replace_recurring(kfp: RemoteKfp, wanted: Recurring) -> str:
    """Have the recurring run of that name be as wanted; says what was done.

    The new one comes before the old ones go, and runs that these have started go on.

    Raises:
        KfpError: KFP does not do it; where an old one stays beside the new one, it is named.
    """
    old = _of_name(kfp, wanted.name, wanted.experiment_id)
    if len(old) == 1 and _is_as_wanted(old[0], wanted):
        return "is there already"
    kfp.do(
        lambda: kfp.client.create_recurring_run(
            wanted.experiment_id,
            wanted.name,
            interval_second=wanted.schedule.every_seconds,
            cron_expression=wanted.schedule.cron,
            max_concurrency=1,
            no_catchup=True,
            params=wanted.parameters,
            pipeline_id=wanted.version.pipeline_id,
            version_id=wanted.version.version_id,
        )
    )
    for one in old:
        _delete(kfp, one.recurring_run_id)
    return "replaced" if old else "created"


def stop_recurring(kfp: RemoteKfp, name: str, experiment_id: str) -> int:
    """Disable the recurring runs of that name; how many were enabled."""
    enabled = [one for one in _of_name(kfp, name, experiment_id) if one.status == "ENABLED"]
    for one in enabled:
        kfp.query(lambda one=one: kfp.client.disable_recurring_run(one.recurring_run_id))  # type: ignore[misc]
    return len(enabled)


def _of_name(kfp: RemoteKfp, name: str, experiment_id: str) -> list[Any]:
    return kfp.all_of(
        lambda token: kfp.client.list_recurring_runs(
            page_token=token, page_size=PAGE, experiment_id=experiment_id, filter=by_name(name)
        ),
        "recurring_runs",
    )


def _is_as_wanted(there: Any, wanted: Recurring) -> bool:
    reference, trigger, config = (
        there.pipeline_version_reference,
        there.trigger,
        there.runtime_config,
    )
    periodic, cron = trigger.periodic_schedule, trigger.cron_schedule
    return (
        there.status == "ENABLED"
        and there.no_catchup is True
        and int(there.max_concurrency) == 1
        and reference is not None
        and reference.pipeline_version_id == wanted.version.version_id
        and ((config.parameters if config else None) or {}) == wanted.parameters
        and _seconds(periodic) == wanted.schedule.every_seconds
        and ((cron.cron or None) if cron else None) == wanted.schedule.cron
    )


def _seconds(periodic: Any) -> int | None:
    return int(periodic.interval_second) if periodic and periodic.interval_second else None


def _delete(kfp: RemoteKfp, recurring_run_id: str) -> None:
    try:
        # Without ORPHAN, Kubernetes would take the runs away that it has started. The client is
        # another one after a secret was renewed.
        kfp.query(
            lambda: kfp.client._recurring_run_api.recurring_run_service_delete_recurring_run(
                recurring_run_id, propagation_policy="ORPHAN"
            )
        )
    except NotFoundError:
        return
    except KfpError as error:
        raise KfpError(
            f"The recurring run {recurring_run_id} stays beside its replacement: {error}"
        ) from error
