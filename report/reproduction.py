"""Chapter 9: how to get every figure of the report again: results, commands, places, versions."""

import re
from pathlib import Path

import pandas as pd

from report.results import REGISTRY, ResultFile, result, result_path
from report.shown import registered

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks" / "README.md"
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
PACKAGES = (
    *("keras", "tensorflow", "onnxruntime", "kubeflow-kale", "kfp", "jupyterlab"),
    *("gradio", "uvicorn", "seldon-core", "mlserver"),
)
"""The few that the report speaks of; the locks have all."""
ON_CLUSTER = {
    "KUBERNETES_VERSION": "Kubernetes",
    "CONTAINERD_VERSION": "containerd",
    "SELDON_CORE_VERSION": "Seldon Core",
    "KEDA_VERSION": "KEDA",
    "NGINX_INGRESS_VERSION": "F5 NGINX Ingress Controller",
    "OAUTH2_PROXY_VERSION": "oauth2-proxy",
}


def results_table() -> pd.DataFrame:
    """A row a results file: the command that writes it, its time, where and when it ran."""
    return pd.DataFrame(_row(name) for name in sorted(REGISTRY))


def _row(name: str) -> dict[str, str]:
    if not result_path(name).is_file():
        note = "not yet: needs a cluster" if REGISTRY[name].needs_cluster else "not there"
        command, takes, machine = REGISTRY[name].command, "–", "–"
    else:
        found = result(name)
        command, takes, machine, note = found.command, _took(found), found.machine, found.date
    row = {"File": f"`{name}.json`", "Command": f"`{command}`", "Takes": takes}
    return {**row, "Machine": machine, "Measured": note}


def _took(found: ResultFile) -> str:
    """How long the command took where the file says so, else what the benchmarks' README says."""
    if seconds := found.get("took_seconds"):
        return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
    target = re.escape(" ".join(found.command.split()[:2]))
    minutes = re.search(
        rf"^\| `{target}.*?\b({'|'.join(NUMBERS)}) minutes", BENCHMARKS.read_text(), re.MULTILINE
    )
    return f"about {NUMBERS.index(minutes[1])} min" if minutes else "–"


def places_table() -> pd.DataFrame:
    """A row a figure or table: its number, what it shows, and the files that it draws on."""
    return pd.DataFrame(
        {
            "Number": f"{{numref}}`{one.name}`",
            "Shows": _first_sentence(one.caption),
            "Draws on": ", ".join(f"`{name}.json`" for name in dict.fromkeys(one.results))
            or "the repository's own files",
        }
        for one in registered()
    )


def _first_sentence(caption: str) -> str:
    without_roles = re.sub(r"\{[a-z:]+\}`[^`]*`", "", caption)
    return re.split(r"(?<=[.:])\s", without_roles.strip(), maxsplit=1)[0].rstrip(".:")


def versions_table() -> pd.DataFrame:
    """Versions of the main packages, from the locks, and of what is on the cluster."""
    locks = {path.stem: path.read_text() for path in sorted((ROOT / "requirements").glob("*.txt"))}
    rows = []
    for package in PACKAGES:
        found: dict[str, list[str]] = {}
        for name, lock in locks.items():
            if match := re.search(rf"^{package}==([\w.]+)", lock, re.MULTILINE):
                found.setdefault(match[1], []).append(name)
        rows += [
            (package, version, f"requirements: {', '.join(names)}")
            for version, names in found.items()
        ]
    pinned = (ROOT / "cluster-setup" / "versions.env").read_text()
    for key, title in ON_CLUSTER.items():
        match = re.search(rf"^{key}=(\S+)", pinned, re.MULTILINE)
        if match is None:
            raise ValueError(f"Expected {key} in cluster-setup/versions.env.")
        rows.append((title, match[1], "cluster-setup/versions.env"))
    return pd.DataFrame(rows, columns=["What", "Version", "Fixed in"])
