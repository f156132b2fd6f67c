"""Settings that fit a table of series: its frequency, its season, windows as long as it bears.

What is found here are parameters of the pipeline, each with its reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from kalecast.artifact.contract import Contract
from kalecast.data.frequency import DAY as DAY  # noqa: PLC0414
from kalecast.data.frequency import frequency_of
from kalecast.data.frequency import infer_frequency as infer_frequency  # noqa: PLC0414
from kalecast.data.frequency import rhythms as rhythms  # noqa: PLC0414
from kalecast.data.series import SeriesError, tidy
from kalecast.data.steps import step_in_words, steps_in_words
from kalecast.data.usable import named, unanswered
from kalecast.data.windows import SEASONS_A_CYCLE, hold_out

WIDEST = len("validation_steps")
LEAST_KNOWN = 2
"""Seasons of history that a request must have at least, where all series have them."""
LEAST_WITHOUT_SEASON = 8
"""Steps of it, where there is no season."""
MOST_COMPARED = 200
"""Series by which it is found whether a year repeats itself."""


@dataclass(frozen=True)
class FittingPlan:
    """Lengths in steps, or in seasons (days of hours, weeks of days); the number of windows."""

    window: int
    horizon: int
    test_windows: int
    validation: int

    @property
    def held_out(self) -> int:
        """How much of a series' end the network is judged on."""
        return self.test_windows * self.horizon

    @property
    def needed(self) -> int:
        """How long a series is with which it is judged, validated, and learnt from once."""
        return self.held_out + self.validation + self.window + self.horizon

    def in_steps(self, season: int) -> "FittingPlan":
        """A plan in steps, of one in seasons."""
        lengths = (self.window, self.horizon, self.validation)
        window, horizon, validation = (season * length for length in lengths)
        return FittingPlan(window, horizon, self.test_windows, validation)


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
# Two hours ahead say little of a day: more of them are forecast to judge the network on.
HOURLY_PLANS = (FittingPlan(window=24, horizon=2, test_windows=36, validation=24), *PLANS)
SEASON_PLANS = {"hour": HOURLY_PLANS, "day": PLANS, "week": WEEKLY_PLANS}

YEAR_PLANS = {
    52: (
        FittingPlan(window=260, horizon=13, test_windows=4, validation=26),
        FittingPlan(window=208, horizon=13, test_windows=4, validation=26),
        FittingPlan(window=208, horizon=13, test_windows=1, validation=13),
    ),
    12: (
        FittingPlan(window=72, horizon=12, test_windows=3, validation=12),
        FittingPlan(window=60, horizon=12, test_windows=2, validation=12),
        FittingPlan(window=48, horizon=12, test_windows=1, validation=12),
    ),
    4: (
        FittingPlan(window=24, horizon=8, test_windows=2, validation=8),
        FittingPlan(window=16, horizon=8, test_windows=1, validation=4),
    ),
}
"""By steps in a year, and in steps: weeks, months and quarters that see years."""
YEARLESS_PLANS = {
    52: (
        FittingPlan(window=52, horizon=13, test_windows=4, validation=13),
        FittingPlan(window=26, horizon=13, test_windows=2, validation=13),
        FittingPlan(window=26, horizon=8, test_windows=1, validation=8),
        FittingPlan(window=13, horizon=4, test_windows=1, validation=4),
    ),
    12: (
        FittingPlan(window=24, horizon=12, test_windows=2, validation=12),
        FittingPlan(window=24, horizon=12, test_windows=1, validation=6),
        FittingPlan(window=12, horizon=6, test_windows=1, validation=3),
        FittingPlan(window=8, horizon=3, test_windows=1, validation=2),
    ),
    4: (
        FittingPlan(window=16, horizon=8, test_windows=1, validation=4),
        FittingPlan(window=8, horizon=4, test_windows=1, validation=2),
    ),
}
"""The same without: the season is a step, so that the newest values count, whatever the date."""

VALUES_A_STEP = 256 * 24
"""Windows of a training step times steps of a season: what takes as long as the pipeline's own."""


@dataclass(frozen=True)
class Rhythm:
    """What repeats itself, and its words."""

    frequency: str
    name: str
    season: int
    reason: str

    def in_words(self, steps: int) -> str:
        """So many steps in whole seasons, where they are some: `2 days`, `a year`, `13 weeks`."""
        if self.season == 1 or steps % self.season:
            return steps_in_words(steps, self.frequency)
        count = steps // self.season
        article = "an" if self.name == "hour" else "a"
        return f"{article} {self.name}" if count == 1 else f"{count} {self.name}s"


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


