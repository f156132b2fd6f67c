"""Chapter 7: what the gateway was attacked with, what came of it, and the threat model."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
import yaml
from matplotlib.figure import Figure

from report.model import percent
from report.results import ResultFile
from report.shown import COLOURS, GREY, INK, TEXT_WIDTH

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "report" / "threat-model.md"
ATTACKS = ROOT / "benchmarks" / "protection" / "attacks.yaml"

CAPACITY = "five_hundred_customers"
"""No attack, and not held against the gateway."""


##### The threat model #####


class Threat(NamedTuple):
    """A row of the threat model."""

    number: str
    kind: str
    text: str
    control: str
    tests: list[str]


def threats() -> list[Threat]:
    """All rows of the threat model.

    Raises:
        ValueError: one has no control, or no test that shows it.
    """
    found = []
    for part in re.split(r"^## ", MODEL.read_text(), flags=re.MULTILINE)[1:]:
        kind = part.partition("\n")[0]
        for row in re.findall(
            r"^\| ([STRIDE]\d+) \| (.+?) \| (.+?) \| (.+?) \|$", part, re.MULTILINE
        ):
            number, text, control, proof = row
            tests = re.findall(r"`(tests/[\w/]+\.py::test_\w+)`", proof)
            if not control or not tests:
                raise ValueError(f"Expected a control and a test for threat {number}.")
            found.append(Threat(number, kind, text, control, tests))
    return found


def threats_table(found: Sequence[Threat]) -> pd.DataFrame:
    """A row a STRIDE class: threats, tests, and its first threat as an example."""
    by_kind = {
        kind: [threat for threat in found if threat.kind == kind]
        for kind in dict.fromkeys(threat.kind for threat in found)
    }
    return pd.DataFrame(
        {
            "Class": kind,
            "Threats": len(of_kind),
            "Tests": len({test for threat in of_kind for test in threat.tests}),
            "For example": of_kind[0].text,
            "What is in the way": of_kind[0].control,
        }
        for kind, of_kind in by_kind.items()
    )


def remaining_table() -> pd.DataFrame:
    """What the threat model leaves open."""
    rest = MODEL.read_text().partition("## What remains")[2]
    rows = [
        (what.rstrip("."), why.lstrip(" ,"))
        for what, why in re.findall(r"^- \*\*(.+?)\*\*(.*)$", rest, re.MULTILINE)
    ]
    return pd.DataFrame(
        {"Open": what, "What is said of it": f"{why[:1].upper()}{why[1:]}"} for what, why in rows
    )


##### What was measured #####


def walls(p: ResultFile) -> Figure:
    """Which wall stopped how much of the payloads."""
    parts = [
        ("positive list", p["payload_blocked_by_list"], COLOURS[0]),
        ("signatures", p["payload_blocked_by_signatures"], COLOURS[1]),
        ("limits", p["payload_limited"], COLOURS[2]),
        ("hung up", p["payload_hung_up"], COLOURS[3]),
        ("passed", p["payload_passed"], "#d9d9d9"),
    ]
    whole = sum(count for _, count, _ in parts)
    figure, axes = plt.subplots(figsize=(TEXT_WIDTH, 1.25))
    left = 0.0
    for name, count, colour in parts:
        if not count:
            continue
        share = count / whole
        label = f"{name} {percent(share)}"
        axes.barh(0, share, left=left, color=colour, edgecolor="white", label=label)
        left += share
    axes.set(xlim=(0, 1), xticks=[0, 0.25, 0.5, 0.75, 1.0], yticks=[])
    axes.xaxis.set_major_formatter(lambda share, _: percent(share, 0))
    axes.spines["left"].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.4)
    return figure


def words_of_attacks() -> dict[str, str]:
    """What each attack does, by its name."""
    words = yaml.safe_load(ATTACKS.read_text())
    return {name: sentence.rstrip(".") for name, sentence in words.items()}


def floods_table(p: ResultFile) -> pd.DataFrame:
    """A row an attack: what it does, and what benign clients noticed."""
    words = words_of_attacks()
    return pd.DataFrame(
        {
            "Attack": f"{in_words(seen['name'])}: {words.get(seen['name'], '')[:1].lower()}"
            f"{words.get(seen['name'], '')[1:]}",
            "Benign errors": f"{sum(seen['errors'].values()):,} of {seen['requested']:,}",
            "p99 quiet, ms": f"{seen['quiet_p99']:,.1f}",
            "p99 attacked, ms": f"{seen['p99']:,.1f}",
            "Ratio": f"{seen['ratio']:.1f}",
            "Gateway, cores": f"{seen['gateway_cores']:.2f}",
            "As before after 5 s": "yes" if seen["settled"] else "no",
        }
        for seen in p["dos"]
    )


def floods(p: ResultFile) -> Figure:
    """The slowest hundredth of benign forecasts, in quiet and under each attack."""
    found = sorted(p["dos"], key=lambda seen: float(seen["ratio"]))
    figure, axes = plt.subplots(figsize=(TEXT_WIDTH, 0.29 * len(found) + 0.8))
    beside: dict[str, Any] = {
        "transform": axes.get_yaxis_transform(),
        "va": "center",
        "fontsize": 8.5,
    }
    for row, seen in enumerate(found):
        is_above = seen["name"] in p["dos_above_three"]
        colour = GREY if seen["name"] == CAPACITY else COLOURS[1 if is_above else 0]
        quiet, attacked = seen["quiet_p99"], seen["p99"]
        axes.plot([quiet, attacked], [row, row], color=colour, linewidth=1.0, zorder=1)
        axes.plot(quiet, row, "o", color="white", markeredgecolor=INK, markersize=5)
        axes.plot(attacked, row, "o", color=colour, markersize=5)
        ratio = f"{seen['ratio']:.1f} ×"
        axes.text(1.01, row, ratio, color=colour if is_above else INK, **beside)
    axes.set_yticks(range(len(found)), [in_words(seen["name"]) for seen in found])
    axes.set_xscale("log")
    for formatted in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        formatted(lambda value, _: f"{value:g}")
    axes.set_xlabel("p99 of benign forecasts in ms: quiet (open), attacked (filled)")
    axes.grid(axis="x", color="#d9d9d9")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_color(GREY)
    return figure


def load_table(plain: ResultFile, protected: ResultFile) -> pd.DataFrame:
    """The rounds of thousands at once, without the gateway and through it: the worst of each."""
    measured = [
        (f"{name}, {way}", run["users"], run[key])
        for way, run in (("without the gateway", plain), ("through the gateway", protected))
        for name, key in (("forecasts", "rounds"), ("the page, as a browser asks", "page_rounds"))
        if run[key]
    ]
    return pd.DataFrame(
        {
            "Way": way,
            "At once": f"{users:,}",
            "Errors": sum(one["errors"] for one in rounds),
            "p50, s": f"{max(one['p50'] for one in rounds):.2f}",
            "p99, s": f"{max(one['p99'] for one in rounds):.2f}",
            "Slowest, s": f"{max(one['slowest'] for one in rounds):.2f}",
        }
        for way, users, rounds in measured
    )


def about_capacity(proof: ResultFile) -> str:
    """A sentence of the caption where the run had the crowd that is no attack."""
    if not any(seen["name"] == CAPACITY for seen in proof["dos"]):
        return ""
    return (
        " Grey: five hundred customers, which are no attack: each keeps to its limit, and they "
        "show what more replicas are for."
    )


def in_words(*names: str) -> str:
    """Names of attacks in a sentence."""
    return ", ".join(name.replace("_", " ") for name in names) or "none"
