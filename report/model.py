"""Chapter 3: pictures and tables of the data, the network, the training and its errors."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report.diagrams import diagram
from report.results import ResultFile
from report.shown import COLOURS, GREY, INK, TEXT_WIDTH, rows

MODEL = "Kalecast"
GRIDS = "_demand"
"""How the names of series end that are of a grid, and not of a home."""
CONTENDERS = {
    "SeasonalNaiveDay": "same hour of yesterday",
    "SeasonalNaiveWeek": "same hour of last week",
    "MSTL-AutoETS": "MSTL, AutoETS",
    "MSTL-AutoARIMA": "MSTL, AutoARIMA",
}
SCORES = {
    "MASE": "{mase:.3f}",
    "sMAPE": "{smape:.2f}",
    "80 % band": "{coverage_80}",
    "95 % band": "{coverage_95}",
    "MSIS": "{msis_95:.2f}",
}
"""How `report.shown.rows` shows scores."""
PARTS = {
    "network of the whole window": ("whole_embed", "whole_block"),
    "network of one hour ahead": ("step_embed", "step_place", "step_context", "step_block"),
    "what reads them out": ("curves", "whole_head", "step_head"),
    "factors of calibration, floor at zero, not trained": ("gaps", "forecast"),
}
"""Beginnings of the names of layers, by the part of the network that they belong to."""
BLUE, ORANGE = COLOURS[:2]
LINES = ("-", "--", ":", "-.")
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def contender(name: str) -> str:
    """A forecast's name as people read it."""
    return CONTENDERS.get(name, name)


def percent(share: float, digits: int = 1) -> str:
    """A share such as `78.0 %`."""
    return f"{100 * share:.{digits}f} %"


def whole_percent(share: float) -> str:
    """A share such as `78 %`."""
    return percent(share, 0)


def less(ours: float, theirs: float) -> str:
    """By how many percent the first is smaller than the second."""
    return f"{100 * (1 - ours / theirs):.0f} %"


##### Tables #####


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


def scores(contenders: dict[str, Any], more: Mapping[str, str]) -> pd.DataFrame:
    """A row a contender, the best MASE at the top.

    Args:
        contenders: their mean scores by name.
        more: columns that come first, for `report.shown.rows`.
    """
    ranked = sorted(contenders, key=lambda name: contenders[name]["mase"])
    items = [
        {
            **contenders[name],
            **_shares(contenders[name]),
            "name": _emphasised(name),
            "beaten": "–" if name == MODEL else percent(contenders[name]["beaten"], 0),
        }
        for name in ranked
    ]
    return rows(items, {"forecast": "{name}", **more, **SCORES})


def _shares(scores: Mapping[str, float]) -> dict[str, str]:
    return {name: percent(scores[name]) for name in ("coverage_80", "coverage_95")}


def _emphasised(name: str) -> str:
    return f"**{contender(name)}**" if name == MODEL else contender(name)


def parts(r: ResultFile) -> pd.DataFrame:
    """What the network is without some of its parts, and where less is known."""
    gaps = r["gaps"]
    simple = r["parts"]["simple_forecasts"]
    judged = {
        "as shipped": r["scores"][MODEL],
        "bands without the factors of calibration": r["parts"]["uncalibrated"],
        **{
            f"{100 * float(share):.0f} % of the window's values missing": values
            for share, values in gaps["missing"].items()
        },
        f"{gaps['shortest']['hours']} hours of history only": gaps["shortest"],
    }
    frame = rows(
        [{"what": name, **values, **_shares(values)} for name, values in judged.items()],
        {"what": "{what}", **SCORES},
    )
    untrained = {
        "what": "nothing learnt: the simple forecasts, weighed",
        "MASE": f"{simple['mase']:.3f}",
        "sMAPE": f"{simple['smape']:.2f}",
    }
    return pd.concat([frame[:1], pd.DataFrame([untrained]), frame[1:]])


def kinds(r: ResultFile) -> pd.DataFrame:
    """Errors of grids and of homes, a column each."""
    series = pd.DataFrame(r["by_series"])
    mase = pd.DataFrame(series["mase"].to_list())
    series = series.assign(mase=mase[MODEL], naive=mase.filter(like="Naive").min(axis=1))
    written = {
        "MASE": ("mase", "{:.2f}".format),
        "MASE of the better naive forecast": ("naive", "{:.2f}".format),
        "sMAPE": ("smape", "{:.1f}".format),
        "inside the 80 % band": ("coverage_80", percent),
        "peaks: share of the hours": ("peak_hours", whole_percent),
        "peaks: share of the error": ("peak_share_of_error", whole_percent),
        "peaks that lie above the median": ("peaks_above_median", whole_percent),
    }
    frame = pd.DataFrame({"mean over the series": list(written)})
    is_grid = series["series"].str.endswith(GRIDS)
    for kind, group in (("grids", series[is_grid]), ("homes", series[~is_grid])):
        frame[f"{len(group)} {kind}"] = [form(group[key].mean()) for key, form in written.values()]
    return frame


