"""The picture of the network: the way of a window to its quantiles."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from report.results import ResultFile
from report.shown import INK, TEXT_WIDTH

LEARNT = "#e4ecf4"
"""Behind what has weights that training moves."""


@dataclass(frozen=True)
class LayerBox:
    """Words in a frame, at a place of the picture."""

    words: str
    x: float = 5.0
    y: float = 0.0
    width: float = 4.6
    height: float = 0.86
    is_learnt: bool = False
    is_framed: bool = True


ARROWS = (
    ("window", "normal"),
    ("normal", "simple"),
    ("simple", "weigh"),
    ("weigh", "whole"),
    ("weigh", "hour"),
    ("whole", "hour"),
    ("whole", "mix"),
    ("hour", "mix"),
    ("whole", "gaps"),
    ("hour", "gaps"),
    ("mix", "out"),
    ("gaps", "out"),
    ("out", "forecast"),
)


def network(r: ResultFile) -> Figure:
    """The way of a window through the network, with its sizes as the run's network has them."""
    figure = plt.figure(figsize=(TEXT_WIDTH, 4.9), layout="none")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, 10), ylim=(-0.1, 10.0))
    axis.axis("off")
    boxes = _boxes(r)
    for box in boxes.values():
        _draw(axis, box)
    for start, end in ARROWS:
        _arrow(axis, boxes[start], boxes[end])
    return figure


def _boxes(r: ResultFile) -> dict[str, LayerBox]:
    shapes = {layer["name"]: layer["output"] for layer in r["network"]["layers"]}
    horizon = r["card"]["horizon"]
    blocks = sum(name.startswith("whole_block") and name.endswith("_in") for name in shapes)
    whole = f"{shapes['whole_embed'][-1]} wide, {blocks} residual blocks"
    hour = f"all {horizon}: {shapes['hour_embed'][-1]} wide, one residual block"
    ways = shapes["seasonal_forecasts"][1]
    left, right, beside = 2.4, 7.6, 4.3
    return {
        "window": LayerBox(
            f"{r['card']['input_length']} raw hours", y=9.75, height=0.4, is_framed=False
        ),
        "normal": LayerBox("level and spread taken out,\nunknown hours filled", y=8.8),
        "simple": LayerBox(f"{ways} seasonal forecasts: of the horizon,\nand of past days", y=7.5),
        "weigh": LayerBox(
            "weights by past error: their mixture,\nand the error to expect of it", y=6.2
        ),
        "whole": LayerBox(
            f"network of the whole window:\n{whole}", left, 4.5, beside, is_learnt=True
        ),
        "hour": LayerBox(
            f"network of an hour ahead, the same for\n{hour}", right, 4.5, beside, is_learnt=True
        ),
        "mix": LayerBox("weights of the mixture shifted,\nmedian corrected", left, 2.8, beside),
        "gaps": LayerBox(
            "gaps between quantiles, above zero,\ntimes calibration", right, 2.8, beside
        ),
        "out": LayerBox(
            "gaps added up outwards from the median,\nlevel and spread put back", y=1.25
        ),
        "forecast": LayerBox(
            f"{horizon} hours, {len(r['card']['quantiles'])} quantiles each",
            y=0.2,
            height=0.4,
            is_framed=False,
        ),
    }


def _draw(axis: Axes, box: LayerBox) -> None:
    if box.is_framed:
        corner = box.x - box.width / 2, box.y - box.height / 2
        frame = Rectangle(corner, box.width, box.height, linewidth=0.7)
        frame.set(facecolor=LEARNT if box.is_learnt else "none", edgecolor=INK)
        axis.add_patch(frame)
    weight = "normal" if box.is_framed else "semibold"
    axis.text(box.x, box.y, box.words, ha="center", va="center", fontsize=8.5, weight=weight)


def _arrow(axis: Axes, start: LayerBox, end: LayerBox) -> None:
    if start.y == end.y:
        ends = (start.x + start.width / 2, start.y), (end.x - end.width / 2, end.y)
    else:
        shift = 0.2 * (end.x - start.x)
        ends = (
            (start.x + shift, start.y - start.height / 2),
            (end.x - shift, end.y + end.height / 2),
        )
    style = {"arrowstyle": "-|>", "color": INK, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", ends[1], ends[0], arrowprops=style)
