"""What pods of the model server have counted: requests, failures, refusals, and how long they took.

Read from the pods themselves, so that a canary can be judged where no Prometheus is.
"""

import http.client
import math
import urllib.request
from dataclasses import dataclass, field

SECONDS = 5.0
"""Timeout for a pod to return its figures."""

PROBES = "other"
"""What the server calls other requests than those for a forecast: for its health or metadata."""

GRPC_REFUSALS = ("INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "CANCELLED", "OUT_OF_RANGE")
"""gRPC's statuses that speak of the request; what is neither these nor OK is the server's fault."""


class FiguresError(RuntimeError):
    """A pod does not report what it has counted."""


@dataclass(frozen=True)
class Figures:
    """Requests for forecasts since some start, over one pod or several.

    Attributes:
        requests: all of them.
        failed: those that the server failed at (5xx).
        refused: those whose history was refused (4xx).
        within: how many took at most so many seconds.
    """

    requests: float = 0.0
    failed: float = 0.0
    refused: float = 0.0
    within: dict[float, float] = field(default_factory=dict)

    def __add__(self, other: "Figures") -> "Figures":
        return self._combined(other, 1.0)

    def __sub__(self, earlier: "Figures") -> "Figures":
        return self._combined(earlier, -1.0)

    def _combined(self, other: "Figures", sign: float) -> "Figures":
        return Figures(
            self.requests + sign * other.requests,
            self.failed + sign * other.failed,
            self.refused + sign * other.refused,
            {
                bound: self.within.get(bound, 0.0) + sign * other.within.get(bound, 0.0)
                for bound in sorted({*self.within, *other.within})
            },
        )

    def share(self, number: float) -> float:
        """Of all requests, for a number of them."""
        return number / self.requests if self.requests else 0.0

    def seconds(self, share: float) -> float:
        """Seconds within which a share of the requests was answered.

        Between two bounds it is taken to lie evenly, as Prometheus's `histogram_quantile` does;
        beyond the last one, that one. NaN where there was no request.
        """
        total = max(self.within.values(), default=0.0)
        if not total:
            return math.nan
        wanted, below, bound_below = share * total, 0.0, 0.0
        for bound, count in self.within.items():
            if count >= wanted:
                if math.isinf(bound):
                    return bound_below
                part = (wanted - below) / (count - below) if count > below else 1.0
                return bound_below + part * (bound - bound_below)
            below, bound_below = count, bound
        return bound_below


def read(address: str) -> Figures:
    """What the pod at an address has counted since it started.

    Args:
        address: host and port of its metrics, such as `10.0.0.7:6000`.

    Raises:
        FiguresError: it does not answer, or says something else.
    """
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=SECONDS) as answer:
            text = answer.read().decode()
        return parse(text)
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        raise FiguresError(f"http://{address}/metrics: {error!r}") from error


def parse(text: str) -> Figures:
    """Figures from a page of metrics.

    Raises:
        ValueError: it is no such page.
    """
    from prometheus_client.parser import text_string_to_metric_families

    figures = Figures()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("protocol") == PROBES:
                continue
            if sample.name == "kalecast_requests_total":
                code, number = sample.labels["code"], sample.value
                is_refusal = code.startswith("4") or code in GRPC_REFUSALS
                is_answer = code.startswith(("1", "2", "3")) or code == "OK"
                failed = 0.0 if is_refusal or is_answer else number
                figures += Figures(number, failed, number if is_refusal else 0.0)
            elif sample.name == "kalecast_request_seconds_bucket":
                figures += Figures(within={float(sample.labels["le"]): sample.value})
    return figures