def layers(r: ResultFile) -> pd.DataFrame:
    """Which layers of a part have weights, and how many."""
    weighted = [layer for layer in r["network"]["layers"] if layer["parameters"]]
    owned = {
        part: [layer for layer in weighted if layer["name"].startswith(starts)]
        for part, starts in PARTS.items()
    }
    return pd.DataFrame(
        {
            "part": part,
            "layers": ", ".join(f"`{layer['name']}`" for layer in own),
            "parameters": f"{sum(layer['parameters'] for layer in own):,}",
        }
        for part, own in owned.items()
    )


##### Pictures #####


def network(r: ResultFile) -> Path:
    """The way of a window through the network, with its sizes as the run's network has them."""
    shapes = {layer["name"]: layer["output"] for layer in r["network"]["layers"]}
    horizon = r["card"]["horizon"]
    blocks = sum(name.startswith("whole_block") and name.endswith("_in") for name in shapes)
    return diagram(
        "network",
        window=r["card"]["input_length"],
        ways=shapes["seasonal_forecasts"][1],
        whole=f"{shapes['whole_embed'][-1]} wide, {blocks} residual blocks",
        hour=f"all {horizon}: {shapes['step_embed'][-1]} wide, one residual block",
        horizon=horizon,
        quantiles=len(r["card"]["quantiles"]),
    )


def profiles(r: ResultFile) -> Figure:
    """The average day and the average week of each series."""
    figure, (days, weeks) = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.7), sharey=True)
    for one in r["exploration"]["series"]:
        look: dict[str, Any] = {"color": BLUE, "linewidth": 0.9, "label": "homes", "alpha": 0.8}
        if one["series"].endswith(GRIDS):
            look = {"color": ORANGE, "linewidth": 1.5, "label": "grids", "linestyle": "--"}
        days.plot(range(len(one["day"])), one["day"], **look)
        weeks.plot(range(len(one["week"])), one["week"], **look)
    days.set(xlabel="hour of the day", ylabel="distance from the mean,\nstandard deviations")
    days.set_xticks(range(0, 25, 6))
    weeks.set_xticks(range(7), WEEKDAYS)
    weeks.set_xlabel("day of the week")
    for axis in (days, weeks):
        axis.axhline(0, color=GREY, linewidth=0.6)
    handles, labels = days.get_legend_handles_labels()
    kinds = {label: handle for handle, label in zip(handles, labels, strict=True)}
    days.legend(kinds.values(), kinds.keys(), loc="upper left")
    return figure


def strengths(r: ResultFile) -> Figure:
    """How strong the day and the week are in each series."""
    series = r["exploration"]["series"]
    figure, axis = _rows([one["series"] for one in series], "strength of the season")
    for period, marker, colour in (("day", "o", BLUE), ("week", "s", ORANGE)):
        values = [one["strength"][period] for one in series]
        axis.plot(values, range(len(series)), marker, color=colour, label=period)
    axis.set_xlim(-0.02, 1.02)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def learning(r: ResultFile) -> Figure:
    """Losses by epoch, and the error of the median that chooses the epoch."""
    epochs = pd.DataFrame(r["training"]["epochs"]).set_index("epoch")
    figure, (losses, errors) = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.4))
    losses.plot(epochs["loss"], "--s", color=GREY, label="training")
    losses.plot(epochs["val_loss"], "-o", color=BLUE, label="validation")
    losses.set(ylabel="pinball loss", xlabel="epoch")
    losses.legend()
    errors.plot(epochs["val_error"], "-o", color=BLUE)
    errors.axvline(r["training"]["kept"], color=ORANGE, linewidth=0.9, linestyle=":")
    errors.set(ylabel="error of the median,\nvalidation", xlabel="epoch (dotted: kept)")
    for axis in (losses, errors):
        axis.set_xticks(list(epochs.index))
        axis.margins(x=0.06)
    return figure


