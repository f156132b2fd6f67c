"""Settings that fit the data: frequency, season, lengths, and what is said where none fit."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from model_files import contract

from kalecast.artifact.runtime import Forecaster
from kalecast.data.fitting import (
    answerable,
    fit_to_data,
    infer_frequency,
    lay_out,
    refused,
    rhythms,
)
from kalecast.data.series import SeriesError, read_series, tidy
from kalecast.data.windows import hold_out, require_learnable
from kalecast.evaluation.backtest import backtest, models_of, score_series, summarise
from kalecast.evaluation.card import model_card
from kalecast.model.export import draft_contract, export_model
from kalecast.model.network import NetworkSettings, predict
from kalecast.model.parameters import check_parameters
from kalecast.model.training import TrainingSettings, train


def table(steps: int, freq: str = "h", name: str = "one", start: str = "2026-01-01"):
    timestamps = pd.date_range(start, periods=steps, freq=freq)
    return pd.DataFrame({"unique_id": name, "ds": timestamps, "y": np.arange(float(steps)) % 7})


@pytest.mark.parametrize(
    ("freq", "expected", "season"),
    [
        ("h", "h", {"day": 24, "week": 168}),
        ("30min", "30min", {"day": 48, "week": 336}),
        ("15min", "15min", {"day": 96, "week": 672}),
        ("60min", "h", {"day": 24, "week": 168}),
        ("6h", "6h", {"day": 4, "week": 28}),
        ("D", "D", {"week": 7, "year": 365}),
        ("5min", "5min", {"day": 288, "week": 2016}),
        ("min", "min", {"hour": 60, "day": 1440}),
        ("B", "B", {"week": 5, "year": 260}),
        ("W-MON", "W-MON", {"year": 52}),
        ("MS", "MS", {"year": 12}),
        ("ME", "ME", {"year": 12}),
        ("QS", "QS-JAN", {"year": 4}),
        ("QS-FEB", "QS-FEB", {"year": 4}),
        ("QE", "QE-DEC", {"year": 4}),
    ],
)
def test_the_frequency_is_that_of_the_timestamps_in_any_order(
    freq: str, expected: str, season: dict
):
    mixed = table(200, freq).sample(frac=1, random_state=0)
    assert infer_frequency(read_series(mixed)) == expected
    assert rhythms(expected) == season


def test_gaps_do_not_hide_the_frequency():
    rng = np.random.default_rng(0)
    gappy = table(2000, "30min").drop(index=rng.choice(2000, 800, replace=False))
    assert infer_frequency(gappy) == "30min"


def test_timestamps_with_offsets_are_one_clock_across_a_change_of_it():
    local = pd.date_range("2026-03-20", "2026-04-05", freq="h", tz="Europe/Paris")
    timestamps = [timestamp.isoformat() for timestamp in local]
    series = read_series(pd.DataFrame({"ds": timestamps, "y": 1.0}))
    assert infer_frequency(series) == "h"
    assert len(tidy(series, "h")) == len(local)


@pytest.mark.parametrize(
    ("series", "part"),
    [
        (table(50, "YS"), "one every year.*every month or every quarter"),
        (table(50, "2MS"), "one every 2 months.*every month or every quarter"),
        (table(50, "28D"), "one every 4 weeks.*every week or every month"),
        (table(50, "2W"), "one every 14 days.*every day or every week"),
        (table(50, "7h"), "one every 7 hours.*every hour or every day"),
        (table(50, "7min"), "one every 7 minutes.*every hour or every day"),
        (table(50, "s"), "one every second.*every minute"),
        (table(1), "two different timestamps"),
    ],
)
def test_frequencies_that_are_none_are_refused_in_words(series: pd.DataFrame, part: str):
    with pytest.raises(SeriesError, match=part):
        infer_frequency(series)


def test_irregular_timestamps_are_named():
    series = table(100)
    series.loc[40, "ds"] += pd.Timedelta("7min")
    with pytest.raises(SeriesError, match="67 minutes later"):
        tidy(series, infer_frequency(series))


def test_long_series_get_the_pipelines_own_settings():
    found = fit_to_data(table(5000), "h").parameters
    defaults = NetworkSettings(), TrainingSettings()
    own = {name: value for settings in defaults for name, value in vars(settings).items()}
    assert {name: own.get(name, value) for name, value in found.items()} == found
    assert found["test_windows"] == 7


@pytest.mark.parametrize("days", range(7, 60))
def test_whatever_is_suggested_can_be_trained_and_judged(days: int):
    series = table(24 * days)
    found = fit_to_data(series, "h").parameters
    held_out = int(found["test_windows"]) * int(found["horizon"])
    needed = int(found["input_length"]) + int(found["horizon"]) + int(found["validation_steps"])
    require_learnable(series, held_out, needed)
    NetworkSettings(**{name: found[name] for name in ("input_length", "horizon", "season")})


def test_two_weeks_are_enough_and_six_days_are_reported_what_is():
    assert fit_to_data(table(14 * 24), "h").parameters["input_length"] == 7 * 24
    with pytest.raises(SeriesError, match=r"168 steps or more \(7 days\).*'one', has 144"):
        fit_to_data(table(6 * 24), "h")


def test_daily_values_have_weeks_for_seasons():
    found = fit_to_data(table(730, "D"), "D").parameters
    assert (found["season"], found["input_length"], found["horizon"]) == (7, 49, 14)
    with pytest.raises(SeriesError, match="7 weeks"):
        fit_to_data(table(48, "D"), "D")


def yearly(steps: int, freq: str, season: int, name: str = "one") -> pd.DataFrame:
    """A series whose years are alike but for a little noise."""
    shape = np.random.default_rng(season).normal(size=season)
    noise = np.random.default_rng(steps).normal(scale=0.1, size=steps)
    return table(steps, freq, name, "1990-01-01").assign(y=np.resize(shape, steps) + noise)


YEARS = [("W-MON", 52, 13), ("MS", 12, 12), ("ME", 12, 12), ("QS-JAN", 4, 8)]


@pytest.mark.parametrize(("freq", "season", "horizon"), YEARS)
def test_long_weeks_months_and_quarters_see_years(freq: str, season: int, horizon: int):
    fit = fit_to_data(yearly(12 * season, freq, season), freq)
    found = fit.parameters
    assert (found["season"], found["horizon"]) == (season, horizon)
    assert found["input_length"] % season == 0
    assert found["input_length"] >= 4 * season
    assert fit.reasons["season"] == "steps in a year"
    assert " years are looked at" in fit.reasons["input_length"]


@pytest.mark.parametrize(("freq", "season", "horizon"), YEARS)
def test_where_a_year_is_too_short_or_says_little_it_is_said(freq: str, season: int, horizon: int):
    unit = {52: "weeks", 12: "months", 4: "quarters"}[season]
    short = fit_to_data(yearly(4 * season + 8, freq, season), freq)
    assert short.parameters["season"] == 1
    assert short.reasons["season"].startswith("too short for a year, which takes ")
    assert short.reasons["input_length"].endswith(f"{unit} are looked at")
    walk = yearly(12 * season, freq, season)
    walk["y"] = np.random.default_rng(0).normal(size=len(walk)).cumsum()
    found = fit_to_data(walk, freq)
    assert found.parameters["season"] == 1
    assert (
        found.reasons["season"]
        == "the newest value says more of the next than that of a year before"
    )
    assert found.parameters["horizon"] == horizon


@pytest.mark.parametrize("freq", ["W-SUN", "MS", "QS"])
@pytest.mark.parametrize("steps", [*range(10, 140, 9), 150, 250, 400])
def test_whatever_is_suggested_of_longer_steps_can_be_trained_and_judged(freq: str, steps: int):
    series = yearly(steps, freq, {"W-SUN": 52, "MS": 12, "QS": 4}[freq])
    try:
        found = fit_to_data(series, freq).parameters
    except SeriesError as error:
        assert f"'one', has {steps}: bring a longer history" in str(error)
        assert steps < 26
        return
    check_parameters(**found)
    held_out = int(found["test_windows"]) * int(found["horizon"])
    needed = int(found["input_length"]) + int(found["horizon"]) + int(found["validation_steps"])
    require_learnable(series, held_out, needed)
    NetworkSettings(**{name: found[name] for name in ("input_length", "horizon", "season")})


def test_business_days_have_weeks_of_five():
    fit = fit_to_data(table(400, "B"), "B")
    names = ("season", "input_length", "horizon")
    assert [fit.parameters[name] for name in names] == [5, 35, 10]
    assert fit.reasons["frequency"] == "one value every business day"
    assert fit.reasons["horizon"] == "2 weeks ahead"


def test_minutes_have_hours_for_seasons_and_say_how_days_are_seen():
    fit = fit_to_data(table(10_000, "min"), "min")
    names = ("season", "input_length", "horizon", "test_windows")
    assert [fit.parameters[name] for name in names] == [60, 1440, 120, 36]
    assert "where days matter, bring the data to one value every 5" in fit.reasons["season"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("freq", "steps", "season"),
    [("MS", 200, 12), ("W-SUN", 400, 52), ("W-SUN", 80, 1)],
)
def test_series_of_longer_steps_are_trained_on_and_forecast_from_the_file(
    freq: str, steps: int, season: int
):
    year = {"W": 52, "M": 12}[freq[0]]
    series = tidy(pd.concat([yearly(steps, freq, year, name) for name in "abc"]), freq)
    found = fit_to_data(series, infer_frequency(series)).parameters
    assert (found["season"], found["frequency"]) == (season, freq)
    held_out = int(found["test_windows"]) * int(found["horizon"])
    history, _ = hold_out(series, held_out)
    shape = NetworkSettings(
        **{name: found[name] for name in ("input_length", "horizon", "season")}, width=16
    )
    few = ("minimum_history", "validation_steps")
    settings = TrainingSettings(
        epochs=1, steps_per_epoch=2, batch_size=32, **{name: int(found[name]) for name in few}
    )
    network, _ = train(history, shape, settings)
    draft = draft_contract("longer", history, shape, freq, settings.minimum_history)
    judged = backtest(partial(predict, network), series, draft, int(found["test_windows"]))
    assert len(models_of(judged)) == 2
    scores = score_series(judged, history, season)
    assert np.isfinite(list(summarise(scores).values())).all()
    card = model_card(draft, judged, scores)
    assert "hour" not in card and " day" not in card
    content, difference = export_model(network, replace(draft, card=card), history)
    assert difference < 1e-3
    forecaster = Forecaster(content)
    gappy = series["y"].to_numpy()[:steps].copy()
    gappy[[-1, -5]] = np.nan
    assert np.isfinite(forecaster.forecast([gappy, gappy[-settings.minimum_history :]])).all()


def test_longer_windows_come_fewer_at_a_time():
    seasons = {"h": 24, "30min": 48, "15min": 96}
    fits = [fit_to_data(table(60 * steps, freq), freq) for freq, steps in seasons.items()]
    assert [fit.parameters["batch_size"] for fit in fits] == [256, 128, 64]


def test_lengths_go_by_the_series_in_the_middle():
    series = pd.concat([table(24 * days, name=f"s{days}") for days in (1, 15, 16, 200)])
    found = fit_to_data(series, "h").parameters
    assert found["input_length"] == 7 * 24
    assert found["minimum_history"] == 24  # the shortest can be requested, too
    few = pd.concat([table(24, name=f"s{at}") for at in range(5)] + [table(2000, name="long")])
    assert fit_to_data(few, "h").parameters["input_length"] == 21 * 24


def test_each_parameter_has_its_reason():
    fit = fit_to_data(table(2000), "h")
    assert fit.parameters.keys() == fit.reasons.keys()
    assert "horizon               48  2 days ahead" in str(fit).splitlines()


def test_series_that_no_model_takes_are_left_out_of_the_answer():
    unknown = table(500, name="unknown")
    unknown.loc[100:, "y"] = np.nan
    series = pd.concat([table(500), table(10, name="short"), unknown])
    assert set(answerable(series, contract())["unique_id"]) == {"one"}
    (note,) = refused(series, contract())
    assert "'short' (it has 10 values" in note and "'unknown' (its newest 168 values" in note
    assert refused(table(500), contract()) == []


@pytest.mark.parametrize(("freq", "steps"), [("D", 730), ("3h", 400), ("15min", 3000)])
def test_data_of_another_frequency_are_reported_with_which_parameters_they_train(
    freq: str, steps: int
):
    series = table(steps, freq)
    with pytest.raises(SeriesError, match=r"own_data\.ipynb") as refusal:
        lay_out(series, "h")
    given = str(refusal.value).partition('PARAMS="')[2].partition('"')[0]
    texts = dict(pair.split("=") for pair in given.split())
    assert texts == {name: str(v) for name, v in fit_to_data(series, freq).parameters.items()}
    values = {name: value if name == "frequency" else int(value) for name, value in texts.items()}
    check_parameters(**values)
    assert len(lay_out(series, values["frequency"])) == steps


def test_what_no_parameters_mend_is_said_alone():
    odd = table(400)
    odd.loc[7, "ds"] += pd.Timedelta("7min")
    with pytest.raises(SeriesError, match="67 minutes later") as refusal:
        lay_out(odd, "h")
    assert "PARAMS" not in str(refusal.value)
