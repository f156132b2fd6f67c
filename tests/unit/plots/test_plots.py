"""Pictures show every forecast that was made, and nothing else."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from model_files import contract
from sample_series import hourly_series

from kalecast.data.windows import hold_out
from kalecast.evaluation.backtest import backtest, models_of, score_series
from kalecast.plots import static as plots


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    def repeat(windows: np.ndarray) -> np.ndarray:
        return windows[:, -24:, None] + np.array([-20.0, -10.0, 0.0, 10.0, 20.0])

    frame = hourly_series(count=2, hours=600)
    return backtest(repeat, frame, contract(), 2, classical=["MSTL-AutoETS"])


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def labels(figure) -> list[str]:
    return [label for axis in figure.axes for label in axis.get_legend_handles_labels()[1]]


def test_errors_by_hour_and_scores_show_all_forecasts(table: pd.DataFrame):
    history, _ = hold_out(hourly_series(count=2, hours=600), 48)
    scores = score_series(table, history, 24)
    for figure in (plots.plot_error_by_hour(table), plots.plot_scores(scores)):
        assert sorted(labels(figure)) == sorted(models_of(table))


def test_calibration_shows_a_point_a_quantile(table: pd.DataFrame):
    (axis,) = plots.plot_calibration(table).axes
    drawn = axis.get_lines()[1]
    np.testing.assert_allclose(drawn.get_xdata(), [0.025, 0.1, 0.5, 0.9, 0.975])


def test_losses_mark_the_epoch_that_is_kept():
    losses = pd.DataFrame(
        {"epoch": [1, 2, 3], "loss": [3, 2, 1], "val_loss": [3, 1, 2], "val_error": [3, 2, 1]}
    )
    *_, right = plots.plot_losses(losses).axes
    assert right.get_lines()[1].get_xdata()[0] == 3
