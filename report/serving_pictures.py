"""Chapter 4: the way of a request, the benchmark beside other servers, and the examples."""

import re
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from report.shown import COLOURS, GREY, INK, TEXT_WIDTH

ROOT = Path(__file__).resolve().parent.parent
NAMES = {"ours": "this server", "bare loop": "ONNX Runtime alone", "stock": "Seldon's wrapper"}
"""What readers call those whose names in `serving.json` begin so."""

Figures = dict[str, dict[str, float]]
"""Of `serving.json`: a contender's measures, by its name."""


##### The way of a request #####


class DrawnStage(NamedTuple):
    """A station of a request on its way."""

    title: str
    does: str
    at: float
    """Middle of its box, in columns."""
    lane: int
    """0: the event loop; 1: the thread of forecasts."""


STAGES = (
    DrawnStage("read", "head and body,\nwithin limits\n(uvicorn)", 0, 0),
    DrawnStage("parse", "histories of\neither protocol\n(orjson)", 1, 0),
    DrawnStage("check", "numbers or null;\ncut or padded\nto {length} hours", 2, 0),
    DrawnStage("batch", "what queued in\nthe last pass:\n256 at most", 2.5, 1),
    DrawnStage("forecast", "one pass for\nall of them (ONNX\nRuntime)", 3.5, 1),
    DrawnStage("serialise", "quantiles of each\nhour, version\n(orjson)", 4, 0),
    DrawnStage("write", "answer,\ncounters, drift,\nlog", 5, 0),
)
BOX = (0.88, 0.84)
"""Width and height of a station."""


def request_path(input_length: int) -> Figure:
    """The stations between a request and its answer, by who works on them.

    Args:
        input_length: values in the model's window.
    """
    figure, axes = pyplot.subplots(figsize=(TEXT_WIDTH, 2.7))
    for name, height in (("event loop", 1.25), ("forecast thread", 0.0)):
        axes.axhspan(height - 0.5, height + 0.5, color=COLOURS[0], alpha=0.06, linewidth=0)
        axes.text(-0.62, height, name, rotation=90, ha="center", va="center", color=GREY)
    for stage in STAGES:
        _draw_stage(axes, stage, input_length)
    for before, after in pairwise(STAGES):
        _draw_arrow(axes, before, after)
    axes.set(xlim=(-0.8, 5.6), ylim=(-0.55, 1.8))
    axes.set_axis_off()
    return figure


def _draw_stage(axes: Axes, stage: DrawnStage, input_length: int) -> None:
    width, height = BOX
    x, y = stage.at, _height(stage)
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            *(width, height),
            boxstyle="round,pad=0,rounding_size=0.05",
            facecolor="white",
            edgecolor=COLOURS[0] if stage.lane == 0 else COLOURS[1],
            linewidth=0.9,
        )
    )
    axes.text(x, y + 0.24, stage.title, ha="center", va="center", fontsize=9, weight="semibold")
    does = stage.does.format(length=input_length)
    axes.text(x, y - 0.1, does, ha="center", va="center", fontsize=7, color=INK)


def _draw_arrow(axes: Axes, before: DrawnStage, after: DrawnStage) -> None:
    width, height = BOX
    if before.lane == after.lane:
        start = (before.at + width / 2, _height(before))
        end = (after.at - width / 2, _height(after))
    else:
        down = (after.lane - before.lane) * height / 2
        start, end = (before.at + 0.15, _height(before) - down), (after.at, _height(after) + down)
    arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=arrow)


def _height(stage: DrawnStage) -> float:
    return 0.0 if stage.lane else 1.25


##### What a forecast costs #####


def costs(real: dict[str, Any]) -> pd.DataFrame:
    """Processor time of one forecast in the model server, by how many come together.

    The page sends together what waits, 64 at most, so that is the batch of its crowds.

    Args:
        real: `real.costs` of `autoscaling.json`, in microseconds.

    Returns:
        A row a kind of load: `forward`, its share of a forward pass; `rest`, all else; `whole`.
    """
    fixed, each = real["forward_fixed_us"], real["forward_each_us"]
    rows = {
        "from the page,\none by one": (real["alone_us"]["model server"], 1),
        "from the page,\n5,000 at once": (real["burst_us"]["model server"], 64),
        "64 in each request,\nno pause": (real["model_server_each_in_64_us"], 64),
    }
    found = {name: (fixed / batch + each, whole) for name, (whole, batch) in rows.items()}
    frame = pd.DataFrame.from_dict(found, orient="index", columns=["forward", "whole"])
    return frame.assign(rest=frame["whole"] - frame["forward"])


def cost_bars(frame: pd.DataFrame) -> Figure:
    """The same as bars, forward pass and all else one after the other."""
    figure, axes = pyplot.subplots(figsize=(TEXT_WIDTH, 1.7))
    names = list(frame.index)[::-1]
    rows = frame.loc[names]
    axes.barh(names, rows["forward"], color=COLOURS[1], label="forward pass", height=0.6)
    axes.barh(
        names, rows["rest"], left=rows["forward"], color=COLOURS[0], label="all else", height=0.6
    )
    for at, (_, row) in enumerate(rows.iterrows()):
        label = f" {row['whole']:,.0f} µs, forward pass {row['forward']:.0f} µs"
        axes.text(row["whole"], at, label, va="center", fontsize=8.5)
    axes.set(
        xlabel="microseconds of one core for a forecast", xlim=(0, 1.55 * frame["whole"].max())
    )
    axes.legend(loc="lower right")
    return figure


