"""The whole of Kalecast in one picture, and the boxes and arrows that it is made of."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from report.shown import GREY, INK

SHADES = {
    "workshop": "#e3ebf3",
    "service": "#f7e8dc",
    "store": "#e4eee5",
    "people": "#ffffff",
    "operation": "#eeeeee",
}
"""Fills; light enough for dark letters on them, and distinct in grey by their place."""
TITLE, SMALL = 10.0, 8.5
"""Letters, in points."""


class DrawnBox(NamedTuple):
    """A box by its middle and size, in the picture's units."""

    x: float
    y: float
    width: float
    height: float

    def side(self, name: str) -> tuple[float, float]:
        """The middle of its `left`, `right`, `top` or `bottom`."""
        across = {"left": -0.5, "right": 0.5}.get(name, 0.0) * self.width
        up = {"bottom": -0.5, "top": 0.5}.get(name, 0.0) * self.height
        return self.x + across, self.y + up


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty picture of inches whose units are inches, without axes."""
    figure = plt.figure(figsize=(width, height), layout="none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    plt.close(figure)  # shown where it is asked for, and not twice
    return figure, axes


def draw_box(
    axes: Axes, box: DrawnBox, title: str, words: str = "", kind: str = "people"
) -> DrawnBox:
    """Draw a box with a title and, below it, a few words; returns the box."""
    _outline(axes, box, 0.06, facecolor=SHADES[kind], edgecolor=INK, linewidth=0.7)
    lines = words.count("\n") + 1 if words else 0
    axes.text(
        box.x,
        box.y + 0.075 * lines,
        title,
        ha="center",
        va="center",
        fontsize=TITLE,
        fontweight="semibold",
    )
    axes.text(box.x, box.y - 0.1, words, ha="center", va="center", fontsize=SMALL, linespacing=1.15)
    return box


def draw_arrow(  # noqa: PLR0913 - where from, where to, what it says, how it looks
    axes: Axes,
    begin: tuple[float, float],
    end: tuple[float, float],
    words: str = "",
    beside: tuple[float, float] = (0.0, 0.09),
    *,
    dashed: bool = False,
    bend: str = "arc3,rad=0",
) -> None:
    """Draw an arrow, and say at its middle, moved by `beside`, what goes along it."""
    colour = GREY if dashed else INK
    axes.add_patch(
        FancyArrowPatch(
            begin,
            end,
            arrowstyle="-|>",
            mutation_scale=8,
            connectionstyle=bend,
            linestyle=(0, (3, 2)) if dashed else "solid",
            color=colour,
            linewidth=0.8,
            shrinkA=1.5,
            shrinkB=1.5,
        )
    )
    middle = ((begin[0] + end[0]) / 2 + beside[0], (begin[1] + end[1]) / 2 + beside[1])
    axes.text(*middle, words, ha="center", va="center", fontsize=SMALL, style="italic")


def draw_frame(axes: Axes, box: DrawnBox, title: str) -> None:
    """Draw a thin frame around what belongs together, its name at the upper left."""
    dashes = (0, (4, 2))
    _outline(axes, box, 0.08, facecolor="none", edgecolor=GREY, linewidth=0.6, linestyle=dashes)
    left, top = box.x - box.width / 2, box.y + box.height / 2
    axes.text(left + 0.1, top - 0.15, title, fontsize=SMALL, color=GREY)


def _outline(axes: Axes, box: DrawnBox, rounding: float, **look: Any) -> None:
    corner = (box.x - box.width / 2, box.y - box.height / 2)
    shape = f"round,pad=0,rounding_size={rounding}"
    axes.add_patch(FancyBboxPatch(corner, box.width, box.height, boxstyle=shape, **look))


def architecture(steps: Sequence[str]) -> Figure:
    """From the notebook to the customer.

    Args:
        steps: the pipeline's steps, in order.
    """
    figure, axes = canvas(5.9, 4.56)
    _workshop(axes, steps)
    store = draw_box(
        axes, DrawnBox(2.95, 2.42, 1.75, 0.48), "Model store", "ONNX, one file", "store"
    )
    draw_arrow(axes, (store.x, 2.96), store.side("top"), "publishes", (0.42, 0.0))
    server = _service(axes)
    around = "angle,angleA=0,angleB=90,rad=5"
    draw_arrow(axes, store.side("right"), server.side("top"), "fetches", (-0.1, 0.5), bend=around)
    return figure


def _workshop(axes: Axes, steps: Sequence[str]) -> None:
    """Notebook, Kale and the steps on Kubeflow Pipelines: the upper half."""
    draw_frame(axes, DrawnBox(2.95, 3.74, 5.7, 1.58), "the workshop")
    notebook = draw_box(
        axes, DrawnBox(1.35, 4.07, 2.1, 0.48), "Notebook", "cells with tags", "workshop"
    )
    kale = draw_box(axes, DrawnBox(4.55, 4.07, 2.1, 0.48), "Kale", "one click compiles", "workshop")
    draw_arrow(axes, notebook.side("right"), kale.side("left"), "annotations")
    pipeline = DrawnBox(2.95, 3.31, 5.3, 0.6)
    draw_box(axes, pipeline, "", "", "workshop")
    axes.text(0.42, 3.49, "Kubeflow pipeline", fontsize=TITLE, fontweight="semibold", va="center")
    _chain(axes, steps, pipeline)
    draw_arrow(axes, kale.side("bottom"), (kale.x, pipeline.side("top")[1]), "YAML", (0.3, 0.0))


def _chain(axes: Axes, steps: Sequence[str], inside: DrawnBox) -> None:
    """The steps' names one after another, joined by short arrows."""
    letters = [len(step) for step in steps]
    gap = 0.17
    room = inside.width - 0.24 - gap * (len(steps) - 1)
    at = inside.x - inside.width / 2 + 0.12
    for step, length in zip(steps, letters, strict=True):
        width = room * (length + 2.5) / (sum(letters) + 2.5 * len(steps))
        chip = DrawnBox(at + width / 2, inside.y - 0.11, width, 0.27)
        draw_box(axes, chip, "", "", "people")
        axes.text(chip.x, chip.y, step.replace("_", " "), ha="center", va="center", fontsize=7.8)
        if step is not steps[-1]:
            draw_arrow(axes, chip.side("right"), (chip.side("right")[0] + gap, chip.y))
        at += width + gap


