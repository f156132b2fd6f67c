"""Settings that fit a table of series: its frequency, its season, windows as long as it bears.

What is found here are parameters of the pipeline, each with its reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from kalecast.artifact.contract import Contract
from kalecast.data.series import SeriesError, frequency_step, in_words, tidy
from kalecast.data.usable import named, unanswered
from kalecast.data.windows import SEASONS_A_CYCLE

FINEST = pd.Timedelta("5min")
DAY = pd.Timedelta("1D")
WIDEST = len("validation_steps")
LEAST_KNOWN = 2
"""Seasons of history that a request must have at least, where all series have them."""


@dataclass(frozen=True)
class FittingPlan:
    """Lengths in seasons (days of hours, weeks of days), but for the number of test windows."""

    window: int
    horizon: int
    test_windows: int
    validation: int

    @property
    def held_out(self) -> int:
        """Seasons at a series' end that the network is judged on."""
        return self.test_windows * self.horizon

    @property
    def needed(self) -> int:
        """Seasons of a series with which it is judged, validated, and learnt from once."""
        return self.held_out + self.validation + self.window + self.horizon


PLANS = (
    FittingPlan(window=21, horizon=2, test_windows=7, validation=7),
    FittingPlan(window=21, horizon=2, test_windows=4, validation=7),
    FittingPlan(window=14, horizon=2, test_windows=3, validation=7),
    FittingPlan(window=14, horizon=2, test_windows=2, validation=4),
    FittingPlan(window=7, horizon=2, test_windows=1, validation=2),
    FittingPlan(window=4, horizon=1, test_windows=1, validation=1),
)
"""The fullest first, which is the pipeline's own; each next one for shorter series."""
# Days make weeks, and the network looks for them; weeks make nothing that it knows of.
WEEKLY_PLANS = tuple(replace(plan, window=min(plan.window, SEASONS_A_CYCLE)) for plan in PLANS)

VALUES_A_STEP = 512 * 24
"""Windows of a training step times steps of a season: what takes as long as the pipeline's own."""


@dataclass(frozen=True)
class Fit:
    """Parameters of the pipeline that suit some series, and why."""

    parameters: dict[str, str | int]
    reasons: dict[str, str]

    def __str__(self) -> str:
        """A line a parameter: its name, its value, the reason."""
        return "\n".join(
            f"{name:<{WIDEST}}  {value:>6}  {self.reasons[name]}"
            for name, value in self.parameters.items()
        )


def infer_frequency(frame: pd.DataFrame) -> str:
    """The frequency of series as their timestamps show it, as a pandas offset alias.

    The commonest distance between neighbouring timestamps counts; whether all others keep to it is
    for `kalecast.data.series.tidy` to say.

    Args:
        frame: as `kalecast.data.series.read_series` returns it.

    Raises:
        SeriesError: there are no two timestamps, or their distance is none that can be forecast.
    """
    ordered = frame.sort_values(["unique_id", "ds"])
    apart = ordered.groupby("unique_id")["ds"].diff()
    apart = apart[apart > pd.Timedelta(0)]
    if apart.empty:
        raise SeriesError("Expected a series with two different timestamps or more, received none.")
    step = apart.mode().iloc[0]
    if not FINEST <= step <= DAY or DAY % step:
        raise SeriesError(
            "Expected values at regular distances from 5 minutes to a day, so many a day; here "
            f"there is mostly one every {in_words(step)}. "
            + (
                "Coarser ones, such as weeks and months, are not forecast."
                if step > DAY
                else "Bring them to one value every hour or every day first (sum or average)."
            )
        )
    return str(pd.tseries.frequencies.to_offset(step).freqstr)


def rhythms(frequency: str) -> dict[str, int]:
    """Names and steps of the seasons that series of a frequency may have, the shortest first."""
    steps = DAY // frequency_step(frequency)
    if steps == 1:
        return {"week": 7, "year": 365}
    return {"day": steps, "week": SEASONS_A_CYCLE * steps}


