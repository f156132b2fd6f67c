"""Recurring runs on Kubeflow Pipelines: when they start, and one for each pipeline."""

import re
from dataclasses import dataclass
from operator import methodcaller
from typing import TYPE_CHECKING, Any

from kalecast.pipelines.kubeflow.connection import KfpError, NotFoundError, by_name

if TYPE_CHECKING:
    from kalecast.pipelines.kubeflow.client import RemoteKfp

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SHORTEST_SECONDS = 60


class ScheduleError(ValueError):
    """What was typed is no schedule; the text says what is."""


@dataclass(frozen=True)
class Schedule:
    """When runs start: every so many seconds, or by a cron expression."""

    every_seconds: int | None = None
    cron: str | None = None

    def __str__(self) -> str:
        return f"every {self.every_seconds} s" if self.every_seconds else f"at {self.cron}"


def read_schedule(every: str | None, cron: str | None) -> Schedule:
    """The schedule that was typed.

    Raises:
        ScheduleError: it is none.
    """
    if every and cron:
        raise ScheduleError("Expected EVERY or CRON, received both.")
    if every:
        found = re.fullmatch(r"(\d+)([smhd])", every.strip())
        seconds = int(found[1]) * UNITS[found[2]] if found else 0
        if seconds < SHORTEST_SECONDS:
            raise ScheduleError(
                f"Expected a time of at least a minute such as EVERY=24h (s, m, h, d), "
                f"received: {every!r}."
            )
        return Schedule(every_seconds=seconds)
    fields = (cron or "").split()
    # With five, KFP would take the first for the seconds and forgo the day of the week.
    if len(fields) != 6:
        raise ScheduleError(
            "Expected six fields, the first the seconds, such as CRON='0 0 3 * * *' (each day at "
            f"3:00), received: {cron!r}."
        )
    return Schedule(cron=" ".join(fields))


def replace_recurring(
    kfp: "RemoteKfp", experiment_id: str, name: str, wanted: dict[str, Any]
) -> str:
    """Have the recurring run of that name be as wanted; says what was done.

    The new one comes before the old ones go, and runs that these have started go on.

    Args:
        kfp: where it runs.
        experiment_id: to which it belongs.
        name: its name.
        wanted: the arguments of `kfp.Client.create_recurring_run` that say what runs, and when.

    Raises:
        KfpError: KFP does not do it; where an old one stays beside the new one, it is named.
    """
    wanted = {**wanted, "max_concurrency": 1, "no_catchup": True}
    old = _of_name(kfp, name, experiment_id)
    if len(old) == 1 and _is_as_wanted(old[0], wanted):
        return "is there already"
    kfp.do(lambda c: c.create_recurring_run(experiment_id, name, **wanted))
    for one in old:
        _delete(kfp, one.recurring_run_id)
    return "replaced" if old else "created"


def stop_recurring(kfp: "RemoteKfp", name: str, experiment_id: str) -> int:
    """Disable the recurring runs of that name; how many were enabled."""
    enabled = [one for one in _of_name(kfp, name, experiment_id) if one.status == "ENABLED"]
    for one in enabled:
        kfp.query(methodcaller("disable_recurring_run", one.recurring_run_id))
    return len(enabled)


def _of_name(kfp: "RemoteKfp", name: str, experiment_id: str) -> list[Any]:
    found = kfp.query(
        lambda c: c.list_recurring_runs(experiment_id=experiment_id, filter=by_name(name))
    )
    return found.recurring_runs or []


def _is_as_wanted(there: Any, wanted: dict[str, Any]) -> bool:
    reference, config = there.pipeline_version_reference, there.runtime_config
    periodic, cron = there.trigger.periodic_schedule, there.trigger.cron_schedule
    seconds = periodic.interval_second if periodic else None
    found = {
        "max_concurrency": int(there.max_concurrency),
        "no_catchup": there.no_catchup,
        "pipeline_id": reference and reference.pipeline_id,
        "version_id": reference and reference.pipeline_version_id,
        "params": (config.parameters if config else None) or {},
        "interval_second": int(seconds) if seconds else None,
        "cron_expression": (cron.cron or None) if cron else None,
    }
    return there.status == "ENABLED" and found == wanted


def _delete(kfp: "RemoteKfp", recurring_run_id: str) -> None:
    try:
        # Without ORPHAN, Kubernetes would take the runs away that it has started.
        kfp.query(
            lambda c: c._recurring_run_api.recurring_run_service_delete_recurring_run(
                recurring_run_id, propagation_policy="ORPHAN"
            )
        )
    except NotFoundError:
        return
    except KfpError as error:
        raise KfpError(
            f"The recurring run {recurring_run_id} stays beside its replacement: {error}"
        ) from error
