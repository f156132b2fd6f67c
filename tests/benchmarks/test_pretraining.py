"""The pretrained start: learnt without what is scored on, and a start for any length."""

from pathlib import Path

import numpy as np
import pytest
from sample_series import hourly_series

from benchmarks.accuracy import pretraining
from kalecast.model import pretrained
from kalecast.model.network import NetworkSettings, build_network


@pytest.fixture
def table(tmp_path: Path) -> Path:
    hourly_series(count=3, hours=2000).to_csv(tmp_path / "hours.csv", index=False)
    return tmp_path / "hours.csv"


def test_a_table_is_learnt_at_its_own_and_coarser_frequencies_without_its_newest(table: Path):
    tables = pretraining.tables_of(table)
    whole = hourly_series(count=3, hours=2000)["y"].to_numpy().reshape(3, 2000)[:, :1600]
    by_season = {found.season: found for found in tables}
    assert set(by_season) == {24, 12, 8, 6, 4, 3, 7, 1, 5}
    np.testing.assert_allclose(np.stack(by_season[24].series), whole)
    days = whole[:, 1600 % 24 :].reshape(3, -1, 24).sum(axis=2)
    np.testing.assert_allclose(np.stack(by_season[7].series), days)


@pytest.mark.parametrize("season", [1, 7, 24, 52])
def test_made_up_series_are_finite_and_the_same_for_a_seed(season: int):
    for seed in range(40):
        series = pretraining.made_up(season, np.random.default_rng(seed))
        assert np.isfinite(series).all() and len(series) >= 160
        again = pretraining.made_up(season, np.random.default_rng(seed))
        np.testing.assert_array_equal(series, again)


@pytest.mark.slow
def test_what_was_learnt_starts_a_network_of_other_lengths(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output = tmp_path / "start.npz"
    monkeypatch.setattr(pretraining, "LENGTHS", {24: ((7, 24),), 7: ((7, 7),)})
    monkeypatch.setattr(pretraining, "SYNTHETIC", 4)
    monkeypatch.setattr("sys.argv", ["", str(table), "--steps", "8", "--output", str(output)])
    pretraining.main()
    monkeypatch.setattr(pretrained, "PRETRAINED", output)
    network = build_network(NetworkSettings(input_length=60, horizon=12, season=12))
    before = [weight.copy() for weight in network.get_weights()]
    assert pretrained.start_from_pretrained(network)
    assert not all(map(np.array_equal, before, network.get_weights()))
    assert all(np.isfinite(weight).all() for weight in network.get_weights())