##### Protocols #####


def protocols() -> pd.DataFrame:
    """What each protocol calls what the server offers: of `kalecast.serving.server`'s docstring."""
    text = (ROOT / "src" / "kalecast" / "serving" / "server.py").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in re.findall(r"^\|.*\|$", text, flags=re.MULTILINE)
    ]
    head, _, *body = rows  # the second line is a rule
    return pd.DataFrame([row + [row[-1]] * (len(head) - len(row)) for row in body], columns=head)


##### Beside other servers #####


def called(name: str) -> str:
    """A contender's name for readers."""
    start, _, settings = name.partition(", ")
    return ", ".join(part for part in (NAMES.get(start, start), _settings(start, settings)) if part)


def _settings(start: str, settings: str) -> str:
    if not settings:
        return ""
    first = ("process", "processes") if start == "bare loop" else ("worker", "workers")
    counted = zip(settings.split(" x "), (first, ("thread", "threads")), strict=True)
    return " × ".join(f"{count} {nouns[count != '1']}" for count, nouns in counted)


def best_stock(figures: Figures, measure: str, least: bool = False) -> str:
    """Which of the wrapper's settings does best in a measure."""
    stocks = [name for name in figures if name.startswith("stock")]
    choose = min if least else max
    return choose(stocks, key=lambda name: figures[name][measure])


def contenders(figures: Figures) -> pd.DataFrame:
    """All contenders and measures, as a table for readers."""
    columns = {
        "requests a second": ("requests_per_second", ",.0f"),
        "5,000 at once, s": ("burst_seconds", ".2f"),
        "windows a second": ("windows_per_second", ",.0f"),
        "start, s": ("cold_start", ".2f"),
        "errors": ("errors", ",.0f"),
    }
    rows = [
        {"": called(name)}
        | {
            title: f"{of_one[key]:{form}}" if key in of_one else "–"
            for title, (key, form) in columns.items()
        }
        for name, of_one in figures.items()
    ]
    return pd.DataFrame(rows)


def contender_bars(figures: Figures) -> Figure:
    """Three measures, a panel each, a bar a contender."""
    panels = {
        "requests_per_second": "requests a second,\n64 connections",
        "burst_seconds": "seconds until 5,000\nat once are answered",
        "windows_per_second": "windows a second,\n64 in a request",
    }
    names = list(figures)[::-1]
    figure, axes = pyplot.subplots(1, 3, figsize=(TEXT_WIDTH, 2.9), sharey=True)
    for panel, (measure, title) in zip(axes, panels.items(), strict=True):
        values = [figures[name].get(measure, 0.0) for name in names]
        panel.barh(names, values, color=[_colour(name) for name in names], height=0.68)
        for at, value in enumerate(values):
            label = "" if not value else f" {value:,.1f}" if value < 100 else f" {value:,.0f}"
            panel.text(value, at, label, va="center", fontsize=7)
        panel.set(title=title, xlim=(0, 1.35 * max(values)), xticks=[])
        panel.spines["bottom"].set_visible(False)
        panel.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(names)), [called(name) for name in names], fontsize=7.5)
    return figure


def _colour(name: str) -> str:
    if name == "ours":
        return COLOURS[0]
    return "#c9c9c9" if name.startswith("bare") else COLOURS[1]


##### Examples #####


def example(readme: str, heading: str, language: str, number: int = 0) -> str:
    """A code block of a README, as Markdown: the tests run what stands there.

    Args:
        readme: path from the repository's root.
        heading: under which it stands.
        language: of the block.
        number: which of several.

    Raises:
        ValueError: there is no such block.
    """
    text = (ROOT / readme).read_text()
    _, found, section = text.partition(f"## {heading}\n")
    section = section.partition("\n## ")[0] if found else ""
    blocks = re.findall(rf"^```{language}\n.*?^```$", section, flags=re.DOTALL | re.MULTILINE)
    if number >= len(blocks):
        raise ValueError(
            f"Expected {number + 1} blocks of {language} under '{heading}' of {readme}, "
            f"received: {len(blocks)}"
        )
    return str(blocks[number])


def overload(
    run: dict[str, Any], same_day: dict[str, Any], usual: dict[str, Any]
) -> dict[str, str]:
    """What the model server did with more clients than it has room for, as words of the text."""
    rounds = run["model_rounds"]
    refused = sum(one["errors"] for one in rounds)
    return {
        "serving_overload_users": f"{run['users']:,}",
        "serving_overload_requests": f"{refused + sum(one['ok'] for one in rounds):,}",
        "serving_overload_refused": f"{refused:,}",
        "serving_overload_slowest": f"{_slowest_refusal(rounds):.1f}",
        "serving_overload_last": f"{max(one['slowest'] or 0 for one in rounds):.1f}",
        "serving_overload_plain": f"{_slowest_refusal(run['rounds']):.1f}",
        "serving_overload_event": f"{_slowest_refusal(run['page_rounds']):.1f}",
        "serving_overload_day": f"{_usual_seconds(same_day):.1f}",
        "serving_overload_usual": f"{_usual_seconds(usual):.1f}",
    }


def _slowest_refusal(rounds: list[dict[str, Any]]) -> float:
    return max(one["slowest_error"] or 0.0 for one in rounds)


def _usual_seconds(run: dict[str, Any]) -> float:
    return float(median(one["seconds"] for one in run["model_rounds"]))
