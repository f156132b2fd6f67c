"""What a load test measured: its one JSON object, tables for people, a picture."""

from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes

Summary = dict[str, Any]
"""As the load driver's `Record.summary` makes it; a fault's as `faults.py` adds to it."""

TITLES = {"model": "model server", "api": "app", "page": "page"}
"""What people call the routes."""

BELOW = (0.5, -0.16)
"""Where a legend hides no line, in parts of a panel."""

TYPICAL, SLOW, ERRORS = "#1f77b4", "#ff7f0e", "#d62728"


@dataclass
class Results:
    """What was measured."""

    users: int
    rounds: dict[str, list[Summary]] = field(default_factory=dict)
    """By route: `model`, `api`, `page`."""
    plateau: Summary | None = None
    server_rss_mib: int | None = None
    app_rss_mib: int | None = None
    faults: list[Summary] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """All of it; `rounds` and `forecasts_per_second` are those of the app's route."""
        rounds = self.rounds.get("api", [])
        seconds = sum(summary["seconds"] for summary in rounds)
        answered = sum(summary["ok"] for summary in rounds)
        return {
            "users": self.users,
            "rounds": rounds,
            "forecasts_per_second": round(answered / seconds) if seconds else None,
            "server_rss_mib": self.server_rss_mib,
            "app_rss_mib": self.app_rss_mib,
            "model_rounds": self.rounds.get("model", []),
            "page_rounds": self.rounds.get("page", []),
            "plateau": self.plateau,
            "faults": self.faults,
        }


def without(content: Any, name: str) -> Any:
    """The same JSON without the fields of that name."""
    if isinstance(content, dict):
        return {key: without(value, name) for key, value in content.items() if key != name}
    if isinstance(content, list):
        return [without(value, name) for value in content]
    return content


##### Tables #####


def print_rounds(results: Results) -> None:
    """A line a round, one for the plateau, and the memory."""
    lines = {
        f"{TITLES[key]}, round {number}": summary
        for key, of_route in results.rounds.items()
        for number, summary in enumerate(of_route, 1)
    }
    if results.plateau is not None:
        lines["app, plateau"] = results.plateau
    rows = {
        name: {key: one[key] for key in ("ok", "errors", "seconds", "p50", "p99")}
        | {"a second": round(one["ok"] / one["seconds"]), "": ", ".join(_notes(one))}
        for name, one in lines.items()
    }
    print(f"\n{pd.DataFrame(rows).T.to_string(na_rep='-')}")
    print(
        f"\nmemory at the peak: model server {results.server_rss_mib:,} MiB, "
        f"app {results.app_rss_mib:,} MiB"
    )


def print_faults(faults: list[Summary]) -> None:
    """A line a fault, with what clients saw and what trying again hid from them."""
    rows = [
        {
            "fault": seen["fault"],
            "clients use": seen["clients_reach"],
            **{key: seen[key] for key in ("ok", "errors", "slowest")},
            "retried": seen["retried"] if seen["clients_retry"] else "never",
            "away": seen["seconds_away"],
            "": ", ".join(_notes(seen)),
        }
        for seen in faults
    ]
    print(f"\n{pd.DataFrame(rows).to_string(index=False, na_rep='-')}")


def _notes(summary: Summary) -> list[str]:
    """What went wrong."""
    notes = [f"{count:,} {kind}" for kind, count in summary["kinds"].items()]
    notes += [f"{count:,} {kind} hidden" for kind, count in summary["hidden_by_retry"].items()]
    if overruns := summary["overruns"]:
        notes.append(f"{overruns:,} times a queue of connections was full")
    if note := summary.get("note"):
        notes.append(note)
    return notes


##### Picture #####


def draw(results: Results, title: str, path: Path) -> None:
    """Save a picture: one panel a route that had bursts, and one of the plateau."""
    bursts = {TITLES[key]: of_route for key, of_route in results.rounds.items() if of_route}
    rows = bool(bursts) + (results.plateau is not None)
    figure = pyplot.figure(figsize=(10, 0.6 + 3.1 * rows), layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(rows, max(len(bursts), 1))
    for column, (name, of_route) in enumerate(bursts.items()):
        _draw_bursts(figure.add_subplot(grid[0, column]), name, of_route)
    if results.plateau is not None:
        _draw_plateau(figure.add_subplot(grid[-1, :]), results.plateau)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _draw_bursts(axes: Axes, name: str, rounds: list[Summary]) -> None:
    """Answers so far, against the time since all were sent: the distribution of latencies."""
    for number, summary in enumerate(rounds, 1):
        rows = summary["timeline"]
        times = [*(row["at"] for row in rows), summary["seconds"]]
        answered = [0, *accumulate(row["ok"] for row in rows)]
        axes.plot(times, answered, label=f"round {number}", linewidth=1.4)
        if summary["errors"]:
            axes.plot(times[-1], summary["errors"], "x", color=ERRORS, label="errors")
    axes.set(title=name, xlabel="seconds after all sent a request", ylabel="answered")
    axes.set(xlim=(0, None), ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper left")


def _draw_plateau(axes: Axes, plateau: Summary) -> None:
    """Latency and errors, second by second."""
    rows = [row for row in plateau["timeline"] if row["ok"] or row["errors"]]
    at = [row["at"] for row in rows]
    for key, label, colour in (("p99", "99th percentile", SLOW), ("p50", "median", TYPICAL)):
        times = [float("nan") if row[key] is None else row[key] * 1000 for row in rows]
        axes.plot(at, times, label=label, color=colour)
    axes.set(title="app: connections stay open, each sends a request now and then", ylim=(0, None))
    axes.set(xlabel="seconds", ylabel="milliseconds")
    axes.grid(alpha=0.3)
    counts = axes.twinx()
    counts.bar(at, [row["ok"] for row in rows], alpha=0.15, align="edge", label="answers")
    counts.bar(at, [row["errors"] for row in rows], color=ERRORS, align="edge", label="errors")
    counts.set_ylabel("a second")
    handles = [*axes.get_legend_handles_labels()[0], *counts.get_legend_handles_labels()[0]]
    axes.legend(handles=handles, frameon=False, ncols=4, loc="upper center", bbox_to_anchor=BELOW)
