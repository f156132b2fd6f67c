"""Load from inside the cluster, as long as it is wanted, and what its clients got."""

import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.cluster_test.helpers import CLIENT
from benchmarks.cluster_test.kube import Kube, KubeError
from benchmarks.cluster_test.outcomes import CheckFailed
from benchmarks.load.job import Job

ROUND_SECONDS = 15.0
"""After which clients connect anew."""

DEADLINE = 20.0
"""Seconds within which a client wants its answer, other tries included."""

CLIENTS, THINK = 40, 0.4
"""While something is broken: about a hundred forecasts a second."""

HEAVY_CLIENTS = 64
"""Each sends its next request as soon as it is answered."""

BEFORE, AFTER = 3.0, 3.0
"""Seconds of load before something is broken, and when all is as before."""

CALL_SECONDS = 120.0
"""For a start, and for an end, which waits for the last round."""

LEAST_ANSWERS = 20
"""Fewer would say nothing."""


def light(job: Job, retries: bool) -> Job:
    """Many clients that pause."""
    return replace(
        job,
        shape="plateau",
        clients=CLIENTS,
        think=THINK,
        seconds=ROUND_SECONDS,
        timeout=DEADLINE,
        retry=retries,
    )


def heavy(job: Job) -> Job:
    """As many forecasts as go."""
    return replace(
        job,
        shape="steady",
        retry=True,
        clients=HEAVY_CLIENTS,
        seconds=ROUND_SECONDS,
        timeout=DEADLINE,
    )


@dataclass
class Totals:
    """What the clients got, over all rounds."""

    ok: int = 0
    failed: int = 0
    retried: int = 0
    slowest_p99: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, summary: dict[str, Any]) -> None:
        """A round."""
        self.ok += summary["ok"]
        self.failed += summary["errors"]
        self.retried += summary["retried"]
        self.slowest_p99 = max(self.slowest_p99, summary["p99"] or 0.0)
        self.kinds.update(summary["kinds"])

    def __str__(self) -> str:
        again = f", {self.retried} of them at another try" if self.retried else ""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.most_common())
        return (
            f"{self.ok:,} forecasts{again}, {self.failed} failed{f' ({kinds})' if kinds else ''}, "
            f"p99 {self.slowest_p99:.2f} s"
        )

    def judge(self) -> None:
        """None may have failed.

        Raises:
            CheckFailed: some did, or there was hardly any load.
        """
        if self.failed:
            raise CheckFailed(f"forecasts failed: {self}")
        if self.ok < LEAST_ANSWERS:
            raise CheckFailed(f"Expected at least {LEAST_ANSWERS} forecasts, received: {self}")


@contextmanager
def under_load(kube: Kube, *jobs: Job) -> Iterator[list[Totals]]:
    """Have clients send requests, before, while and after something happens.

    The totals are complete when the context has ended.

    Raises:
        CheckFailed: the load itself did not work.
    """
    begun: dict[str, Totals] = {}
    try:
        for job in jobs:
            name = f"load-{secrets.token_hex(4)}"
            _call(kube, "start", name, job.to_json())
            begun[name] = Totals()
        time.sleep(BEFORE)
        yield list(begun.values())
        time.sleep(AFTER)
    except Exception:
        for name in begun:
            with suppress(CheckFailed):  # the earlier error is the one to report
                _call(kube, "end", name)
        raise
    for name, totals in begun.items():
        for line in _call(kube, "end", name).splitlines():
            totals.add(json.loads(line))


def _call(kube: Kube, what: str, name: str, content: str | None = None) -> str:
    inside = ("exec", "--stdin", CLIENT, "--", "python", "/load/load_clients.py", what, name)
    try:
        return kube.again(*inside, content=content or "", seconds=CALL_SECONDS)
    except KubeError as error:
        raise CheckFailed(f"the load did not {what}: {error}") from error
