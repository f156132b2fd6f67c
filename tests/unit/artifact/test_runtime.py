"""The runtime takes any finite history, and says what is wrong with the rest."""

import numpy as np
import pytest
from model_files import contract, seasonal_naive_bytes

from kalecast.artifact.runtime import Forecaster, HistoryError, as_windows


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    return Forecaster(seasonal_naive_bytes())


def test_forecasts_follow_the_history(forecaster: Forecaster):
    history = list(range(168))
    answer = forecaster.forecast([history])
    assert answer.shape == (1, 24, 5)
    np.testing.assert_allclose(answer[0, :, 2], history[-24:])
    assert (np.diff(answer, axis=2) > 0).all()


def test_histories_may_differ_in_length_and_have_unknown_values(forecaster: Forecaster):
    long, short = list(range(500)), [None, *range(47)]
    windows = as_windows([long, short], forecaster.contract)
    np.testing.assert_array_equal(windows[0], np.arange(332, 500))
    assert np.isnan(windows[1, : 168 - 47]).all()
    assert windows[1, -1] == 46


def test_arrays_are_taken_as_they_are(forecaster: Forecaster):
    array = np.arange(336, dtype=np.float32).reshape(2, 168)
    np.testing.assert_array_equal(as_windows(array, forecaster.contract), array)


@pytest.mark.parametrize(
    ("histories", "part"),
    [
        (None, "received: None"),
        ("1,2,3", "received: '1,2,3'"),
        ({"a": 1}, "Expected histories"),
        ([], "received none"),
        ([1.0] * 60, "history 0 to be a list"),
        ([[1.0] * 47], "at least 48 values, received 47"),
        ([[1.0] * 60, ["a"] * 60], "'a' at position 0 of history 1"),
        ([[1.0] * 59 + [[1.0]]], "[1.0] at position 59"),
        ([[1.0] * 59 + [float("inf")]], "received inf at position 59"),
        ([[1.0] * 59 + [10**400]], "position 59"),
        ([[1e101] * 60], "1e+100"),
        ([[None] * 60], "at least one known value"),
        ([[True] * 60], "True at position 0"),
        (np.zeros(60), "shape (60,)"),
        (np.zeros((1, 60, 1)), "shape (1, 60, 1)"),
        ([["x" * 10_000] * 60], "..."),
    ],
)
def test_bad_histories(forecaster: Forecaster, histories: object, part: str):
    with pytest.raises(HistoryError) as caught:
        forecaster.forecast(histories)
    assert part in str(caught.value)
    assert len(str(caught.value)) < 300


def test_the_window_is_the_contracts():
    longer = Forecaster(seasonal_naive_bytes(contract(input_length=336, horizon=48)))
    assert longer.forecast([[1.0] * 400]).shape == (1, 48, 5)
