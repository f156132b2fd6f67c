"""Chapter 2: what the parts request and what nodes give, as pictures; what that costs.

Sums come from `cluster-setup/1-kubernetes/sizes.md`, pods of the service from
`kalecast.cluster.capacity`, those of the protection from its manifests: nothing is written twice.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from kalecast.cluster.capacity import MODEL_SERVER, PAGE
from kalecast.cluster.capacity_sheet import figures
from report.facts import Fact, facts
from report.shown import COLOURS, GREY, INK, TEXT_WIDTH

STEPS = Path(__file__).resolve().parent.parent / "cluster-setup"
SIZES = STEPS / "1-kubernetes" / "sizes.md"
PROTECTION = STEPS / "6-protection"
HOURS = 365 * 24 / 12
"""A month."""
YEARS = 3
"""After which machines of one's own are written off."""
WIDTH = 0.62
"""Of a node, of the place that it has."""
PALETTE = (
    *(COLOURS[6], "#b9c4cf", COLOURS[5], "#d8d2bf", COLOURS[0]),
    *(COLOURS[1], COLOURS[3], "#c9a9c4", COLOURS[2], COLOURS[4]),
)


##### What is requested, and what is there #####


@dataclass(frozen=True)
class ClusterPart:
    """Pods of one kind and what each requests."""

    name: str
    millicores: float
    mebibytes: float
    pods: int = 1
    is_many: bool = False
    """Many small pods, which stand in the sums as one."""

    @property
    def cores(self) -> float:
        """Requested by all pods."""
        return self.pods * self.millicores / 1000

    @property
    def gibibytes(self) -> float:
        """Requested by all pods."""
        return self.pods * self.mebibytes / 1024


@dataclass(frozen=True)
class Size:
    """A size of cluster in `sizes.md`: machines of one kind each for both roles."""

    name: str
    control_planes: int
    control_plane: tuple[float, float]
    """CPUs and GiB of each; (0, 0) where the machine is shared."""
    workers: int
    worker: tuple[float, float]
    together: str
    """All of it, as it stands there."""


def markdown_table(text: str, heading: str) -> list[dict[str, str]]:
    """The first table under a heading of a Markdown text, a mapping of text a row."""
    section = text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


@cache
def sums() -> list[ClusterPart]:
    """Rows of the sums in `sizes.md`, without those that add others up."""
    return [
        ClusterPart(row["part"], float(row["CPU"]), float(row["memory"]))
        for row in markdown_table(SIZES.read_text(), "Sums")
        if "*" not in row["part"]
    ]


def summed(start: str, name: str, is_many: bool = False) -> ClusterPart:
    """The rows of the sums whose names begin so, together and under another name."""
    parts = [part for part in sums() if part.name.startswith(start)]
    cpu, memory = sum(one.millicores for one in parts), sum(one.mebibytes for one in parts)
    return ClusterPart(name, cpu, memory, is_many=is_many)


def kept() -> ClusterPart:
    """What each node keeps for itself."""
    found = re.search(r"\*\*(\d+)m and (\d+) MiB\*\*", SIZES.read_text())
    if found is None:
        raise ValueError(f"Expected what a node keeps, such as '**662m and 1068 MiB**', in {SIZES}")
    return ClusterPart("kept by the node", float(found[1]), float(found[2]))


def sizes() -> list[Size]:
    """The sizes of `sizes.md`."""
    rows = markdown_table(SIZES.read_text(), "Three sizes")
    by_name = {row[""]: row for row in rows}
    planes, workers = (row for row in rows if row[""] == "each with")
    return [
        Size(
            name,
            _first(by_name["control planes"][name]),
            _machine(planes[name]),
            _first(by_name["workers"][name]),
            _machine(workers[name]),
            by_name["together"][name],
        )
        for name in planes
        if name
    ]


def _first(cell: str) -> int:
    return int(re.findall(r"\d+", cell)[0])