def fit_to_data(series: pd.DataFrame, frequency: str) -> Fit:
    """Find parameters of the pipeline that suit series.

    Lengths go by the series of middle length, or by the longest one where that is too short; any
    shorter ones are padded as unknown. A year is a season where the series are long enough for
    it and the value of a year before says more of the next ones than the newest value does.

    Args:
        series: tidy series.
        frequency: theirs.

    Raises:
        SeriesError: all series are too short; says what is needed.
    """
    name, season = next(iter(rhythms(frequency).items()))
    if name != "year":
        reason = f"steps in {'an' if name == 'hour' else 'a'} {name}"
        if name == "hour":
            reason += "; where days matter, bring the data to one value every 5 minutes or more"
        plans = [plan.in_steps(season) for plan in SEASON_PLANS[name]]
        return _fullest(series, plans, Rhythm(frequency, name, season, reason))
    reason = _against_a_year(series, season)
    if not reason:
        rhythm = Rhythm(frequency, name, season, "steps in a year")
        return _fullest(series, YEAR_PLANS[season], rhythm)
    return _fullest(series, YEARLESS_PLANS[season], Rhythm(frequency, name, 1, reason))


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
        if frequency_of(found).length == frequency_of(frequency).length:
            return ""
        parameters = fit_to_data(tidy(table, found), found).parameters
    except SeriesError:
        return ""
    given = " ".join(f"{name}={value}" for name, value in parameters.items())
    return (
        f' These data train with PARAMS="{given}" behind make run or make pipeline; '
        "notebooks/own_data.ipynb finds such parameters by itself."
    )


def _against_a_year(series: pd.DataFrame, season: int) -> str:
    """Why the years of series are not to be seen; empty where they are."""
    least = YEAR_PLANS[season][-1]
    if series.groupby("unique_id").size().median() < least.needed:
        return f"too short for a year, which takes {least.needed} values"
    history, _ = hold_out(series, least.held_out)
    if not _repeats(history, season, least.horizon):
        return "the newest value says more of the next than that of a year before"
    return ""


def _repeats(series: pd.DataFrame, season: int, horizon: int) -> bool:
    """Whether repeating the last season forecasts most series better than the last value does."""
    names = series["unique_id"].unique()
    chosen = names[:: -(-len(names) // MOST_COMPARED)]
    one_of_them = series["unique_id"].isin(chosen)
    grouped = series[one_of_them].groupby("unique_id")["y"]
    by_name = series.loc[one_of_them, "unique_id"]

    def error(apart: int) -> pd.Series:
        return grouped.diff(apart).abs().groupby(by_name).mean()

    ahead = range(1, horizon + 1)
    repeated = pd.concat([error(-(-step // season) * season) for step in ahead], axis=1)
    newest = pd.concat([error(step) for step in ahead], axis=1)
    return not (repeated.mean(axis=1) / newest.mean(axis=1)).median() >= 1.0


def _fullest(series: pd.DataFrame, plans: Sequence[FittingPlan], rhythm: Rhythm) -> Fit:
    """Parameters by the first plan for which the series of middle length, or any, is enough."""
    lengths = series.groupby("unique_id").size()
    for length in (lengths.median(), lengths.max()):
        for plan in plans:
            if plan.needed <= length:
                return _fit(plan, rhythm, int(lengths.min()))
    least, words = plans[-1], rhythm.in_words
    raise SeriesError(
        f"Expected at least one series of {least.needed} steps or more "
        f"({words(least.needed)}): {words(least.held_out + least.validation)} to "
        f"judge a model on, {words(least.window + least.horizon)} to learn from. The "
        f"longest, '{lengths.idxmax()}', has {int(lengths.max())}: bring a longer history."
    )


def _fit(plan: FittingPlan, rhythm: Rhythm, shortest: int) -> Fit:
    season, words = rhythm.season, rhythm.in_words
    least = LEAST_KNOWN * season if season > 1 else LEAST_WITHOUT_SEASON
    found: dict[str, tuple[str | int, str]] = {
        "frequency": (rhythm.frequency, f"one value every {step_in_words(rhythm.frequency)}"),
        "season": (season, rhythm.reason),
        "input_length": (plan.window, f"{words(plan.window)} are looked at"),
        "horizon": (plan.horizon, f"{words(plan.horizon)} ahead"),
        "minimum_history": (
            min(least, shortest),
            f"{words(least)}, the least that a request must have"
            if shortest >= least
            else "the shortest series has no more",
        ),
        "test_windows": (
            plan.test_windows,
            f"the newest {words(plan.held_out)} are held out, to judge the model on",
        ),
        "validation_steps": (
            plan.validation,
            f"{words(plan.validation)} before them, to choose the best epoch",
        ),
        "batch_size": (
            min(256, VALUES_A_STEP // season),
            "windows a training step; the longer they are, the fewer",
        ),
    }
    return Fit(
        {parameter: value for parameter, (value, _) in found.items()},
        {parameter: reason for parameter, (_, reason) in found.items()},
    )
