"""The checks, in their order, and what they need of each other."""

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.cluster_test.bad_models import bad_model
from benchmarks.cluster_test.context import Context
from benchmarks.cluster_test.disturbances import evict, kill, restart
from benchmarks.cluster_test.network_policies import network
from benchmarks.cluster_test.options import ALWAYS_REQUIRED
from benchmarks.cluster_test.outcomes import CheckFailed, NotChecked, Result, State
from benchmarks.cluster_test.scaling import scale_in, scale_out
from benchmarks.cluster_test.working import forecast, objects, pods, ready


@dataclass(frozen=True)
class Check:
    """A thing to look at; it returns what was seen."""

    name: str
    look: Callable[[Context], str]
    description: str
    """What it does, for the plan."""
    needs: str = "forecast"
    """The check without which it makes no sense."""


CHECKS = (
    Check("objects", objects, "a server-side dry run of every object", needs=""),
    Check("ready", ready, "apply; pods and Services become ready", needs="objects"),
    Check("forecast", forecast, "a forecast through each Service and protocol", needs="ready"),
    Check("pods", pods, "what the pods' processes may do"),
    Check("network", network, "what NetworkPolicies allow and deny"),
    Check("scale-out", scale_out, "load until both autoscalers have added pods"),
    Check("scale-in", scale_in, "quiet until they have removed them", needs="scale-out"),
    Check("kill", kill, "a pod of each killed under load"),
    Check("restart", restart, "a rollout of both restarted under load"),
    Check("evict", evict, "all pods evicted under load, one at a time"),
    Check("bad-model", bad_model, "two bad models under load, rolled back"),
)
NAMES = tuple(check.name for check in CHECKS)


def chosen(only: tuple[str, ...]) -> list[Check]:
    """Those to make: all, or those named with what they need."""
    if not only:
        return list(CHECKS)
    needs = {check.name: check.needs for check in CHECKS}
    wanted = {*only, *(needs[name] for name in only), *ALWAYS_REQUIRED}
    return [check for check in CHECKS if check.name in wanted]


def make(checks: list[Check], context: Context, log: Callable[[str], None]) -> Iterator[Result]:
    """One result after another; a check whose need has not passed is not made."""
    passed = {""}
    for check in checks:
        log(f"{check.name}: {check.description}")
        began = time.monotonic()
        state, seen = _made(check, context, passed)
        result = Result(check.name, state, " ".join(seen.split()), time.monotonic() - began)
        log(f"{check.name}: {result.line}")
        if state is State.PASSED:
            passed.add(check.name)
        yield result


def _made(check: Check, context: Context, passed: set[str]) -> tuple[State, str]:
    if check.needs not in passed:
        return State.NOT_CHECKED, f"'{check.needs}' has not passed"
    try:
        if check.needs == "forecast":
            context.settle()
        return State.PASSED, check.look(context)
    except NotChecked as reason:
        return State.NOT_CHECKED, str(reason)
    except CheckFailed as failure:
        return State.FAILED, str(failure)
    except Exception as error:  # the other checks and the table are still worth having
        context.log(traceback.format_exc())
        return State.FAILED, f"{type(error).__name__}: {error}"
