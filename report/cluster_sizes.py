"""What the parts request and what the nodes give, as the repository's own files say.

Sums come from `cluster-setup/1-kubernetes/sizes.md`, pods of the service from
`kalecast.cluster.capacity`, those of the protection from its manifests: nothing is written twice.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from kalecast.cluster.capacity import MODEL_SERVER, PAGE

STEPS = Path(__file__).resolve().parent.parent / "cluster-setup"
SIZES = STEPS / "1-kubernetes" / "sizes.md"
PROTECTION = STEPS / "6-protection"

Row = dict[str, str]


@dataclass(frozen=True)
class ClusterPart:
    """Pods of one kind and what each requests."""

    name: str
    millicores: float
    mebibytes: float
    pods: int = 1

    def times(self, pods: int) -> "ClusterPart":
        """The same pods in another number."""
        return replace(self, pods=pods)

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


def markdown_table(text: str, heading: str) -> list[Row]:
    """The first table under a heading of a Markdown text, a mapping of text a row."""
    section = text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def sums() -> dict[str, ClusterPart]:
    """Rows of the sums in `sizes.md`, by their names, without those that add others up."""
    rows = markdown_table(SIZES.read_text(), "Sums")
    parts = [
        ClusterPart(row["part"], float(row["CPU"]), float(row["memory"]))
        for row in rows
        if "*" not in row["part"]
    ]
    return {part.name: part for part in parts}


def named(start: str) -> ClusterPart:
    """The row of the sums whose name begins so."""
    return next(part for name, part in sums().items() if name.startswith(start))


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


def quiet() -> list[ClusterPart]:
    """All pods while nothing is asked, those of the service one by one."""
    kubeflow = [part for name, part in sums().items() if name.startswith("Kubeflow")]
    return [
        ClusterPart(
            "Kubeflow", sum(p.millicores for p in kubeflow), sum(p.mebibytes for p in kubeflow)
        ),
        replace(named("Seldon Core"), name="Seldon's operator"),
        replace(named("Prometheus"), name="observability"),
        replace(named("CoreDNS"), name="names and metrics"),
        *service(MODEL_SERVER.minimum_replicas, PAGE.minimum_replicas),
        *protection(),
    ]


def service(model_servers: int, pages: int) -> list[ClusterPart]:
    """Pods of model server and page. Memory is that of the sums, whose row is for the least."""
    manifests = {
        "model server": (
            MODEL_SERVER.millicores,
            STEPS / "4-model-and-app/base/model-server.yaml",
            model_servers,
        ),
        "page": (PAGE.millicores, STEPS / "4-model-and-app/base/page.yaml", pages),
    }
    return [
        ClusterPart(name, cpu, _memory(path), pods) for name, (cpu, path, pods) in manifests.items()
    ]


def _memory(path: Path) -> float:
    found = re.search(
        r"requests:\n(?:\s+\w[\w-]*: .*\n)*?\s+memory: (\d+)(Mi|Gi)", path.read_text()
    )
    if found is None:
        raise ValueError(f"Expected a request for memory in {path}")
    return float(found[1]) * (1024 if found[2] == "Gi" else 1)


def protection() -> list[ClusterPart]:
    """The least pods of step 6, from its manifests: gateway and ingress controller."""
    manifests = list(yaml.safe_load_all((PROTECTION / "base/gateway.yaml").read_text()))
    deployment = next(one for one in manifests if one["kind"] == "Deployment")
    scaler = next(one for one in manifests if one["kind"] == "HorizontalPodAutoscaler")
    containers = deployment["spec"]["template"]["spec"]["containers"]
    gateway = _requested("gateway", [one["resources"]["requests"] for one in containers])
    chart = yaml.safe_load((PROTECTION / "ingress/values.yaml").read_text())["controller"]
    controller = _requested("ingress controller", [chart["resources"]["requests"]])
    return [
        gateway.times(scaler["spec"]["minReplicas"]),
        controller.times(chart["autoscaling"]["minReplicas"]),
    ]


def _requested(name: str, requests: list[dict[str, Any]]) -> ClusterPart:
    cpu = sum(float(str(one["cpu"]).removesuffix("m")) for one in requests)
    memory = sum(float(str(one["memory"]).removesuffix("Mi")) for one in requests)
    return ClusterPart(name, cpu, memory)


def at_work() -> list[ClusterPart]:
    """What a team adds: a pipeline's largest step and a notebook server."""
    return [
        replace(named("a pipeline run"), name="pipeline step"),
        replace(named("a notebook server"), name="notebook"),
    ]


def crowd() -> list[ClusterPart]:
    """The pods of the service that a crowd adds which stays."""
    return service(
        MODEL_SERVER.maximum_replicas - MODEL_SERVER.minimum_replicas,
        PAGE.maximum_replicas - PAGE.minimum_replicas,
    )


def room(size: Size, workers: int) -> tuple[float, float]:
    """Cores and GiB that so many workers have for pods."""
    each = kept()
    return workers * (size.worker[0] - each.cores), workers * (size.worker[1] - each.gibibytes)
