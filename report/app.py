"""Chapter 6: 5,000 at once, faults, the plan for the cluster and its cost."""

import re
from itertools import accumulate
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import image, pyplot
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from report.results import picture
from report.shown import COLOURS, GREY, INK, TEXT_WIDTH

PROMISE = "#a33b3b"
ROUTES = {
    "model_rounds": "the model server alone",
    "rounds": "the page's plain route",
    "page_rounds": "the page's own event",
}
"""Keys of `load-test.json`, in the order of what is added."""
AUTOSCALERS = {
    "fixed": "replicas of quiet, always",
    "hpa": "HPA on processor time",
    "keda": "KEDA on requests in flight",
    "keda_peaks": "KEDA on their peaks",
}


def side_by_side(*names: str) -> Figure:
    """Screenshots of a phone beside each other.

    Args:
        names: of files in `report/figures/`.
    """
    figure, panels = pyplot.subplots(1, len(names), figsize=(0.62 * TEXT_WIDTH, 4.2))
    for panel, name in zip(panels, names, strict=True):
        panel.imshow(image.imread(picture(Path(name))), interpolation="none")
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set(visible=True, color=GREY)
    return figure


##### Measured #####


def bursts(load: dict[str, Any], promise: float) -> Figure:
    """How many had their answer when, a panel a route, a line a round.

    Args:
        load: `load-test.json`.
        promise: seconds within which 99 of 100 are to be answered.
    """
    figure, panels = pyplot.subplots(1, 3, figsize=(TEXT_WIDTH, 2.5), sharey=True)
    for panel, (key, title) in zip(panels, ROUTES.items(), strict=True):
        for shade, one in enumerate(load[key]):
            times = [*(row["at"] for row in one["timeline"]), one["seconds"]]
            answered = [0, *accumulate(row["ok"] for row in one["timeline"])]
            panel.plot(times, answered, color=COLOURS[shade], label=f"round {shade + 1}")
        panel.axvline(promise, color=PROMISE, linestyle="--", linewidth=0.9)
        panel.set(title=title, xlabel="seconds", xlim=(0, None), ylim=(0, None))
        panel.yaxis.set_major_formatter("{x:,.0f}")
    panels[0].set_ylabel("answered")
    panels[-1].legend(loc="lower right")
    return figure


def plateau(load: dict[str, Any]) -> Figure:
    """Waiting time and answers of each second while all connections are open."""
    figure, panel = pyplot.subplots(figsize=(TEXT_WIDTH, 2.1))
    seen = [row for row in load["plateau"]["timeline"] if row["ok"]]
    at = [row["at"] for row in seen]
    panel.plot(at, [1000 * row["p99"] for row in seen], color=COLOURS[1], label="99th percentile")
    panel.plot(at, [1000 * row["p50"] for row in seen], color=COLOURS[0], label="median")
    panel.set(xlabel="seconds", ylabel="milliseconds", ylim=(0, None), xlim=(0, None))
    panel.legend(ncols=2, loc="upper left")
    return figure


def in_words(text: str) -> str:
    """The load test's words, in which the page is the app."""
    return re.sub(r"\bapp\b", "the page", text)


def fault_lines(seen: list[dict[str, Any]]) -> Figure:
    """Answers of each second while something is broken, a panel a fault."""
    columns, most = 2, max(row["ok"] for one in seen for row in one["timeline"])
    lines = -(-len(seen) // columns)
    figure, panels = pyplot.subplots(
        lines, columns, figsize=(TEXT_WIDTH, 0.95 * lines), sharey=True, squeeze=False
    )
    for panel, one in zip(panels.flat, seen, strict=False):
        rows = [row for row in one["timeline"] if row["at"] < one["seconds"] - 1]
        at = [row["at"] for row in rows]
        panel.step(at, [row["ok"] for row in rows], where="post", color=COLOURS[0])
        panel.step(at, [row["errors"] for row in rows], where="post", color=PROMISE)
        title = f"{one['fault']}; clients use {one['clients_reach']}"
        panel.set_title(in_words(title), fontsize=7.5)
        panel.set(ylim=(0, 1.25 * most), xlim=(0, None))
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        panel.tick_params(labelsize=7)
    for panel in list(panels.flat)[len(seen) :]:
        panel.set_axis_off()
    figure.supylabel("answers a second", fontsize=8.5)
    figure.supxlabel("seconds; the fault comes after three", fontsize=8.5)
    return figure


##### Simulated #####


def shapes(simulated: list[dict[str, Any]], promise: float) -> pd.DataFrame:
    """Sizes of pods beside each other: 5,000 at once out of quiet, the worst of all trials."""

    def held(seconds: float) -> str:
        return f"{seconds:.2f}" if seconds <= promise else f"**{seconds:.2f}**"

    return pd.DataFrame(
        {
            "page": one["page"].replace("x", "×"),
            "model server": one["model_server"].replace("x", "×"),
            "connections": one["upstream_requests"],
            "cores": f"{one['cores']:.2f}",
            "refused": one["refused"],
            "99 of 100 within, s": held(one["p99"]),
            "with one of each away, s": held(one["p99_one_away"]),
        }
        for one in simulated
    )


def days(simulated: dict[str, dict[str, Any]], least: float) -> pd.DataFrame:
    """The simulated day by autoscaler, and its cost beside the least possible."""
    rows = [
        {
            "": title,
            "bursts: 99 of 100 within, s": f"{max(day['bursts_p99']):.2f}",
            "refused in bursts": f"{day['bursts_refused']:,}",
            "refused in the rush": f"{day['rush_refused']:,}",
            "pods at most": str(sum(day["most_replicas"].values())),
            "core-hours": f"{day['core_hours']:.2f}",
            "times the least": f"{day['core_hours'] / least:.2f}",
        }
        for title, day in ((title, simulated[key]) for key, title in AUTOSCALERS.items())
    ]
    rows.append({"": "least possible", "core-hours": f"{least:.2f}", "times the least": "1.00"})
    return pd.DataFrame(rows)


def cost_bars(simulated: dict[str, dict[str, Any]], least: float, work: float) -> Figure:
    """Core-hours of the day: autoscalers, the least possible, the work itself."""
    costs = {title: simulated[key]["core_hours"] for key, title in AUTOSCALERS.items()}
    costs |= {"least possible that holds the promise": least, "the work itself": work}
    figure, panel = pyplot.subplots(figsize=(TEXT_WIDTH, 2.0))
    colours = [COLOURS[0] if name in AUTOSCALERS.values() else "#c9c9c9" for name in costs]
    bars = panel.barh(list(costs), list(costs.values()), color=colours, height=0.65)
    panel.bar_label(bars, fmt=" {:.2f}", fontsize=8.5, color=INK)
    panel.invert_yaxis()
    panel.set(xlabel="core-hours a day", xlim=(0, 1.12 * max(costs.values())))
    return figure
