"""Chapter 4: what a forecast costs, the benchmark beside other servers, and the examples."""

import re
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

from report.shown import COLOURS, TEXT_WIDTH

ROOT = Path(__file__).resolve().parent.parent
NAMES = {"ours": "this server", "bare loop": "ONNX Runtime alone", "stock": "Seldon's wrapper"}
"""What readers call those whose names in `serving.json` begin so."""

Figures = dict[str, dict[str, float]]
"""Of `serving.json`: a contender's measures, by its name."""


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
    loads = {
        "from the page,\none by one": (real["alone_us"]["model server"], 1),
        "from the page,\n5,000 at once": (real["burst_us"]["model server"], 64),
        "64 in each request,\nno pause": (real["model_server_each_in_64_us"], 64),
    }
    found = {name: (fixed / batch + each, whole) for name, (whole, batch) in loads.items()}
    frame = pd.DataFrame.from_dict(found, orient="index", columns=["forward", "whole"])
    return frame.assign(rest=frame["whole"] - frame["forward"])


def cost_bars(frame: pd.DataFrame) -> Figure:
    """The same as bars, forward pass and all else one after the other."""
    figure, axes = pyplot.subplots(figsize=(TEXT_WIDTH, 1.7))
    frame = frame[::-1]
    forward, whole = frame["forward"], frame["whole"]
    axes.barh(frame.index, forward, color=COLOURS[1], label="forward pass", height=0.6)
    rest = axes.barh(
        frame.index, frame["rest"], left=forward, color=COLOURS[0], label="all else", height=0.6
    )
    labels = [
        f" {all_of_it:,.0f} µs, forward pass {passes:.0f} µs"
        for all_of_it, passes in zip(whole, forward, strict=True)
    ]
    axes.bar_label(rest, labels, fontsize=8.5)
    axes.set(xlabel="microseconds of one core for a forecast", xlim=(0, 1.55 * whole.max()))
    axes.legend(loc="lower right")
    return figure


##### Beside other servers #####


def called(name: str) -> str:
    """A contender's name for readers, such as "Seldon's wrapper, 1 worker × 16 threads"."""
    start, _, settings = name.partition(", ")
    if not settings:
        return NAMES.get(start, start)
    first = ("process", "processes") if start == "bare loop" else ("worker", "workers")
    counted = zip(settings.split(" x "), (first, ("thread", "threads")), strict=True)
    words = " × ".join(f"{count} {nouns[count != '1']}" for count, nouns in counted)
    return f"{NAMES.get(start, start)}, {words}"


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
    return pd.DataFrame(
        {"": called(name)}
        | {
            title: f"{of_one[key]:{form}}" if key in of_one else "–"
            for title, (key, form) in columns.items()
        }
        for name, of_one in figures.items()
    )


def contender_bars(figures: Figures) -> Figure:
    """Three measures, a panel each, a bar a contender."""
    panels = {
        "requests_per_second": "requests a second,\n64 connections",
        "burst_seconds": "seconds until 5,000\nat once are answered",
        "windows_per_second": "windows a second,\n64 in a request",
    }
    names = list(figures)[::-1]
    colours = [
        COLOURS[0] if name == "ours" else "#c9c9c9" if name.startswith("bare") else COLOURS[1]
        for name in names
    ]
    figure, axes = pyplot.subplots(1, 3, figsize=(TEXT_WIDTH, 2.9), sharey=True)
    for panel, (measure, title) in zip(axes, panels.items(), strict=True):
        values = [figures[name].get(measure, 0.0) for name in names]
        bars = panel.barh([called(name) for name in names], values, color=colours, height=0.68)
        labels = [
            "" if not value else f" {value:,.1f}" if value < 100 else f" {value:,.0f}"
            for value in values
        ]
        panel.bar_label(bars, labels, fontsize=7)
        panel.set(title=title, xlim=(0, 1.35 * max(values)), xticks=[])
        panel.spines["bottom"].set_visible(False)
        panel.tick_params(axis="y", length=0, labelsize=7.5)
    return figure


##### Protocols and examples #####


def protocols() -> pd.DataFrame:
    """What each protocol calls what the server offers: of `kalecast.serving.server`'s docstring."""
    text = (ROOT / "src" / "kalecast" / "serving" / "server.py").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in re.findall(r"^\|.*\|$", text, flags=re.MULTILINE)
    ]
    head, _, *body = rows  # the second line is a rule
    return pd.DataFrame([row + [row[-1]] * (len(head) - len(row)) for row in body], columns=head)


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


##### More clients than there is room for #####


def slowest_refusal(rounds: list[dict[str, Any]]) -> str:
    """Seconds after which the last of all was refused."""
    return f"{max(one['slowest_error'] or 0.0 for one in rounds):.1f}"


def usual_seconds(run: dict[str, Any]) -> str:
    """Seconds until the model server had answered all, the median of the rounds."""
    return f"{median(one['seconds'] for one in run['model_rounds']):.1f}"
