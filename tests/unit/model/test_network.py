"""The network forecasts sensibly from any history, and its file forecasts as it does."""

import functools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from sample_series import hourly_series

from kalecast.artifact.contract import ContractError
from kalecast.artifact.runtime import Forecaster
from kalecast.data.windows import SeriesStore
from kalecast.model.export import (
    TOLERANCE,
    ExportError,
    draft_contract,
    export_model,
    largest_difference,
)
from kalecast.model.network import (
    NetworkSettings,
    build_network,
    from_bytes,
    predict,
    to_bytes,
    to_onnx,
)
from kalecast.model.training import TrainingSettings, train

SHAPE = NetworkSettings(input_length=168, horizon=24, width=32, hour_width=8, blocks=1)
SHORT = TrainingSettings(epochs=3, steps_per_epoch=20, batch_size=64, validation_steps=48)


@pytest.fixture(scope="module")
def trained():
    frame = hourly_series()
    network, losses = train(frame, SHAPE, SHORT)
    return frame, network, losses


@pytest.fixture(scope="module", autouse=True)
def converted_once() -> Iterator[None]:
    """Converting a network takes seconds, and gives the same each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kalecast.model.export.to_onnx", functools.cache(to_onnx))
        yield


@pytest.fixture(scope="module")
def forecaster(trained) -> Forecaster:
    frame, network, _ = trained
    model_file, difference = export_model(
        network, draft_contract("forecaster", frame, SHAPE, "h", 48), frame
    )
    assert difference < TOLERANCE
    return Forecaster(model_file)


def strange_histories() -> dict[str, np.ndarray]:
    hour = np.arange(168)
    daily = 100 + 30 * np.sin(hour * 2 * np.pi / 24)
    gappy, a_day_gone, outlier, shifted, short = (daily.copy() for _ in range(5))
    gappy[np.random.default_rng(0).random(168) < 0.3] = np.nan
    a_day_gone[72:96] = np.nan
    outlier[100] = 1e6
    shifted[84:] += 1000
    short[:120] = np.nan
    return {
        "plain": daily,
        "gappy": gappy,
        "a day gone": a_day_gone,
        "outlier": outlier,
        "level shift": shifted,
        "two days": short,
        "one value": np.r_[np.full(167, np.nan), 5.0],
        "constant": np.full(168, 7.25),
        "zero": np.zeros(168),
        "negative": daily - 1000,
        "tiny": daily * 1e-300,
        "huge": daily * 1e97,
        "nothing known": np.full(168, np.nan),
    }


def test_every_history_gets_a_finite_forecast_whose_quantiles_do_not_cross(forecaster):
    histories = strange_histories()
    answers = forecaster.forecast_windows(np.stack(list(histories.values())))
    for name, answer in zip(histories, answers, strict=True):
        assert np.isfinite(answer).all(), name
        assert (np.diff(answer, axis=1) >= 0).all(), name


def test_constant_histories_stay_constant(forecaster):
    answers = forecaster.forecast([np.full(168, 7.25), np.zeros(168)])
    np.testing.assert_allclose(answers[0], 7.25)
    np.testing.assert_array_equal(answers[1], 0)


def test_the_unit_does_not_matter(forecaster):
    daily = strange_histories()["plain"]
    plain, scaled, moved = forecaster.forecast([daily, daily * 1000, daily - 5000])
    np.testing.assert_allclose(scaled, plain * 1000, rtol=1e-5)
    np.testing.assert_allclose(moved, plain - 5000, rtol=1e-5)


def test_gaps_hardly_change_a_regular_series(forecaster):
    histories = strange_histories()
    plain, gappy, gone = forecaster.forecast(
        [histories[name] for name in ("plain", "gappy", "a day gone")]
    )
    assert np.abs(gappy - plain).mean() < 10
    assert np.abs(gone - plain).mean() < 10


def test_the_file_forecasts_as_keras_does(trained, forecaster):
    frame, network, _ = trained
    store = SeriesStore.from_frame(frame, SHAPE.input_length)
    windows = np.concatenate(
        [store.windows(np.arange(4), np.full(4, at)) for at in (60, 200, 777, 1000)]
        + [np.stack(list(strange_histories().values()))]
    )
    reloaded = from_bytes(to_bytes(network))
    expected = predict(reloaded, windows)
    received = forecaster.forecast_windows(windows)
    assert largest_difference(expected, received, windows) < TOLERANCE
    np.testing.assert_array_equal(expected, predict(network, windows))


def test_training_improves_and_is_the_same_for_the_same_seed(trained):
    frame, network, losses = trained
    assert losses["val_loss"].min() < losses["val_loss"].iloc[0]
    again, losses_again = train(frame, SHAPE, SHORT)
    np.testing.assert_array_equal(losses["loss"], losses_again["loss"])
    for mine, its in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_training_survives_gaps_constant_and_short_series():
    frame = hourly_series(count=4, hours=300)
    frame.loc[frame.index % 3 == 0, "y"] = np.nan
    frame.loc[frame["unique_id"] == "series_1", "y"] = 5.0
    short = (frame["unique_id"] == "series_2") & (frame.groupby("unique_id").cumcount() >= 60)
    network, losses = train(frame[~short].reset_index(drop=True), SHAPE, SHORT)
    assert np.isfinite(losses[["loss", "val_loss"]].to_numpy()).all()
    assert all(np.isfinite(weights).all() for weights in network.get_weights())


def test_an_export_that_forecasts_otherwise_is_refused(trained, monkeypatch):
    frame, network, _ = trained
    other = build_network(SHAPE)
    monkeypatch.setattr("kalecast.model.export.predict", lambda _, windows: predict(other, windows))
    with pytest.raises(ExportError, match="Nothing is published"):
        export_model(network, draft_contract("forecaster", frame, SHAPE, "h", 48), frame)


def test_a_contract_for_another_network_is_refused(trained):
    frame, network, _ = trained
    contract = draft_contract("forecaster", frame, replace(SHAPE, horizon=48), "h", 48)
    with pytest.raises(ContractError):
        export_model(network, contract, frame)


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        *((NetworkSettings, {"input_length": length}) for length in (100, 72)),
        (NetworkSettings, {"dropout": 1.0}),
        (TrainingSettings, {"minutes": 0.0}),
        (TrainingSettings, {"learning_rate": -1.0}),
    ],
)
def test_impossible_settings_are_refused(settings: type, changes: dict):
    with pytest.raises(ValueError, match="Expected"):
        settings(**changes)


def test_a_series_that_is_mostly_nothing_can_be_exported():
    frame = hourly_series(count=3, hours=400)
    frame["y"] = 1.0 * (frame.groupby("unique_id").cumcount() % 97 == 96)
    network, _ = train(frame, SHAPE, replace(SHORT, epochs=1))
    contract = draft_contract("forecaster", frame, SHAPE, "h", 48)
    _, difference = export_model(network, contract, frame)
    assert difference < TOLERANCE
