"""What cannot be learnt from, judged or forecast is named first, and costs the others nothing."""

import numpy as np
import pandas as pd
import pytest

from kalecast.data.series import SeriesError
from kalecast.data.usable import Lengths, require_usable, seasonal_scale

LENGTHS = Lengths("h", 24, 168, 24, 48, test_windows=2)


def table(name: str, steps: int = 600, known: slice = slice(None)) -> pd.DataFrame:
    """A noisy daily rhythm, known in a part alone."""
    rng = np.random.default_rng(len(name))
    whole = 100.0 + np.arange(steps) % 24 + rng.normal(size=steps)
    y = np.full(steps, np.nan)
    y[known] = whole[known]
    timestamps = pd.date_range("2026-01-01", periods=steps, freq="h")
    return pd.DataFrame({"unique_id": name, "ds": timestamps, "y": y})


def joined(*tables: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True)


def test_each_series_that_something_cannot_be_done_with_is_named_and_why():
    series = joined(
        table("good"),
        table("short", 40),
        table("silent", known=slice(0, 380)),
        table("late", known=slice(580, None)),
        table("level").assign(y=5.0),
    )
    learnt, judged, forecast = require_usable(series, LENGTHS)
    assert learnt.startswith("Not learnt from: ") and judged.startswith("Not judged: ")
    assert "'short' (it has 40 values, 120 are needed)" in learnt
    assert "'late' (no value is known before the held-out ones)" in learnt
    assert "'silent' (its newest 48 hours are missing)" in judged
    assert "'level' (it hardly ever changes before the held-out steps)" in judged
    assert "'silent' (its newest 168 values are missing)" in forecast
    assert "'short' (it has 40 values, 48 are needed)" in forecast
    assert not any("'good'" in note for note in (learnt, judged, forecast))


def test_good_series_need_no_word():
    assert require_usable(joined(table("one"), table("other", 700)), LENGTHS) == []


def test_many_series_are_named_in_a_line():
    many = joined(table("good"), *(table(f"short_{at}", 50) for at in range(40)))
    (learnt, judged) = require_usable(many, LENGTHS)
    assert learnt.endswith("; and 30 more.") and judged.endswith("; and 30 more.")


@pytest.mark.parametrize(
    ("frequency", "words"), [("h", "48 hours"), ("15min", "48 quarter-hours"), ("D", "48 days")]
)
def test_where_the_newest_of_all_are_unknown_nothing_is_trained(frequency: str, words: str):
    lengths = Lengths(frequency, 24, 168, 24, 48, test_windows=2)
    silent = joined(*(table(name, known=slice(0, 552)) for name in ("one", "other")))
    with pytest.raises(SeriesError, match=f"The newest {words} of every series are missing"):
        require_usable(silent, lengths)
    assert require_usable(joined(silent, table("good")), lengths)


def test_where_no_series_can_be_judged_each_ones_reason_is_said():
    series = joined(table("late", known=slice(0, 552)), table("short", 90))
    with pytest.raises(SeriesError, match=r"'late' \(its newest 48.*'short' \(it has 90 values"):
        require_usable(series, LENGTHS)


def test_outliers_carry_no_scale_and_a_series_that_hardly_changes_has_none():
    series = table("one")
    spiky = series.copy()
    spiky.loc[[10, 300, 301], "y"] = 2.0**32
    whole, robust = (seasonal_scale(one, 24).iloc[0] for one in (series, spiky))
    assert robust == pytest.approx(whole, rel=0.02)
    level = table("level").assign(y=5.0)
    level.loc[[10, 300], "y"] = 2.0**32
    assert seasonal_scale(level, 24).isna().all()
    exact = table("exact")
    exact["y"] = exact["ds"].dt.hour.astype(float)
    assert seasonal_scale(exact, 24).iloc[0] == pytest.approx(exact["y"].diff().abs().mean())
