"""Chapter 6: the page, 5,000 at once, faults, the plan for the cluster and its cost."""

import re
from itertools import accumulate
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import image, pyplot
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from report.results import FIGURES
from report.shown import COLOURS, GREY, INK, TEXT_WIDTH

ROOT = Path(__file__).resolve().parent.parent
PROMISE = "#a33b3b"

Summary = dict[str, Any]
"""What clients saw of a load: a round, the plateau or a fault of `load-test.json`."""

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


##### Screenshots #####


def side_by_side(*names: str) -> Figure:
    """Screenshots of a phone beside each other.

    Args:
        names: of files in `report/figures/`.
    """
    figure, panels = pyplot.subplots(1, len(names), figsize=(0.62 * TEXT_WIDTH, 4.2))
    for panel, name in zip(panels, names, strict=True):
        panel.imshow(image.imread(FIGURES / name), interpolation="none")
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set(visible=True, color=GREY)
    return figure


##### Measured #####


def rounds(load: dict[str, Any]) -> pd.DataFrame:
    """A row a round of all customers at once, by route."""
    rows = [
        {
            "route": title if number == 1 else "",
            "round": number,
            "answered": f"{one['ok']:,}",
            "errors": one["errors"],
            "half within, s": f"{one['p50']:.2f}",
            "99 of 100 within, s": f"{one['p99']:.2f}",
            "all within, s": f"{one['slowest']:.2f}",
        }
        for key, title in ROUTES.items()
        for number, one in enumerate(load[key], 1)
    ]
    return pd.DataFrame(rows)


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


##### Faults #####


def faults(seen: list[Summary]) -> pd.DataFrame:
    """A row a fault: what broke, what clients saw."""
    rows = [
        {
            "what happens": _in_words(one["fault"]),
            "clients use": _in_words(one["clients_reach"]),
            "away, s": f"{one['seconds_away']:.1f}",
            "answered": f"{one['ok']:,}",
            "errors": one["errors"],
            "sent again": f"{one['retried']:,}" if one["clients_retry"] else "never",
            "slowest, s": f"{one['slowest']:.2f}",
        }
        for one in seen
    ]
    return pd.DataFrame(rows)


def _in_words(text: str) -> str:
    """The load test's words, in which the page is the app."""
    return re.sub(r"\bapp\b", "the page", text)


def fault_lines(seen: list[Summary]) -> Figure:
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
        panel.set_title(_in_words(title), fontsize=7.5)
        panel.set(ylim=(0, 1.25 * most), xlim=(0, None))
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        panel.tick_params(labelsize=7)
    for panel in list(panels.flat)[len(seen) :]:
        panel.set_axis_off()
    figure.supylabel("answers a second", fontsize=8.5)
    figure.supxlabel("seconds; the fault comes after three", fontsize=8.5)
    return figure


##### Planned #####


def capacity() -> dict[str, Any]:
    """The sums of the capacity sheet, as `make manifests` makes them."""
    from kalecast.cluster.capacity_sheet import figures

    return figures()


def chosen(sums: dict[str, Any]) -> pd.DataFrame:
    """What page and model server are given: pods, requests, targets of the autoscalers."""
    rows = [
        {
            "": name,
            "least pods": part.minimum_replicas,
            "most pods": part.maximum_replicas,
            "CPU each": part.cpu,
            "HPA's target": f"{part.cpu_percent} %",
            "KEDA's target": f"{part.in_flight} in flight",
            "memory each": f"{memory} MiB",
        }
        for name, part, memory in (
            ("page", sums["page"], sums["page_memory"]),
            ("model server", sums["server"], sums["server_memory"]),
        )
    ]
    return pd.DataFrame(rows)


def summed(sums: dict[str, Any]) -> pd.DataFrame:
    """From what was measured to what the cluster needs, a row a sum."""
    crowd = f"{sums['crowd']:,}"
    rows = [
        (
            "processor time of a forecast, page and model server together",
            f"{sums['cores']} cores × {sums['seconds']:.2f} s ÷ {crowd} − {sums['client']:.0f} µs",
            f"{sums['each']:.0f} µs",
        ),
        (
            "CPU that the pods of quiet are sure of",
            f"{sums['page'].minimum_replicas} × {sums['page'].cpu}"
            f" + {sums['server'].minimum_replicas} × {sums['server'].cpu}",
            f"{sums['sure']:.2f} cores",
        ),
        (
            f"{crowd} at once, on that alone",
            f"{crowd} × {sums['each']:.0f} µs ÷ {sums['sure']:.2f}",
            f"{sums['crowd_seconds']:.2f} s",
        ),
        (
            "a crowd that stays, on the most pods",
            f"{sums['most']:.2f} cores ÷ {sums['each']:.0f} µs",
            f"{sums['most_per_second']:,.0f} forecasts/s",
        ),
        (
            "the page's own event, with its figure",
            f"{sums['event']:.1f} s ÷ {crowd}",
            f"{sums['event_ms']:.2f} ms of a core",
        ),
        (
            f"{crowd} of these, a core for each page",
            f"{sums['event']:.1f} s ÷ {sums['page'].minimum_replicas}",
            f"{sums['event_whole']:.1f} s",
        ),
        (
            f"{crowd} of these, on what pages are sure of",
            f"{sums['event']:.1f} s ÷ ({sums['page'].minimum_replicas} × {sums['page'].cpu})",
            f"{sums['event_sure']:.1f} s",
        ),
        ("memory in quiet", "", f"{sums['least_memory']:.1f} GiB"),
        ("memory at most", "", f"{sums['most_memory']:.1f} GiB"),
    ]
    return pd.DataFrame(rows, columns=["what", "sum", "comes to"])


##### Simulated #####


def shapes(simulated: list[dict[str, Any]], promise: float) -> pd.DataFrame:
    """Sizes of pods beside each other: 5,000 at once out of quiet, the worst of all trials."""

    def held(seconds: float) -> str:
        return f"{seconds:.2f}" if seconds <= promise else f"**{seconds:.2f}**"

    rows = [
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
    ]
    return pd.DataFrame(rows)


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
    names = list(costs)[::-1]
    figure, panel = pyplot.subplots(figsize=(TEXT_WIDTH, 2.0))
    colours = [COLOURS[0] if name in AUTOSCALERS.values() else "#c9c9c9" for name in names]
    panel.barh(names, [costs[name] for name in names], color=colours, height=0.65)
    for at, name in enumerate(names):
        panel.text(costs[name], at, f" {costs[name]:.2f}", va="center", fontsize=8.5, color=INK)
    panel.set(xlabel="core-hours a day", xlim=(0, 1.12 * max(costs.values())))
    return figure


def beside_reality(real: dict[str, Any]) -> pd.DataFrame:
    """Two real replicas and two simulated ones, a burst each."""
    rows = {f"measured, round {at}": one for at, one in enumerate(real["measured"], 1)}
    rows["simulated"] = real["simulated"]
    return pd.DataFrame(
        [
            {
                "": name,
                "half within, s": f"{one['p50']:.2f}",
                "99 of 100 within, s": f"{one['p99']:.2f}",
                "all within, s": f"{one['seconds']:.2f}",
            }
            for name, one in rows.items()
        ]
    )
