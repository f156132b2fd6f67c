"""Pictures of the cluster: which pods stand on which node, and whether all of them have room."""

from collections import defaultdict

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from report.cluster_sizes import ClusterPart, Size, at_work, crowd, kept, quiet, room, sizes
from report.shown import COLOURS, GREY, INK, TEXT_WIDTH

WIDTH = 0.62
"""Of a node, of the place that it has."""
MANY = ("Kubeflow", "observability", "names and metrics")
"""Parts of many small pods, which stand in the sums as one."""
PALE = "#e6e6e6"

Placed = list[list[ClusterPart]]


def production() -> Size:
    """The size for production."""
    return next(size for size in sizes() if size.name == "production")


def place(parts: list[ClusterPart], nodes: int) -> Placed:
    """Pods on nodes: each where fewest of its kind are, then where least is requested.

    A scheduler weighs more than that; parts of many small pods are shared out evenly.
    """
    placed: Placed = [[] for _ in range(nodes)]
    for part in sorted(parts, key=lambda part: part.name not in MANY):
        if part.name in MANY:
            for node in placed:
                node.append(ClusterPart(part.name, part.millicores / nodes, part.mebibytes / nodes))
            continue
        for _ in range(part.pods):
            target = min(placed, key=lambda node: (_count(node, part), _requested(node)))
            target.append(part.times(1))
    return placed


def _count(node: list[ClusterPart], part: ClusterPart) -> int:
    return sum(pod.name == part.name for pod in node)


def _requested(node: list[ClusterPart]) -> float:
    return sum(pod.cores for pod in node)


def nodes_picture() -> Figure:
    """Workers of the size for production, with their pods by what these request."""
    size = production()
    parts = [*quiet(), *at_work()]
    colours = _colours(parts)
    figure, axes = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 3.9))
    for ax, which in zip(axes, ("cores", "gibibytes"), strict=True):
        for at, node in enumerate(place(parts, size.workers)):
            _stack(ax, at, [kept(), *node], which, colours)
        limit = size.worker[0] if which == "cores" else size.worker[1]
        _outline(ax, size.workers, limit)
        ax.set_ylabel("CPU, cores" if which == "cores" else "memory, GiB")
        ax.set_xticks(
            range(size.workers),
            [f"worker {at + 1}\nzone {zone}" for at, zone in enumerate("abc"[: size.workers])],
        )
    handles = [Patch(color=colour) for colour in colours.values()]
    figure.legend(handles, list(colours), loc="outside lower center", ncols=4)
    return figure


def _colours(parts: list[ClusterPart]) -> dict[str, str]:
    names = list(dict.fromkeys(part.name for part in parts))
    palette = [
        COLOURS[6],
        "#b9c4cf",
        COLOURS[5],
        "#d8d2bf",
        COLOURS[0],
        COLOURS[1],
        COLOURS[3],
        "#c9a9c4",
        COLOURS[2],
        COLOURS[4],
    ]
    return {kept().name: PALE, **dict(zip(names, palette, strict=True))}


def _stack(ax: Axes, at: int, pods: list[ClusterPart], which: str, colours: dict[str, str]) -> None:
    bottom = 0.0
    for pod in sorted(pods, key=lambda pod: list(colours).index(pod.name)):
        height = getattr(pod, which)
        ax.bar(at, height, WIDTH, bottom, color=colours[pod.name], edgecolor="white", linewidth=0.6)
        bottom += height


def _outline(ax: Axes, nodes: int, limit: float) -> None:
    for at in range(nodes):
        ax.bar(at, limit, WIDTH, fill=False, edgecolor=INK, linewidth=0.9)
    ax.set_ylim(0, limit * 1.04)


def room_picture() -> Figure:
    """What is requested in four states, against what three workers give, and two."""
    size = production()
    figure, axes = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.9), sharey=True)
    for ax, which, unit, index in zip(
        axes, ("cores", "gibibytes"), ("cores", "GiB"), (0, 1), strict=True
    ):
        totals = {
            name: sum(getattr(part, which) for part in parts) for name, parts in states().items()
        }
        ax.barh(list(totals), list(totals.values()), 0.55, color=COLOURS[0])
        for workers, style in ((size.workers, "-"), (size.workers - 1, "--")):
            given = room(size, workers)[index]
            ax.axvline(given, color=COLOURS[1], linestyle=style)
            ax.text(
                given, -0.62, f"{workers}", color=COLOURS[1], ha="center", va="bottom", fontsize=8
            )
        for at, total in enumerate(totals.values()):
            ax.text(total, at, f" {total:.1f}", va="center", fontsize=8, color=GREY)
        ax.set_xlabel(f"requested, {unit}")
        ax.set_xlim(0, room(size, size.workers)[index] * 1.08)
    axes[0].invert_yaxis()
    return figure


def states() -> dict[str, list[ClusterPart]]:
    """The pods that there are, by what goes on."""
    return {
        "quiet": quiet(),
        "a team at work": [*quiet(), *at_work()],
        "a crowd that stays": [*quiet(), *crowd()],
        "both": [*quiet(), *crowd(), *at_work()],
    }


def cores(parts: list[ClusterPart]) -> float:
    """Requested by all of them."""
    return sum(part.cores for part in parts)


def by_part(parts: list[ClusterPart]) -> dict[str, tuple[int, float, float]]:
    """Pods, cores and GiB of each part."""
    found: dict[str, tuple[int, float, float]] = defaultdict(lambda: (0, 0.0, 0.0))
    for part in parts:
        pods, cpu, memory = found[part.name]
        found[part.name] = (pods + part.pods, cpu + part.cores, memory + part.gibibytes)
    return dict(found)
