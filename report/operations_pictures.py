"""How a new model comes into service, drawn; alerts, objectives and licences as tables."""

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from kalecast.cluster.canary_watch import Canary
from report.facts import facts
from report.results import ResultFile
from report.shown import COLOURS, GREY, INK, TEXT_WIDTH

BURN = re.compile(r'ratio_rate(\w+)\{objective="([\w-]+)"\} > ([\d.]+)')
"""Window, objective and threshold of an alert on a budget."""
OBSERVABILITY = Path(__file__).resolve().parent.parent / "cluster-setup" / "5-observability"

Box = tuple[float, float, str]

WAY: tuple[Box, ...] = (
    (0, 1, "run begins\nby hand or by time"),
    (1, 1, "train, measure\non held-out hours"),
    (2, 1, "gate: better than\nthe naive one?"),
    (3, 1, "canary beside\nthe old model"),
    (4, 1, "new takes all,\ncurrent file written"),
    (2, 0, "run fails, nothing\nis published"),
    (3, 0, "withdrawn,\nold model serves on"),
)
"""Column, row and words of each state."""
ARROWS = (
    (0, 1, ""),
    (1, 2, ""),
    (2, 3, "yes"),
    (3, 4, "held"),
    (2, 5, "no"),
    (3, 6, "did not hold"),
)
"""Which state follows which, and when."""
BAD = (5, 6)
WIDE, HIGH = 0.86, 0.5


def release_picture() -> Figure:
    """From a run of the pipeline to the model that serves, with the two ways out."""
    figure, ax = plt.subplots(figsize=(TEXT_WIDTH, 2.1))
    for at, (column, row, words) in enumerate(WAY):
        _box(ax, column, row, words, COLOURS[1] if at in BAD else COLOURS[0])
    for start, end, when in ARROWS:
        _arrow(ax, WAY[start], WAY[end], when)
    ax.set_xlim(-0.5, 4.5)
    ax.set_ylim(-0.35, 1.35)
    ax.axis("off")
    return figure


def _box(ax: Axes, column: float, row: float, words: str, colour: str) -> None:
    corner = (column - WIDE / 2, row - HIGH / 2)
    style = "round,pad=0,rounding_size=0.05"
    ax.add_patch(FancyBboxPatch(corner, WIDE, HIGH, boxstyle=style, fc="white", ec=colour, lw=1))
    ax.text(column, row, words, ha="center", va="center", fontsize=6.6, color=INK)


def _arrow(ax: Axes, start: Box, end: Box, when: str) -> None:
    level = start[1] == end[1]
    tail = (start[0] + WIDE / 2, start[1]) if level else (start[0], start[1] - HIGH / 2)
    tip = (end[0] - WIDE / 2, end[1]) if level else (end[0], end[1] + HIGH / 2)
    ax.annotate("", tip, tail, arrowprops={"arrowstyle": "-|>", "color": GREY, "lw": 0.9})
    across, up = (0, 0.33) if level else (0.05, 0)
    place = ((tail[0] + tip[0]) / 2 + across, (tail[1] + tip[1]) / 2 + up)
    ax.text(*place, when, ha="center" if level else "left", va="center", fontsize=6.4, color=GREY)


def objectives_table() -> pd.DataFrame:
    """What is promised, and what may miss."""
    within = {
        rule["labels"]["objective"]: f"{float(found[1]):g} s"
        for rule in rules()
        if (found := re.search(r'le="([\d.]+)"', rule["expr"]))
    }
    return pd.DataFrame(
        [
            {
                "objective": name.replace("-", " "),
                "may miss": f"{budget:.1%}",
                "answered within": within.get(name, "at all"),
                "alert": f"`{alert}`",
            }
            for name, (alert, budget) in budgets().items()
        ]
    )


def budgets() -> dict[str, tuple[str, float]]:
    """The alert and the budget of each objective: a budget is used up in time at speed 1, which is
    the least threshold."""
    return {
        BURN.findall(rule["expr"])[0][1]: (
            rule["alert"],
            min(float(threshold) for *_, threshold in BURN.findall(rule["expr"])),
        )
        for rule in alerts()
        if BURN.search(rule["expr"]) and rule["labels"]["severity"] == "warning"
    }


