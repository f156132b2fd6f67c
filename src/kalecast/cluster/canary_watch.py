"""Two versions side by side: what their pods have counted, and what speaks against the new one."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from kalecast.client.rest import (
    Floats,
    RequestError,
    ServerAddress,
    forecast_over_http,
    read_contract,
)
from kalecast.cluster import service_figures
from kalecast.cluster.pods import Pod
from kalecast.cluster.rollout import Rollout
from kalecast.cluster.seldon_deployment import DeploymentError, SeldonDeployment
from kalecast.cluster.service_figures import Figures, FiguresError

REQUEST_SECONDS = 5.0
"""How long a pod may take for one request of the release's own."""

MOST_UNANSWERED = 3
"""Requests of the release's own in a row that a pod of the new version may leave unanswered."""

REPORTS = 5
"""How often the figures are logged while a canary is watched."""


class WithdrawnError(DeploymentError):
    """The new version did not hold."""


@dataclass(frozen=True)
class Canary:
    """How a new version is tried, and what it must hold."""

    percent: int = 10
    """Of the requests, for the new version; 0 gives it all at once."""
    minutes: float = 5.0
    least_requests: int = 100
    """Answered by each version before they are compared. The release itself sends so many."""
    most_failed: float = 0.01
    """Share of failures (5xx) in its answers, beyond that of the version that serves."""
    most_refused: float = 0.05
    """Share of requests that it refuses (4xx), beyond that of the other."""
    deviations: float = 3.0
    """Standard deviations that both shares may differ by chance alone."""
    slower: float = 1.5
    """Times the other's 99th percentile that its own may be."""
    unnoticed: float = 0.1
    """Seconds up to which a difference does not count, however much faster the other is."""
    interval: float = 5.0
    """Seconds between two looks."""

    def __post_init__(self) -> None:
        if not 0 <= self.percent <= 50:
            raise ValueError(f"Expected a canary of 0 to 50 percent, received: {self.percent}")
        if not self.minutes > 0:
            raise ValueError(f"Expected more than 0 minutes, received: {self.minutes}")

    def against(self, canary: Figures, stable: Figures, *, at_the_end: bool) -> str | None:
        """What the figures say against the new version; nothing where it holds.

        Percentiles of few requests are noise: they count at the end only.
        """
        for which, figures in (("it", canary), ("the other", stable)):
            if figures.requests < self.least_requests:
                few = f"{which} answered {figures.requests:.0f} requests, too few to judge by"
                return few if at_the_end else None
        if self._exceeds(canary.failed, stable.failed, canary, stable, self.most_failed):
            return (
                f"{canary.share(canary.failed):.1%} of its answers are failures, "
                f"{stable.share(stable.failed):.1%} of the other's"
            )
        if self._exceeds(canary.refused, stable.refused, canary, stable, self.most_refused):
            return (
                f"it refuses {canary.share(canary.refused):.1%} of the requests, "
                f"the other {stable.share(stable.refused):.1%}"
            )
        slow, usual = canary.seconds(0.99), stable.seconds(0.99)
        if at_the_end and slow > max(self.unnoticed, usual * self.slower):
            return f"99 of 100 answers take up to {slow:.2f} s, the other's {usual:.2f} s"
        return None

    def _exceeds(
        self, of_canary: float, of_stable: float, canary: Figures, stable: Figures, most: float
    ) -> bool:
        """Whether a share is larger than the other by more than `most` and by more than chance.

        The standard deviation is that of the difference of two shares with one true value.
        """
        share = (of_canary + of_stable) / (canary.requests + stable.requests)
        deviation = math.sqrt(share * (1 - share) * (1 / canary.requests + 1 / stable.requests))
        difference = of_canary / canary.requests - of_stable / stable.requests
        return difference > most + self.deviations * deviation


@dataclass
class _Counted:
    """What the pods of one version have counted since they were first looked at."""

    first: dict[str, Figures] = field(default_factory=dict)
    last: dict[str, Figures] = field(default_factory=dict)
    before: Figures = field(default_factory=Figures)
    """Of containers that have ended since: their pod's next one counts from zero."""

    def look(self, pod: str, figures: Figures) -> None:
        if pod in self.last and figures.requests < self.last[pod].requests:
            self.before += self.last[pod] - self.first[pod]
            self.first[pod] = Figures()
        self.first.setdefault(pod, figures)
        self.last[pod] = figures

    def so_far(self) -> Figures:
        return sum((self.last[pod] - self.first[pod] for pod in self.last), self.before)


