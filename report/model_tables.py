"""Tables of the model's chapter."""

from collections.abc import Callable, Iterable
from statistics import mean
from typing import Any

import pandas as pd

from report.model_words import GRIDS, MODEL, contender, percent
from report.results import ResultFile

SCORES = {
    "mase": "MASE",
    "smape": "sMAPE",
    "coverage_80": "80 % band",
    "coverage_95": "95 % band",
    "msis_95": "MSIS",
}


MORE: dict[str, tuple[str, Callable[[float], str]]] = {
    "owa": ("OWA", "{:.3f}".format),
    "seconds": ("seconds", "{:.0f}".format),
    "beaten": ("beaten in", lambda share: percent(share, 0)),
}
"""Further columns of scores: title, and how a value is written."""


def data(r: ResultFile) -> pd.DataFrame:
    """A row a series: what was measured, and how it repeats itself."""
    return pd.DataFrame(
        {
            "series": f"`{one['series']}`",
            "from": one["first"][:10],
            "to": one["last"][:10],
            "hours": f"{one['hours']:,}",
            "unknown": one["unknown"],
            "mean": f"{one['mean']:,.4g}" if one["mean"] < 100 else f"{one['mean']:,.0f}",
            "largest / mean": f"{one['largest'] / one['mean']:.1f}",
            "week / day": f"{one['differs']['week'] / one['differs']['day']:.2f}",
        }
        for one in r["exploration"]["series"]
    )


def scores(contenders: dict[str, Any], *more: str) -> pd.DataFrame:
    """A row a contender, the best MASE at the top.

    Args:
        contenders: their mean scores by name.
        more: keys of `MORE`, whose columns come first.
    """
    ranked = sorted(contenders, key=lambda name: contenders[name]["mase"])
    return pd.DataFrame(_score_row(name, contenders[name], more) for name in ranked)


def _score_row(name: str, values: dict[str, Any], more: Iterable[str]) -> dict[str, str | None]:
    words = contender(name)
    row: dict[str, str | None] = {"forecast": f"**{words}**" if name == MODEL else words}
    for key in more:
        title, written = MORE[key]
        row[title] = None if (name, key) == (MODEL, "beaten") else written(values[key])
    for metric, title in SCORES.items():
        value = values[metric]
        row[title] = percent(value) if metric.startswith("coverage") else f"{value:.2f}"
    row["MASE"] = f"{values['mase']:.3f}"
    return row


def parts(r: ResultFile) -> pd.DataFrame:
    """What the network is without some of its parts, and where less is known."""
    gaps = r["gaps"]
    rows = {
        "as shipped": r["scores"][MODEL],
        "nothing learnt: the simple forecasts, weighed": r["parts"]["simple_forecasts"],
        "bands without the factors of calibration": r["parts"]["uncalibrated"],
        **{
            f"{100 * float(share):.0f} % of the window's values missing": values
            for share, values in gaps["missing"].items()
        },
        f"{gaps['shortest']['hours']} hours of history only": gaps["shortest"],
    }
    return pd.DataFrame(
        {
            "what": name,
            "MASE": f"{values['mase']:.3f}",
            "sMAPE": f"{values['smape']:.2f}",
            "80 % band": percent(values["coverage_80"]) if "coverage_80" in values else None,
            "95 % band": percent(values["coverage_95"]) if "coverage_95" in values else None,
            "MSIS": f"{values['msis_95']:.2f}" if "msis_95" in values else None,
        }
        for name, values in rows.items()
    )


def intervals(r: ResultFile) -> pd.DataFrame:
    """What the bands of each contender hold, and how wide they are."""
    return pd.DataFrame(
        {
            "forecast": f"**{contender(name)}**" if name == MODEL else contender(name),
            "80 %: holds": percent(interval["80"]["coverage"]),
            "width": f"{interval['80']['width']:.2f}",
            "95 %: holds": percent(interval["95"]["coverage"]),
            "width ": f"{interval['95']['width']:.2f}",
        }
        for name, interval in r["intervals"].items()
    )


def kinds(r: ResultFile) -> pd.DataFrame:
    """Errors of grids and of homes, a column each."""
    rows = r["by_series"]
    grids = [row for row in rows if row["series"].endswith(GRIDS)]
    homes = [row for row in rows if not row["series"].endswith(GRIDS)]
    return pd.DataFrame({"mean over the series": KINDS} | {
        f"{len(group)} {kind}": [
            f"{mean(row['mase'][MODEL] for row in group):.2f}",
            f"{mean(_better_naive(row) for row in group):.2f}",
            f"{mean(row['smape'] for row in group):.1f}",
            percent(mean(row["coverage_80"] for row in group)),
            percent(mean(row["peak_hours"] for row in group), 0),
            percent(mean(row["peak_share_of_error"] for row in group), 0),
            percent(mean(row["peaks_above_median"] for row in group), 0),
        ]
        for kind, group in (("grids", grids), ("homes", homes))
    })  # fmt: skip


KINDS = (
    "MASE",
    "MASE of the better naive forecast",
    "sMAPE",
    "inside the 80 % band",
    "peaks: share of the hours",
    "peaks: share of the error",
    "peaks that lie above the median",
)


def _better_naive(row: dict[str, Any]) -> float:
    return float(min(value for name, value in row["mase"].items() if "Naive" in name))


PARTS = {
    "network of the whole window": ("whole_embed", "whole_block"),
    "network of one hour ahead": ("hour_embed", "hour_context", "hour_block"),
    "what reads them out": ("shift_weights", "whole_head", "hour_head"),
    "factors of calibration, not trained": ("gaps",),
}
"""Beginnings of the names of layers, by the part of the network that they belong to."""


def layers(r: ResultFile) -> pd.DataFrame:
    """Which layers of a part have weights, and how many."""
    weighted = [layer for layer in r["network"]["layers"] if layer["parameters"]]
    rows = []
    for part, starts in PARTS.items():
        own = [layer for layer in weighted if layer["name"].startswith(starts)]
        rows.append(
            {
                "part": part,
                "layers": ", ".join(f"`{layer['name']}`" for layer in own),
                "parameters": f"{sum(layer['parameters'] for layer in own):,}",
            }
        )
    return pd.DataFrame(rows)


def card(r: ResultFile, rows: dict[str, str]) -> pd.DataFrame:
    """The model card: what the run tells, then what its author says."""
    about, judged = r["card"], r["judged_on"]
    data = about["trained_on"]
    facts = {
        "model": f"`{about['name']}`, version `{about['version']}`, "
        f"Kalecast {about['library_version']}",
        "input": f"{about['input_length']} values (`{about['frequency']}`), unknown ones allowed; "
        f"{about['minimum_history']} at least",
        "output": f"{about['horizon']} steps, quantiles "
        + ", ".join(f"{quantile:g}" for quantile in about["quantiles"]),
        "trained on": f"{data['series']} series, {data['values']:,} values, digest "
        f"`{about['data_fingerprint']}`",
        "judged on": f"{judged['values']:,} later values of the same series, in "
        f"{judged['forecasts']} forecasts",
    }
    return pd.DataFrame(
        {"": f"**{name}**", "what": text} for name, text in {**facts, **rows}.items()
    )