def _machine(cell: str) -> tuple[float, float]:
    found = re.match(r"(\d+) CPUs, (\d+) GiB", cell)
    return (float(found[1]), float(found[2])) if found else (0.0, 0.0)


def sizes_table() -> pd.DataFrame:
    """The sizes that `sizes.md` derives."""

    def machine(each: tuple[float, float]) -> str:
        return f"{each[0]:g} vCPU, {each[1]:g} GiB" if each[0] else "a container"

    return pd.DataFrame(
        {
            "": size.name,
            "control planes": f"{size.control_planes} × {machine(size.control_plane)}",
            "workers": f"{size.workers} × {machine(size.worker)}",
            "together": size.together,
        }
        for size in sizes()
    )


def production() -> Size:
    """The size for production."""
    return next(size for size in sizes() if size.name == "production")


def service(model_servers: int, pages: int) -> list[ClusterPart]:
    """Pods of model server and page."""
    sheet = figures()
    return [
        ClusterPart("model server", MODEL_SERVER.millicores, sheet["server_memory"], model_servers),
        ClusterPart("page", PAGE.millicores, sheet["page_memory"], pages),
    ]


def protection() -> list[ClusterPart]:
    """The least pods of step 6, from its manifests: gateway and ingress controller."""
    manifests = list(yaml.safe_load_all((PROTECTION / "base/gateway.yaml").read_text()))
    deployment = next(one for one in manifests if one["kind"] == "Deployment")
    scaler = next(one for one in manifests if one["kind"] == "HorizontalPodAutoscaler")
    chart = yaml.safe_load((PROTECTION / "ingress/values.yaml").read_text())["controller"]
    containers, least = deployment["spec"]["template"]["spec"]["containers"], scaler["spec"]
    return [
        _requested("gateway", containers, least["minReplicas"]),
        _requested("ingress controller", [chart], chart["autoscaling"]["minReplicas"]),
    ]


def _requested(name: str, containers: list[dict[str, Any]], pods: int) -> ClusterPart:
    requests = [one["resources"]["requests"] for one in containers]
    cpu = sum(float(str(one["cpu"]).removesuffix("m")) for one in requests)
    memory = sum(float(str(one["memory"]).removesuffix("Mi")) for one in requests)
    return ClusterPart(name, cpu, memory, pods)


def states() -> dict[str, list[ClusterPart]]:
    """The pods that there are, by what goes on."""
    quiet = [
        summed("Kubeflow", "Kubeflow", is_many=True),
        summed("Seldon Core", "Seldon's operator"),
        summed("Prometheus", "observability", is_many=True),
        summed("CoreDNS", "names and metrics", is_many=True),
        *service(MODEL_SERVER.minimum_replicas, PAGE.minimum_replicas),
        *protection(),
    ]
    team = [summed("a pipeline run", "pipeline step"), summed("a notebook server", "notebook")]
    crowd = service(
        MODEL_SERVER.maximum_replicas - MODEL_SERVER.minimum_replicas,
        PAGE.maximum_replicas - PAGE.minimum_replicas,
    )
    return {
        "quiet": quiet,
        "a team at work": quiet + team,
        "a crowd that stays": quiet + crowd,
        "both": quiet + crowd + team,
    }


def cores(parts: list[ClusterPart]) -> float:
    """Requested by all of them."""
    return sum(part.cores for part in parts)


def room(size: Size, workers: int) -> dict[str, float]:
    """Cores and GiB that so many workers have for pods."""
    each = kept()
    cpu, memory = size.worker[0] - each.cores, size.worker[1] - each.gibibytes
    return {"cores": workers * cpu, "gibibytes": workers * memory}


##### Pictures #####