class Watch:
    """Two versions side by side, looked at again and again."""

    def __init__(
        self, new: SeldonDeployment, serving: SeldonDeployment, canary: Canary, rollout: Rollout
    ) -> None:
        self._serving, self._canary, self._rollout = serving, canary, rollout
        self._fresh, self._stable = new.model_version, serving.model_version
        self._deployments = {self._fresh: new, self._stable: serving}
        self._counted = {self._fresh: _Counted(), self._stable: _Counted()}
        looks = max(1, round(canary.minutes * 60 / canary.interval))
        # Twice as many as are needed: a look takes longer than the pause before it.
        self._own_requests = math.ceil(2 * canary.least_requests / looks)
        self._restarts: dict[str, int] = {}
        self._windows: dict[str | None, Floats] = {}
        self._unanswered: Counter[tuple[str, str]] = Counter()

    def until_it_holds(self) -> None:
        """Look until the time is over.

        Raises:
            DeploymentError: it does not hold, and why.
        """
        seconds = self._canary.minutes * 60
        start = time.monotonic()
        reported = 0
        self._look()
        left = seconds
        while left > 0:
            self._probe()
            time.sleep(min(self._canary.interval, left))
            self._look()
            self._judge(at_the_end=False)
            left = seconds - (time.monotonic() - start)
            if (due := int(REPORTS * (1 - left / seconds))) > reported:
                reported = due
                self._report()
        self._judge(at_the_end=True)
        self._rollout.report(f"version {self._fresh} has held for {self._canary.minutes:g} minutes")

    def _ready(self) -> Iterable[Pod]:
        for pod in self._rollout.cluster.pods_of(self._serving):
            if pod.model_version == self._fresh:
                self._require_no_restart(pod)
            if pod.model_version in self._counted and pod.is_ready:
                yield pod

    def _require_no_restart(self, pod: Pod) -> None:
        """Restarts before the watch have been borne with by the rollout."""
        if pod.restarts > self._restarts.setdefault(pod.name, pod.restarts):
            problem = "; ".join(map(str, pod.problems(self._rollout.cluster.read_log)))
            raise self._withdrawn(problem or f"pod {pod.name} was started again")

    def _look(self) -> None:
        for pod in self._ready():
            with self._tolerating(pod, "figures"):
                figures = service_figures.read(self._address(pod, "metrics"))
                self._counted[pod.model_version].look(pod.name, figures)

    def _probe(self) -> None:
        """Query both versions, so that a quiet service can be judged, too."""
        for pod in self._ready():
            version = pod.model_version
            address = ServerAddress(f"http://{self._address(pod, 'http')}", seconds=REQUEST_SECONDS)
            with self._tolerating(pod, "forecast"):
                if version not in self._windows:
                    contract = read_contract(address)
                    steps = np.arange(contract.input_length, dtype=np.float64)
                    self._windows[version] = steps % contract.season
                for _ in range(self._own_requests):
                    forecast, _ = forecast_over_http(address, self._windows[version])
                    if not np.isfinite(forecast).all():
                        raise RequestError(
                            f"{address.url} answers with values that are no numbers."
                        )

    @contextmanager
    def _tolerating(self, pod: Pod, requested: str) -> Iterator[None]:
        """A pod may be about to end. But new ones that do not answer again and again are bad.

        A refusal or failure is an answer, which the pod has counted itself.
        """
        what = (pod.name, requested)
        try:
            yield
        except (FiguresError, RequestError) as error:
            is_answer = isinstance(error, RequestError) and error.status
            if is_answer or pod.model_version != self._fresh:
                return
            self._unanswered[what] += 1
            if self._unanswered[what] >= MOST_UNANSWERED:
                raise self._withdrawn(
                    f"{error} (may pods of a pipeline reach the model server's ports?)"
                ) from error
        else:
            self._unanswered[what] = 0

    def _address(self, pod: Pod, port: str) -> str:
        return f"{pod.ip}:{self._deployments[pod.model_version].port(port)}"

    def _judge(self, *, at_the_end: bool) -> None:
        against = self._canary.against(
            self._counted[self._fresh].so_far(),
            self._counted[self._stable].so_far(),
            at_the_end=at_the_end,
        )
        if against:
            self._report()
            raise self._withdrawn(against)

    def _withdrawn(self, reason: str) -> WithdrawnError:
        return WithdrawnError(f"Version {self._fresh} is withdrawn: {reason}.")

    def _report(self) -> None:
        for version, counted in self._counted.items():
            figures = counted.so_far()
            self._rollout.report(
                f"  {version}: {figures.requests:.0f} answers, {figures.failed:.0f} failures, "
                f"{figures.refused:.0f} refusals, 99 of 100 within {figures.seconds(0.99):.3f} s"
            )
