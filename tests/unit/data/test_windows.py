"""Windows never look ahead, never cross series, and leave validation hours alone."""

import numpy as np
import pandas as pd
import pytest

from kalecast.data.series import SeriesError
from kalecast.data.windows import SeriesStore, hold_out, require_learnable, split_cutoffs


def frame_of(**series: list[float]) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "unique_id": name,
                "ds": pd.date_range("2026-01-01", periods=len(values), freq="h"),
                "y": np.array(values, dtype=float),
            }
        )
        for name, values in series.items()
    ]
    return pd.concat(parts, ignore_index=True)


def test_a_window_ends_before_its_cutoff_and_is_padded_with_unknown_values():
    store = SeriesStore.from_frame(frame_of(a=[1, 2, 3, 4], b=[10, 20, 30, 40]), 3)
    windows = store.windows(np.array([0, 1]), np.array([2, 4]))
    np.testing.assert_array_equal(windows, [[np.nan, 1, 2], [20, 30, 40]])
    np.testing.assert_array_equal(store.targets(np.array([0]), np.array([2]), 2), [[3, 4]])


def test_no_training_target_reaches_into_the_validation_steps():
    store = SeriesStore.from_frame(frame_of(a=list(range(200)), b=list(range(60))), 48)
    split = split_cutoffs(store, 24, validation_steps=40, minimum_history=24)
    series, cutoffs = split.training.draw(2000, np.random.default_rng(0))
    last_target = cutoffs + 24
    assert last_target[series == 0].max() == 200 - 40
    assert last_target[series == 1].max() == 60, "too short to validate on, so all may be learnt"
    assert set(split.validation.series) == {0}
    _, validation_cutoffs = split.validation.spread(50)
    assert validation_cutoffs.min() >= 160
    assert validation_cutoffs.max() + 24 == 200
    assert (split.whole.last == store.lengths - 24).all()
    assert (split.whole.first == 24).all()


def test_few_long_series_are_validated_on_earlier_stretches_too():
    store = SeriesStore.from_frame(frame_of(a=[1.0] * 3000, b=[1.0] * 3000), 48)
    split = split_cutoffs(store, 24, validation_steps=100, minimum_history=24)
    blocks = list(zip(split.validation.first, split.validation.last + 24, strict=True))
    assert len(blocks) == 8, "0.15 of 3,000 steps are four blocks"
    assert {end for _, end in blocks} >= {3000}
    assert split.evidence(24) == pytest.approx(8 * 100 / 24)
    series, cutoffs = split.training.draw(4000, np.random.default_rng(0))
    assert abs((series == 0).mean() - 0.5) < 0.05
    for begin, end in blocks:
        assert not ((cutoffs < end) & (cutoffs + 24 > begin)).any()
    many = SeriesStore.from_frame(frame_of(**{f"s{at}": [1.0] * 500 for at in range(60)}), 48)
    assert len(split_cutoffs(many, 24, 100, 24).validation.series) == 60, "one each is enough"


def test_where_all_series_are_too_short_to_validate_on_there_is_no_evidence():
    store = SeriesStore.from_frame(frame_of(a=[1.0] * 60), 48)
    split = split_cutoffs(store, 24, validation_steps=40, minimum_history=24)
    assert split.evidence(24) == 0.0
    assert split.validation.last.max() == 36


def test_series_too_short_to_learn_from_are_said_so():
    store = SeriesStore.from_frame(frame_of(a=[1.0] * 30), 48)
    with pytest.raises(SeriesError, match=r"72 steps or more .* has 30"):
        split_cutoffs(store, 24, 24, minimum_history=48)


def test_hold_out_cuts_the_end_of_each_series():
    history, held_out = hold_out(frame_of(a=[1, 2, 3], b=[4, 5]), 1)
    assert history["y"].tolist() == [1, 2, 4]
    assert held_out["y"].tolist() == [3, 5]


def test_data_that_teach_nothing_are_said_so_before_training():
    require_learnable(frame_of(a=[1.0, 2.0] * 50, b=[5.0] * 10), held_out=50, needed=50)
    with pytest.raises(SeriesError, match=r"101 steps or more: 51 are held out.* longest has 100"):
        require_learnable(frame_of(a=[1.0, 2.0] * 50), held_out=51, needed=50)
    with pytest.raises(SeriesError, match="values change"):
        require_learnable(frame_of(a=[7.0] * 100), held_out=10, needed=50)