def by_hour(r: ResultFile) -> Figure:
    """Errors of all contenders by hours ahead."""
    errors = r["by_hour"]
    figure, axis = plt.subplots(figsize=(TEXT_WIDTH, 2.9))
    ahead = errors["ahead"]
    for index, (name, values) in enumerate(errors["error"].items()):
        width = 1.9 if name == MODEL else 1.1
        look = LINES[index % len(LINES)]
        axis.plot(ahead, values, look, color=COLOURS[index], linewidth=width, label=contender(name))
    axis.set(xlabel="hours ahead", ylabel="mean absolute error,\nseasonal differences")
    axis.set_xticks(range(0, max(ahead) + 1, 6))
    axis.set_ylim(bottom=0)
    axis.legend(ncols=2, loc="lower right")
    return figure


def reliability(r: ResultFile) -> Figure:
    """Actual values below each quantile, and inside the bands by hours ahead."""
    figure, (shares, hours) = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.8), width_ratios=(1, 1.35))
    observed = r["calibration"]
    nominal = [float(quantile) for quantile in observed]
    shares.plot([0, 1], [0, 1], ":", color=GREY, label="as promised")
    shares.plot(nominal, list(observed.values()), "o", color=BLUE, label="held-out hours")
    shares.set(xlabel="quantile", ylabel="share of actual values below it", aspect="equal")
    shares.legend(loc="upper left")
    coverage = r["by_hour"]["coverage"].items()
    for (level, held), colour, line in zip(coverage, COLOURS, LINES, strict=False):
        inside = [100 * share for share in held]
        hours.plot(r["by_hour"]["ahead"], inside, line, color=colour, label=f"{level} % band")
        hours.axhline(float(level), color=colour, linewidth=0.7, linestyle=":")
    hours.set(xlabel="hours ahead", ylabel="inside the band, %", ylim=(40, 102))
    hours.set_xticks(range(0, 49, 12))
    hours.legend(loc="lower right")
    return figure


def scores_by_series(r: ResultFile) -> Figure:
    """MASE of each contender, a row a series, the network's best at the top."""
    series = sorted(r["by_series"], key=lambda row: row["mase"][MODEL])
    figure, axis = _rows([row["series"] for row in series], "MASE (further left is better)")
    for name, marker, colour in zip(series[0]["mase"], "osD^v", COLOURS, strict=False):
        axis.plot(
            [row["mase"][name] for row in series],
            range(len(series)),
            marker,
            color=colour,
            markersize=7 if name == MODEL else 4.5,
            markerfacecolor=colour if name == MODEL else "none",
            label=contender(name),
        )
    axis.axvline(1, color=GREY, linewidth=0.6)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def forecasts(shown: Sequence[Any], season: int, days_before: int = 3) -> Figure:
    """Forecasts with what came true, a panel each, and some days before them."""
    columns = 2 if len(shown) > 3 else 1
    lines = -(-len(shown) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(TEXT_WIDTH, 1.75 * lines + 0.3), squeeze=False, sharex=True
    )
    for axis, one in zip(axes.flat, shown, strict=False):
        _forecast(axis, one, days_before * season)
    for axis in axes[-1]:
        axis.set_xlabel("hours from the forecast's origin")
        axis.set_xticks(range(-days_before * season, 49, season))
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def _forecast(axis: Axes, one: Any, steps_before: int) -> None:
    forecast = {name: _floats(values) for name, values in one["forecast"].items()}
    ahead = np.arange(1, len(one["actual"]) + 1)
    for level, alpha in (("95", 0.16), ("80", 0.3)):
        low, high = forecast[f"lo-{level}"], forecast[f"hi-{level}"]
        label = f"{level} % band"
        axis.fill_between(ahead, low, high, color=BLUE, alpha=alpha, linewidth=0, label=label)
    axis.plot(ahead, forecast["median"], color=BLUE, label="median")
    naive = _floats(one["naive"])
    axis.plot(ahead, naive, "--", color=ORANGE, linewidth=0.8, label="last week again")
    actual = _floats([*one["before"][-steps_before:], *one["actual"]])
    at = np.arange(len(actual)) - steps_before + 1
    axis.plot(at, actual, color=INK, linewidth=0.8, label="actual")
    axis.axvline(0.5, color=GREY, linewidth=0.6)
    axis.set_title(f"{one['series']}, after {one['cutoff'][:16]}", loc="left", fontsize=8.5)


def _floats(values: Iterable[float | None]) -> Any:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _rows(names: Sequence[str], label: str) -> tuple[Figure, Axes]:
    figure, axis = plt.subplots(figsize=(TEXT_WIDTH, 0.8 + 0.24 * len(names)))
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlabel(label)
    axis.grid(axis="y")
    axis.set_axisbelow(True)
    return figure, axis
