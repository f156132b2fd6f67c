"""What the gateway was attacked with, what came of it, and the threat model in numbers."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
import yaml
from matplotlib.figure import Figure

from report.architecture import SMALL
from report.model_words import percent
from report.results import ResultFile
from report.shown import COLOURS, GREY, INK, TEXT_WIDTH

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "report" / "threat-model.md"
ATTACKS = ROOT / "benchmarks" / "protection" / "attacks.yaml"

CAPACITY = "five_hundred_customers"
"""No attack, and not held against the gateway."""


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
            tests = re.findall(r"`tests/[\w/]+\.py::test_\w+`", proof)
            if not control or not tests:
                raise ValueError(f"Expected a control and a test for threat {number}.")
            found.append(Threat(number, kind, text, control, tests))
    return found


def threats_table(found: Sequence[Threat]) -> pd.DataFrame:
    """A row a STRIDE class: threats, tests, and its first threat as an example."""
    rows = []
    for kind in dict.fromkeys(threat.kind for threat in found):
        of_kind = [threat for threat in found if threat.kind == kind]
        rows.append(
            {
                "Class": kind,
                "Threats": len(of_kind),
                "Tests": len({test for threat in of_kind for test in threat.tests}),
                "For example": of_kind[0].text,
                "What is in the way": of_kind[0].control,
            }
        )
    return pd.DataFrame(rows)


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


def attacks_table(p: ResultFile) -> pd.DataFrame:
    """Attacks of others, and benign requests: how many, and what came of them."""
    rows = [
        (
            "Core Rule Set's regression cases",
            p["crs_cases"],
            f"{p['crs_as_expected']:,} as expected ({percent(p['crs_share'])})",
        ),
        (
            "of these, attacks on the shipped gateway",
            p["crs_attacks"],
            f"{p['crs_attacks_refused']:,} refused, {p['crs_attacks_passed']:,} passed, "
            f"{p['crs_exploits']:,} reached anything",
        ),
        (
            f"payloads of security tools, in {p['payload_places']} places",
            p["payload_requests"],
            f"{_blocked(p):,} stopped, {p['payload_passed']:,} passed, "
            f"{p['payload_exploits']:,} reached anything",
        ),
        (
            "benign requests",
            p["benign"],
            f"{p['false_positives']:,} refused wrongly, "
            f"{p['benign_answered_otherwise']:,} answered otherwise",
        ),
    ]
    return pd.DataFrame(
        {"Sent": what, "Requests": f"{count:,}", "What came of them": result}
        for what, count, result in rows
    )


def _blocked(p: ResultFile) -> int:
    return int(p["payload_requests"] - p["payload_passed"])


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
    plt.close(figure)
    left = 0.0
    for name, count, colour in parts:
        if not count:
            continue
        share = count / whole
        axes.barh(
            0, share, left=left, color=colour, edgecolor="white", label=f"{name} {percent(share)}"
        )
        left += share
    axes.set(xlim=(0, 1), xticks=[0, 0.25, 0.5, 0.75, 1.0], yticks=[])
    axes.xaxis.set_major_formatter(lambda share, _: percent(share, 0))
    axes.spines["left"].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.4)
    return figure


def cost_table(p: ResultFile) -> pd.DataFrame:
    """Forecasts a second without the gateway and with it."""
    bare, through = p["forecasts_per_second_unprotected"], p["forecasts_per_second"]
    with_signatures = round(p["throughput_ratio_with_signatures"] * bare)
    rows = [
        ("the app alone", bare, 1.0),
        ("through the gateway", through, p["throughput_ratio"]),
        (
            "through the gateway, signatures too",
            with_signatures,
            p["throughput_ratio_with_signatures"],
        ),
    ]
    return pd.DataFrame(
        {"Way": way, "Forecasts a second": f"{pace:,.0f}", "Of the app alone": percent(share, 0)}
        for way, pace, share in rows
    )


def words_of_attacks() -> dict[str, str]:
    """What each attack does, by its name."""
    words = yaml.safe_load(ATTACKS.read_text())
    return {name: sentence.rstrip(".") for name, sentence in words.items()}


def floods_table(p: ResultFile) -> pd.DataFrame:
    """A row an attack: what it does, and what benign clients noticed."""
    words = words_of_attacks()
    return pd.DataFrame(
        {
            "Attack": f"{_name(seen)}: {words.get(seen['name'], '')[:1].lower()}"
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
    plt.close(figure)
    for row, seen in enumerate(found):
        is_above = seen["name"] in p["dos_above_three"]
        colour = GREY if seen["name"] == CAPACITY else COLOURS[1 if is_above else 0]
        quiet, attacked = seen["quiet_p99"], seen["p99"]
        axes.plot([quiet, attacked], [row, row], color=colour, linewidth=1.0, zorder=1)
        axes.plot(quiet, row, "o", color="white", markeredgecolor=INK, markersize=5)
        axes.plot(attacked, row, "o", color=colour, markersize=5)
        axes.text(
            1.01,
            row,
            f"{seen['ratio']:.1f} ×",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=SMALL,
            color=colour if is_above else INK,
        )
    axes.set_yticks(range(len(found)), [_name(seen) for seen in found])
    axes.set_xscale("log")
    for formatted in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        formatted(lambda value, _: f"{value:g}")
    axes.set_xlabel("p99 of benign forecasts in ms: quiet (open), attacked (filled)")
    axes.grid(axis="x", color="#d9d9d9")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_color(GREY)
    return figure


def _name(seen: dict[str, Any]) -> str:
    return str(seen["name"]).replace("_", " ")


def load_table(plain: ResultFile, protected: ResultFile) -> pd.DataFrame:
    """The rounds of thousands at once, without the gateway and through it: the worst of each."""
    rows = []
    for way, measured in (("without the gateway", plain), ("through the gateway", protected)):
        for name, key in (("forecasts", "rounds"), ("the page, as a browser asks", "page_rounds")):
            rounds = measured[key]
            if not rounds:
                continue
            rows.append(
                {
                    "Way": f"{name}, {way}",
                    "At once": f"{measured['users']:,}",
                    "Errors": sum(one["errors"] for one in rounds),
                    "p50, s": f"{max(one['p50'] for one in rounds):.2f}",
                    "p99, s": f"{max(one['p99'] for one in rounds):.2f}",
                    "Slowest, s": f"{max(one['slowest'] for one in rounds):.2f}",
                }
            )
    return pd.DataFrame(rows)


def about_capacity(proof: ResultFile) -> str:
    """A sentence of the caption where the run had the crowd that is no attack."""
    if not any(seen["name"] == CAPACITY for seen in proof["dos"]):
        return ""
    return (
        " Grey: five hundred customers, which are no attack: each keeps to its limit, and they "
        "show what more replicas are for."
    )


def listed(names: Sequence[str]) -> str:
    """Names of attacks in a sentence."""
    return ", ".join(name.replace("_", " ") for name in names) or "none"


WEBINAR = (
    (
        "Signatures of attacks, evasion, meta characters",
        "ModSecurity with the Core Rule Set, for what the positive list leaves open",
        "No; `waf` has F5's signatures, which are newer and come as a service",
    ),
    (
        "Threat campaigns",
        "None: nobody tells the gateway which attacks are under way elsewhere",
        "Yes: `waf`",
    ),
    (
        "HTTP compliance, methods, sizes",
        "The gateway reads a request whole, knows a dozen addresses with method and query, and "
        "bounds each size",
        "No",
    ),
    (
        "Parameter values, file extensions, JSON",
        "The positive list: each field's form; uploads are tables, and read within limits",
        "No; `waf` has a policy language for it",
    ),
    (
        "gRPC compliance",
        "gRPC does not reach the outside: only the page asks the model server",
        "Yes, where gRPC is to be public: `waf`",
    ),
    (
        "Responses: codes and content",
        "The page's refusals are sentences without tracebacks; answers are not read on their way "
        "out",
        "Yes, to read answers: `waf`",
    ),
    (
        "Rating of violations, alert or block",
        "The Core Rule Set's score and levels; `DetectionOnly` tells and refuses nothing",
        "No",
    ),
    (
        "Floods: a baseline that is learnt, signatures made of it",
        "Fixed limits an address and a key, at the edge before TLS and in the gateway, tested",
        "Yes: `dos`",
    ),
    (
        "Bad actors, automation tools",
        "Limits and a pace for each client, denied networks by a Policy; no fingerprint of tools",
        "Yes, to tell tools from people: `dos`",
    ),
    (
        "Who is calling",
        "Keys with quotas for programs, oauth2-proxy and Dex for people",
        "No; `jwt` and `oidc` do it inside the controller",
    ),
    (
        "Where it stands: at the ingress, before a service, in a pod",
        "The controller at the edge, the rules in a tier before the page",
        "Yes, to have rules inside the controller",
    ),
)
"""The webinar's subjects: what there is for each, and whether NGINX Plus is needed."""


def webinar_table() -> pd.DataFrame:
    """What there is for each of the webinar's subjects."""
    return pd.DataFrame(WEBINAR, columns=["Subject", "Here", "NGINX Plus needed"])