def fit_to_data(series: pd.DataFrame, frequency: str) -> Fit:
    """Find parameters of the pipeline that suit series.

    Lengths go by the series of middle length, or by the longest one where that is too short; any
    shorter ones are padded as unknown.

    Args:
        series: tidy series.
        frequency: theirs.

    Raises:
        SeriesError: all series are too short; says what is needed.
    """
    name, season = next(iter(rhythms(frequency).items()))
    lengths = series.groupby("unique_id").size() // season
    plans = PLANS if name == "day" else WEEKLY_PLANS
    plan = _fullest(plans, int(lengths.median())) or _fullest(plans, int(lengths.max()))
    if plan is None:
        raise _too_short(series, plans[-1], name, season)
    shortest = int(series.groupby("unique_id").size().min())
    return _fit(plan, frequency, (name, season), shortest)


def lay_out(table: pd.DataFrame, frequency: str) -> pd.DataFrame:
    """`series.tidy`, whose refusal also says with which parameters the data would train.

    Raises:
        SeriesError: as for `tidy`.
    """
    try:
        return tidy(table, frequency)
    except SeriesError as error:
        raise SeriesError(f"{error}{_advice(table, frequency)}") from error


def answerable(series: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Those of the series that a model takes: long enough, and not all unknown of late."""
    refused = unanswered(series, contract.input_length, contract.minimum_history)
    return series[~series["unique_id"].isin(refused)].reset_index(drop=True)


def refused(series: pd.DataFrame, contract: Contract) -> list[str]:
    """A note that names the other series and says why a model does not take them, or none."""
    without = unanswered(series, contract.input_length, contract.minimum_history)
    return named("Not forecast", without)


def _advice(table: pd.DataFrame, frequency: str) -> str:
    """What to run such a table with, where its own frequency is another and suits it."""
    try:
        found = infer_frequency(table)
        if frequency_step(found) == frequency_step(frequency):
            return ""
        parameters = fit_to_data(tidy(table, found), found).parameters
    except SeriesError:
        return ""
    given = " ".join(f"{name}={value}" for name, value in parameters.items())
    return (
        f' These data train with PARAMS="{given}" behind make run or make pipeline; '
        "notebooks/own_data.ipynb finds such parameters by itself."
    )


def _fullest(plans: Sequence[FittingPlan], seasons: int) -> FittingPlan | None:
    return next((plan for plan in plans if plan.needed <= seasons), None)


def _too_short(series: pd.DataFrame, least: FittingPlan, name: str, season: int) -> SeriesError:
    sizes = series.groupby("unique_id").size()
    return SeriesError(
        f"Expected at least one series of {least.needed * season} steps or more "
        f"({_count(least.needed, name)}): {_count(least.held_out + least.validation, name)} to "
        f"judge a model on, {_count(least.window + least.horizon, name)} to learn from. The "
        f"longest, '{sizes.idxmax()}', has {int(sizes.max())}: bring a longer history."
    )


def _fit(plan: FittingPlan, frequency: str, rhythm: tuple[str, int], shortest: int) -> Fit:
    name, season = rhythm
    least = LEAST_KNOWN * season
    found: dict[str, tuple[str | int, str]] = {
        "frequency": (frequency, f"one value every {in_words(frequency_step(frequency))}"),
        "season": (season, f"steps in a {name}"),
        "input_length": (plan.window * season, f"{_count(plan.window, name)} are looked at"),
        "horizon": (plan.horizon * season, f"{_count(plan.horizon, name)} ahead"),
        "minimum_history": (
            min(least, shortest),
            f"{_count(LEAST_KNOWN, name)}, the least that a request must have"
            if shortest >= least
            else "the shortest series has no more",
        ),
        "test_windows": (
            plan.test_windows,
            f"the newest {_count(plan.held_out, name)} are held out, to judge the model on",
        ),
        "validation_steps": (
            plan.validation * season,
            f"{_count(plan.validation, name)} before them, to choose the best epoch",
        ),
        "batch_size": (
            min(512, VALUES_A_STEP // season),
            "windows a training step; the longer they are, the fewer",
        ),
    }
    return Fit(
        {parameter: value for parameter, (value, _) in found.items()},
        {parameter: reason for parameter, (_, reason) in found.items()},
    )


def _count(number: int, name: str) -> str:
    """A number of seasons as a reader would say it: `a day`, `3 weeks`."""
    return f"a {name}" if number == 1 else f"{number} {name}s"