def days() -> int:
    """Over which an objective holds: as long as Prometheus keeps its data."""
    settings = yaml.safe_load((OBSERVABILITY / "base" / "prometheus.yaml").read_text())
    return int(settings["spec"]["retention"].removesuffix("d"))


def burns() -> str:
    """Speeds at which a budget may go before somebody is notified."""
    alert, budget = next(iter(budgets().values()))
    found = {
        window: (float(threshold) / budget, rule["labels"]["severity"])
        for rule in alerts()
        if rule["alert"] == alert
        for window, _, threshold in BURN.findall(rule["expr"])[::2]
    }
    return "; ".join(
        f"{speed:g}× over {window} ({severity})" for window, (speed, severity) in found.items()
    )


def alerts() -> list[dict[str, Any]]:
    """Every alert of the service, as its rule has it."""
    return [rule for rule in rules() if "alert" in rule]


def rules() -> list[dict[str, Any]]:
    """All that Prometheus records and alerts."""
    document = yaml.safe_load((OBSERVABILITY / "kalecast" / "rules.yaml").read_text())
    return [rule for group in document["spec"]["groups"] for rule in group["rules"]]


def alerts_table() -> pd.DataFrame:
    """Alerts by name, with whom they wake and what they say."""
    rows: dict[str, dict[str, str]] = {}
    for rule in alerts():
        said = rule["annotations"]["summary"].split(" (namespace")[0]
        said = said.replace("{{ $labels.", "*").replace(" }}", "*")
        row = rows.setdefault(
            rule["alert"], {"alert": f"`{rule['alert']}`", "level": "", "says": said}
        )
        levels = [*filter(None, row["level"].split(", ")), rule["labels"]["severity"]]
        row["level"] = ", ".join(dict.fromkeys(levels))
    return pd.DataFrame(rows.values())


def canary() -> Canary:
    """Its limits, as the code has them."""
    return Canary()


def licences_table(found: ResultFile) -> pd.DataFrame:
    """Direct dependencies by licence and environment: what is delivered first."""
    rows: dict[str, dict[str, set[str]]] = {}
    for package in found["direct"]:
        groups = rows.setdefault(package["licence"], {})
        groups.setdefault(package["group"], set()).add(f"{package['name']} {package['version']}")
    return pd.DataFrame(
        [
            {
                "licence": licence,
                "packages": ", ".join(sorted(set().union(*groups.values()))),
                "in": ", ".join(sorted(groups)),
            }
            for licence, groups in sorted(rows.items())
        ]
    )


def asking_more(found: ResultFile) -> str:
    """Packages that others brought along and whose licence asks more than a notice."""
    return ", ".join(
        f"{one['name']} ({one['licence']}, {one['group']})" for one in found["brought_asking_more"]
    )


def serving_table() -> pd.DataFrame:
    """What could serve in Seldon Core's place, by licence."""
    return pd.DataFrame(
        [
            {
                "": row["what"] + (f" {{cite}}`{row['source']}`" if "source" in row else ""),
                "licence": row["licence"],
                "brings": row["brings"],
                "but": row["gap"],
            }
            for row in facts("licences").rows("serving")
        ]
    )


def open_table(throughput: float) -> pd.DataFrame:
    """What falls short, and the chapter that tells it.

    Args:
        throughput: times that of Seldon's wrapper.
    """
    rows = [
        (
            "No run on a real Kubeflow yet, no model through Seldon's operator, no scaling by "
            "KEDA, no network that enforces policies, never more than one node",
            "{ref}`chap-cluster`, {ref}`chap-automation`",
        ),
        (
            "The forecaster misses its aim of 0.70 of the best classical method's score on M4's "
            "hourly series",
            "{ref}`chap-model`",
        ),
        (
            f"The server answers {throughput} times as many requests as Seldon's wrapper; 10 were "
            "asked. The slowest refusals under three times the crowd come later than asked",
            "{ref}`chap-serving`",
        ),
        (
            "Through the gateway 5,000 at once were not answered within 2 s, and the plan for a "
            "cluster leaves the gateway out; some floods make other customers wait",
            "{ref}`chap-protection`",
        ),
        (
            "Everything at once with a zone lost does not fit the size for production",
            "{ref}`chap-cluster`",
        ),
        (
            "Kubernetes 1.35 ends, and Seldon Core 1.19 names no newer one",
            "{ref}`chap-cluster`",
        ),
    ]
    return pd.DataFrame(rows, columns=["Open", "Where"])
