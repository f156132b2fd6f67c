"""Training: the same for a seed, interrupted or not; watched; calibrated; bounded in memory."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sample_series import hourly_series

from kalecast.data.examples import Examples
from kalecast.data.large_series import map_parquet
from kalecast.data.series import SeriesError, tidy
from kalecast.data.windows import SeriesStore, split_cutoffs
from kalecast.model import training
from kalecast.model.checkpoints import Checkpoint
from kalecast.model.network import NetworkSettings, build_network, predict
from kalecast.model.pretrained import pretrained_weights, start_from_pretrained
from kalecast.model.training import TrainingSettings, train, validation_error

SHAPE = NetworkSettings(input_length=168, horizon=24, width=32, hour_width=8, blocks=1)
# Of a time that a busy machine does not spend: what ends a training decides its network.
SHORT = TrainingSettings(
    epochs=3, steps_per_epoch=15, batch_size=64, validation_steps=96, minutes=60.0
)


@pytest.fixture(scope="module")
def whole():
    return train(hourly_series(), SHAPE, SHORT)


def same_weights(one, other) -> bool:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(mine, its) for mine, its in pairs)


@contextmanager
def interrupted_after(epochs: int, monkeypatch) -> Iterator[pytest.MonkeyPatch]:
    """An interruption of the training in the block, once the state of so many epochs is saved."""

    def save(self, arrays, notes) -> None:
        whole_save(self, arrays, notes)
        saved.append(notes)
        if len(saved) == epochs:
            raise KeyboardInterrupt

    whole_save, saved = Checkpoint.save, []
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Checkpoint, "save", save)
        yield patched


@pytest.mark.parametrize("stopped_after", [1, 2, 3])
def test_an_interrupted_training_goes_on_to_the_same_network(
    whole, stopped_after: int, tmp_path: Path, monkeypatch, capsys
):
    with interrupted_after(stopped_after, monkeypatch):
        train(hourly_series(), SHAPE, SHORT, tmp_path)
    network, losses = train(hourly_series(), SHAPE, SHORT, tmp_path)
    assert f"going on after epoch {stopped_after}" in capsys.readouterr().out
    assert same_weights(whole[0], network)
    columns = ["epoch", "loss", "val_loss", "val_error"]
    pd.testing.assert_frame_equal(whole[1][columns], losses[columns], check_exact=True)
    assert losses["seconds"].is_monotonic_increasing
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"patience": 1, "learning_rate": 0.05}, "no smaller validation error for 1 epochs"),
        ({"minutes": 0.001}, "the time budget of 0.001 minutes ends training"),
    ],
)
def test_a_search_ends_early_says_why_and_is_not_gone_on_with(
    changes: dict, why: str, tmp_path: Path, monkeypatch, capsys
):
    noise = hourly_series(count=2)
    noise["y"] = np.random.default_rng(0).normal(size=len(noise))
    settings = replace(SHORT, epochs=60, **changes)
    whole, losses = train(noise, SHAPE, settings)
    assert len(losses) < 60
    ended = capsys.readouterr().out.splitlines()[-2]
    assert why in ended
    with interrupted_after(len(losses), monkeypatch):
        train(noise, SHAPE, settings, tmp_path)
    network, again = train(noise, SHAPE, settings, tmp_path)
    assert capsys.readouterr().out.splitlines()[-2] == ended
    assert len(again) == len(losses)
    assert same_weights(whole, network)


def test_other_data_or_settings_do_not_take_up_a_checkpoint(tmp_path: Path):
    values = np.arange(3.0)
    names = {
        Checkpoint.of(tmp_path, SHAPE, settings, array).path
        for settings in (SHORT, replace(SHORT, seed=2))
        for array in (values, values + 1)
    }
    assert len(names) == 4


def test_a_checkpoint_of_another_network_of_the_same_settings_is_left_alone(
    whole, tmp_path: Path, monkeypatch, capsys
):
    with interrupted_after(1, monkeypatch) as patched:
        patched.setattr(
            training, "build_network", lambda shape: build_network(replace(shape, width=16))
        )
        train(hourly_series(), SHAPE, SHORT, tmp_path)
    network, _ = train(hourly_series(), SHAPE, SHORT, tmp_path)
    assert "going on" not in capsys.readouterr().out
    assert same_weights(whole[0], network)


def damages(whole: bytes) -> Iterator[bytes]:
    """What a power loss or a bad disk may leave of a file."""
    yield b""
    yield b"\0" * len(whole)
    for length in (1, 100, len(whole) // 2, len(whole) - 1):
        yield whole[:length]
    flipped = np.random.default_rng(0).integers(len(whole), size=(40, 1))
    for places in flipped:
        content = np.frombuffer(whole, np.uint8).copy()
        content[places] ^= 0x55
        yield content.tobytes()


def test_a_damaged_checkpoint_is_no_checkpoint_and_named(tmp_path: Path, capsys):
    checkpoint = Checkpoint.of(tmp_path, "training")
    checkpoint.save({"state": [np.arange(5.0)], "best": []}, {"rows": [{"epoch": 1}]})
    assert checkpoint.load() is not None
    assert capsys.readouterr().out == ""
    for damaged in damages(checkpoint.path.read_bytes()):
        checkpoint.path.write_bytes(damaged)
        assert checkpoint.load() is None
        said = capsys.readouterr().out
        assert said.count("\n") == 1 and checkpoint.path.name in said
        assert not checkpoint.path.exists()
    assert checkpoint.load() is None
    assert capsys.readouterr().out == "", "that there is none yet is no damage"


@pytest.mark.parametrize("arrays", [{}, {"state": [np.zeros(3)], "averaged": [], "best": []}])
def test_a_checkpoint_of_other_shapes_is_named_and_training_begins_anew(
    whole, arrays: dict, tmp_path: Path, monkeypatch, capsys
):
    path = tmp_path / "training-0.npz"
    monkeypatch.setattr(Checkpoint, "of", lambda *_: Checkpoint(path))
    Checkpoint(path).save(arrays, {"rows": [], "averaged_over": 1})
    network, _ = train(hourly_series(), SHAPE, SHORT, tmp_path)
    assert f"'{path}' is damaged" in capsys.readouterr().out
    assert same_weights(whole[0], network)


def test_a_full_disk_is_said_and_training_goes_on(tmp_path: Path, capsys):
    checkpoint = Checkpoint.of(tmp_path, "training")
    checkpoint.save({"state": [np.arange(5.0)]}, {"rows": [1]})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        checkpoint.save({"state": [np.zeros(100_000)]}, {"rows": [1, 2]})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"could not be written to '{checkpoint.path}'" in capsys.readouterr().out
    left = checkpoint.load()
    assert left is not None and left[1] == {"rows": [1]}
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.path.name]


def test_every_epoch_is_reported_with_its_losses_and_the_time_left(capsys):
    train(hourly_series(count=2), SHAPE, SHORT)
    lines = capsys.readouterr().out.splitlines()
    assert sum("validation" in line and "s left" in line for line in lines) == SHORT.epochs
    assert any(line.startswith("all 3 epochs done: epoch") for line in lines)


def test_a_start_that_no_epoch_betters_is_kept(capsys):
    harmful = replace(SHORT, learning_rate=10.0, steps_per_epoch=60)
    shape = NetworkSettings(input_length=168, horizon=24)
    network, _ = train(hourly_series(), shape, harmful)
    said = capsys.readouterr().out
    assert "epoch 0 is kept" in said and "0 steps to finish" in said
    for mine, shipped in zip(network.trainable_variables, pretrained_weights(), strict=True):
        np.testing.assert_array_equal(mine.numpy(), shipped)


def test_other_widths_and_a_wish_start_from_nothing(capsys):
    network = build_network(SHAPE)
    before = network.get_weights()
    assert not start_from_pretrained(network)
    assert all(map(np.array_equal, before, network.get_weights()))
    harmful = replace(SHORT, learning_rate=5.0, pretrained=False, epochs=1)
    train(hourly_series(), NetworkSettings(input_length=168, horizon=24), harmful)
    assert "epoch 1 is kept" in capsys.readouterr().out


@pytest.mark.parametrize("lowest", [0.0, -5.0])
def test_no_forecast_is_negative_where_no_value_was(lowest: float):
    frame = hourly_series(count=2, hours=600)
    frame["y"] = np.maximum(np.random.default_rng(0).normal(size=len(frame)), lowest)
    network, _ = train(frame, SHAPE, SHORT)
    store = SeriesStore.from_frame(frame, 168)
    forecast = predict(network, store.windows(np.array([0, 1]), np.array([600, 600])))
    assert (forecast.min() == 0.0) == (lowest == 0.0)
    assert (forecast.min() < 0.0) == (lowest < 0.0)


def test_what_is_searched_for_is_what_training_minimises(whole):
    assert validation_error(hourly_series(), SHAPE, SHORT) == whole[1]["val_error"].min()


def test_drawn_examples_are_gappy_and_short_at_times_and_the_same_for_a_seed():
    store = SeriesStore.from_frame(hourly_series(), 168)
    cutoffs = split_cutoffs(store, 24, 96, 168).training
    examples = Examples(store, 24, 24, 48)
    history, target, weight = examples.draw(cutoffs, 512, (1, 2))
    unknown = np.isnan(history)
    assert 0.3 < unknown.any(axis=1).mean() < 0.8
    short = unknown[:, :24].all(axis=1) & ~unknown[:, -48:].all(axis=1)
    assert 0.02 < short.mean() < 0.3
    assert not np.isnan(target).any()
    assert np.isfinite(weight).all()
    for mine, again in zip(
        (history, target, weight), examples.draw(cutoffs, 512, (1, 2)), strict=True
    ):
        np.testing.assert_array_equal(mine, again)


def test_constant_windows_teach_nothing():
    frame = hourly_series(count=1).assign(y=5.0)
    store = SeriesStore.from_frame(frame, 168)
    series = np.zeros(3, dtype=np.int64)
    _, _, weight = Examples(store, 24, 24, 48).cut(series, np.array([200, 300, 400]))
    assert (weight == 0).all()


@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e9])
def test_intervals_hold_what_they_promise_on_hours_not_seen(unit: float):
    frame = hourly_series(count=8, hours=1500, seed=3)
    frame["y"] = frame.groupby("unique_id")["y"].transform(lambda y: (y - y.mean()) * unit)
    network, _ = train(
        frame[frame.groupby("unique_id").cumcount() < 1200].reset_index(drop=True), SHAPE, SHORT
    )
    store = SeriesStore.from_frame(frame, 168)
    series, cutoffs = np.repeat(np.arange(8), 23), np.tile(np.arange(1200, 1476, 12), 8)
    forecast = predict(network, store.windows(series, cutoffs))
    actual = store.targets(series, cutoffs, 24)
    for low, high, promised in ((1, 3, 0.8), (0, 4, 0.95)):
        inside = (actual >= forecast[:, :, low]) & (actual <= forecast[:, :, high])
        assert abs(inside.mean() - promised) < 0.05


def test_validation_hours_that_say_nothing_are_survived():
    frame = hourly_series(count=2, hours=500)
    late = frame.groupby("unique_id").cumcount() >= 220
    frame.loc[late, "y"] = 7.0
    network, losses = train(frame, SHAPE, SHORT)
    assert np.isfinite(losses.to_numpy()).all()
    assert all(np.isfinite(weights).all() for weights in network.get_weights())


def written(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_parquet(path, row_group_size=700)
    return path


def test_a_mapped_parquet_file_trains_as_the_frame_does(whole, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("kalecast.data.large_series.ROWS_AT_A_TIME", 650)
    frame = hourly_series()
    source = written(frame, tmp_path / "series.parquet")
    store = map_parquet(source, tmp_path / "values", SHAPE.input_length)
    expected = SeriesStore.from_frame(frame, SHAPE.input_length)
    assert store.names == expected.names
    np.testing.assert_array_equal(store.values, expected.values)
    np.testing.assert_array_equal(store.starts, expected.starts)
    assert isinstance(store.values, np.memmap)
    assert same_weights(train(store, SHAPE, SHORT)[0], whole[0])


def test_mapping_keeps_gaps_and_refuses_what_it_cannot_map(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("kalecast.data.large_series.ROWS_AT_A_TIME", 500)
    frame = hourly_series(count=2)
    gappy = frame[frame.index % 7 != 3].reset_index(drop=True)
    store = map_parquet(written(gappy, tmp_path / "gappy.parquet"), tmp_path / "values", 168)
    expected = SeriesStore.from_frame(tidy(gappy), 168)
    np.testing.assert_array_equal(store.values, expected.values)
    torn = pd.concat([frame[:500], frame[1000:], frame[500:1000]], ignore_index=True)
    with pytest.raises(SeriesError, match="'series_0' begins again"):
        map_parquet(written(torn, tmp_path / "torn.parquet"), tmp_path / "values", 168)
    with pytest.raises(SeriesError, match="column 'y'"):
        map_parquet(written(frame.drop(columns="y"), tmp_path / "no_y"), tmp_path / "values", 168)
    (tmp_path / "text").write_text("no parquet")
    with pytest.raises(SeriesError, match="whole Parquet file"):
        map_parquet(tmp_path / "text", tmp_path / "values", 168)