def place(parts: list[ClusterPart], nodes: int) -> list[list[ClusterPart]]:
    """Pods on nodes: each where fewest of its kind are, then where least is requested.

    A scheduler weighs more than that; parts of many small pods are shared out evenly.
    """
    placed: list[list[ClusterPart]] = [[] for _ in range(nodes)]
    for part in sorted(parts, key=lambda part: not part.is_many):
        if part.is_many:
            share = replace(
                part, millicores=part.millicores / nodes, mebibytes=part.mebibytes / nodes
            )
            placed = [[*node, share] for node in placed]
            continue
        pod = replace(part, pods=1)
        for _ in range(part.pods):
            min(placed, key=lambda node: (node.count(pod), cores(node))).append(pod)
    return placed


def nodes_picture() -> Figure:
    """Workers of the size for production, with their pods by what these request."""
    size, parts = production(), states()["a team at work"]
    names = dict.fromkeys(part.name for part in parts)
    colours = {kept().name: "#e6e6e6", **dict(zip(names, PALETTE, strict=True))}
    figure, axes = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 3.9))
    units = (("cores", "CPU, cores", size.worker[0]), ("gibibytes", "memory, GiB", size.worker[1]))
    for ax, (which, label, limit) in zip(axes, units, strict=True):
        for at, node in enumerate(place(parts, size.workers)):
            _stack(ax, at, [kept(), *node], which, colours)
            ax.bar(at, limit, WIDTH, fill=False, edgecolor=INK, linewidth=0.9)
        ax.set(ylabel=label, ylim=(0, limit * 1.04))
        zones = enumerate("abc"[: size.workers], 1)
        ax.set_xticks(range(size.workers), [f"worker {at}\nzone {zone}" for at, zone in zones])
    handles = [Patch(color=colour) for colour in colours.values()]
    figure.legend(handles, list(colours), loc="outside lower center", ncols=4)
    return figure


def _stack(ax: Axes, at: int, pods: list[ClusterPart], which: str, colours: dict[str, str]) -> None:
    bottom = 0.0
    for pod in sorted(pods, key=lambda pod: list(colours).index(pod.name)):
        height = getattr(pod, which)
        ax.bar(at, height, WIDTH, bottom, color=colours[pod.name], edgecolor="white", linewidth=0.6)
        bottom += height


def room_picture() -> Figure:
    """What is requested in four states, against what three workers give, and two."""
    size = production()
    figure, axes = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.9), sharey=True)
    for ax, which, unit in zip(axes, ("cores", "gibibytes"), ("cores", "GiB"), strict=True):
        totals = {
            name: sum(getattr(part, which) for part in parts) for name, parts in states().items()
        }
        bars = ax.barh(list(totals), list(totals.values()), 0.55, color=COLOURS[0])
        ax.bar_label(bars, fmt=" {:.1f}", fontsize=8, color=GREY)
        for workers, style in ((size.workers, "-"), (size.workers - 1, "--")):
            given = room(size, workers)[which]
            ax.axvline(given, color=COLOURS[1], linestyle=style)
            ax.text(
                given, -0.62, f"{workers}", color=COLOURS[1], ha="center", va="bottom", fontsize=8
            )
        ax.set(xlabel=f"requested, {unit}", xlim=(0, room(size, size.workers)[which] * 1.08))
    axes[0].invert_yaxis()
    return figure


##### Costs, by list prices of `facts/machines.yaml` #####


def prices() -> dict[str, Fact]:
    """List prices, each with source and date."""
    return facts("machines")


def managed(worker: str, control_plane: str) -> float:
    """A month of a managed cluster: workers, and one control plane by the hour."""
    listed = prices()
    each, once = listed[worker].value, listed[control_plane].value
    return float(HOURS * (production().workers * each + once))


def rented() -> float:
    """A month of virtual machines that one runs Kubernetes on oneself, control planes included."""
    listed, size = prices(), production()
    small = listed["hetzner_small_cpu"].value * listed["hetzner_small_cpus"].value
    return float(size.workers * listed["hetzner_worker"].value + size.control_planes * small)


def break_even() -> float:
    """What machines of one's own may cost in all of `YEARS`, to be no dearer than EKS."""
    return YEARS * 12 * managed("aws_worker", "eks_control_plane")
