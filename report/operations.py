"""Chapter 8: objectives and alerts as the rules have them, licences as tables."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from report.results import ResultFile

BURN = re.compile(r'ratio_rate(\w+)\{objective="([\w-]+)"\} > ([\d.]+)')
"""Window, objective and threshold of an alert on a budget."""
OBSERVABILITY = Path(__file__).resolve().parent.parent / "cluster-setup" / "5-observability"


def objectives_table() -> pd.DataFrame:
    """What is promised, and what may miss."""
    within = {
        rule["labels"]["objective"]: f"{float(found[1]):g} s"
        for rule in rules()
        if (found := re.search(r'le="([\d.]+)"', rule["expr"]))
    }
    return pd.DataFrame(
        {
            "objective": name.replace("-", " "),
            "may miss": f"{budget:.1%}",
            "answered within": within.get(name, "at all"),
            "alert": f"`{alert}`",
        }
        for name, (alert, budget) in budgets().items()
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

    def listed(levels: "pd.Series[str]") -> str:
        return ", ".join(dict.fromkeys(levels))

    frame = pd.DataFrame(
        {
            "alert": f"`{rule['alert']}`",
            "level": rule["labels"]["severity"],
            "says": re.sub(
                r"\{\{ \$labels\.(.*?) \}\}",
                r"*\1*",
                rule["annotations"]["summary"].split(" (namespace")[0],
            ),
        }
        for rule in alerts()
    )
    by_alert = frame.groupby("alert", sort=False, as_index=False)
    return by_alert.agg({"level": listed, "says": "first"})


def licences_table(found: ResultFile) -> pd.DataFrame:
    """Direct dependencies by licence: what is delivered first."""

    def listed(values: "pd.Series[str]") -> str:
        return ", ".join(sorted(set(values)))

    frame = pd.DataFrame(found["direct"])
    frame["packages"] = frame["name"] + " " + frame["version"]
    by_licence = frame.groupby("licence", as_index=False)
    return by_licence.agg({"packages": listed, "group": listed}).rename(columns={"group": "in"})
