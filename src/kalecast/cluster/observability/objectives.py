"""What the service promises, and when its owners hear of trouble: the one place of the numbers."""

from dataclasses import dataclass
from typing import Literal

from kalecast.cluster.capacity import WAIT_SECONDS

DAYS = 30
"""Over which an objective is to hold; so long Prometheus keeps its data."""


@dataclass(frozen=True)
class Objective:
    """A share of requests that may miss, over `DAYS`."""

    name: str
    alert: str
    part: Literal["page", "model-server"]
    budget: float
    """The share that may miss."""
    within: float | None = None
    """Seconds within which requests are to be answered; None: that they are answered at all. One
    of the bounds that the part's own histogram has."""
    summary: str = ""


OBJECTIVES = (
    Objective(
        "page-availability",
        "KalecastPageErrors",
        "page",
        # 43 minutes of a month: a node's loss takes one page of four for a minute, a bad rollout
        # of one pod is withdrawn within five. Refusals for load miss it, too.
        budget=0.001,
        summary="Customers get errors or refusals instead of forecasts",
    ),
    Objective(
        "page-latency",
        "KalecastPageSlow",
        "page",
        # The promise of capacity.md, for all requests instead of one crowd.
        budget=0.01,
        within=WAIT_SECONDS,
        summary=f"Customers wait longer than {WAIT_SECONDS:g} s for their forecasts",
    ),
    Objective(
        "model-server-availability",
        "KalecastModelServerErrors",
        "model-server",
        # As the page's: it retries, so most of this reaches no customer of the page, but steps of
        # pipelines and notebooks call directly.
        budget=0.001,
        summary="The model server fails or refuses forecasts",
    ),
    Objective(
        "model-server-latency",
        "KalecastModelServerSlow",
        "model-server",
        # Half of what the page promises: alone it answered 5,000 at once within 0.77 s.
        budget=0.01,
        within=WAIT_SECONDS / 2,
        summary="The model server is slow",
    ),
)


@dataclass(frozen=True)
class Burn:
    """A speed at which the budget is used up, seen over a long and a short window."""

    speed: float
    """1: all of it is gone after exactly `DAYS`."""
    long: str
    short: str
    severity: Literal["critical", "warning"]


BURNS = (
    Burn(14.4, "1h", "5m", "critical"),
    Burn(6, "6h", "30m", "critical"),
    Burn(3, "1d", "2h", "warning"),
    Burn(1, "3d", "6h", "warning"),
)
"""Google, The Site Reliability Workbook, chapter 5, «Multiwindow, Multi-Burn-Rate Alerts»: 2 % of
the budget in an hour and 5 % in six page the person on call, 10 % in a day or three are for working
hours. The short window, a twelfth of the long one, ends the alert soon after the trouble."""

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
"""All of them."""

FEWEST = 100
"""Requests of the last hour below which nothing pages: one of ten is no outage yet."""

OLDEST_DAYS = 14
"""Age of a model after which retraining must have failed: two weekly runs."""

DEPARTURE = 1.5
"""Forecasts' distance, or width, to that of the week before, from which on they are unlike."""

CHANGE = 1.0
"""Mean seasonal steps by which histories may run above or below the week before."""

UNKNOWN = 0.1
"""Share of missing values that may be added to that of the week before."""