def _service(axes: Axes) -> DrawnBox:
    """Customers, gateway, page, model server and what watches them; returns the model server."""
    draw_frame(axes, DrawnBox(3.68, 1.0, 4.24, 1.97), "the service, on Kubernetes")
    row = 1.32
    customers = draw_box(axes, DrawnBox(0.6, row, 1.0, 0.6), "Customers", "50,000;\n5,000 at once")
    gateway = draw_box(
        axes, DrawnBox(2.22, row, 1.1, 0.6), "Gateway", "nginx with\nModSecurity", "service"
    )
    page = draw_box(axes, DrawnBox(3.63, row, 1.0, 0.6), "Page", "Gradio,\nHTTP API", "service")
    server = draw_box(
        axes,
        DrawnBox(5.0, row, 1.3, 0.6),
        "Model server",
        "Seldon protocol,\nOpen Inference",
        "service",
    )
    draw_arrow(axes, customers.side("right"), gateway.side("left"), "TLS", (-0.06, 0.11))
    draw_arrow(axes, gateway.side("right"), page.side("left"))
    draw_arrow(axes, page.side("right"), server.side("left"))
    replicas = 0.87
    axes.plot([3.13, 3.13, 5.65, 5.65], [0.95, replicas, replicas, 0.95], color=GREY, linewidth=0.8)
    watch = draw_box(
        axes, DrawnBox(2.9, 0.31, 1.7, 0.46), "Observability", "Prometheus, Grafana", "operation"
    )
    scaler = draw_box(
        axes, DrawnBox(4.87, 0.31, 1.5, 0.46), "Autoscaler", "KEDA or HPA", "operation"
    )
    draw_arrow(axes, (3.4, replicas), (3.4, 0.54), "metrics", (0.33, 0.02), dashed=True)
    draw_arrow(axes, (scaler.x, 0.54), (scaler.x, replicas), "replicas", (0.36, 0), dashed=True)
    draw_arrow(axes, watch.side("right"), scaler.side("left"), "load", (0.0, 0.1), dashed=True)
    return server
