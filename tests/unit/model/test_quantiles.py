"""Calibration: intervals that hold their share, moved only as far as the evidence goes."""

import numpy as np
import pytest

from kalecast.model.quantiles import calibration_factors

QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)


def too_narrow(windows: int) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts whose intervals are half as wide as the values are spread, and the values."""
    actual = np.random.default_rng(0).normal(size=(windows, 24))
    forecast = np.zeros((windows, 24, 5)) + 0.5 * np.array([-1.96, -1.2816, 0.0, 1.2816, 1.96])
    return forecast, actual


def test_factors_widen_what_was_too_narrow():
    factors = calibration_factors(*too_narrow(2000), QUANTILES)
    assert factors.shape == (4, 24)
    np.testing.assert_allclose(factors, 2.0, rtol=0.15)


@pytest.mark.parametrize(("evidence", "expected"), [(0.0, 1.0), (8.0, 2.0**0.5), (1e9, 2.0)])
def test_little_evidence_moves_them_little(evidence: float, expected: float):
    factors = calibration_factors(*too_narrow(2000), QUANTILES, evidence)
    np.testing.assert_allclose(factors.mean(), expected, rtol=0.05)


def test_steps_differ_only_where_there_is_evidence_of_it():
    forecast, actual = too_narrow(2000)
    actual[:, :12] *= 3.0
    spread = [
        np.ptp(np.log(calibration_factors(forecast, actual, QUANTILES, evidence)[2]))
        for evidence in (10.0, 60.0, 1e9)
    ]
    assert spread[0] < 0.3 * spread[2] < spread[1] < spread[2]
    nothing = np.full_like(actual, np.nan)
    np.testing.assert_array_equal(calibration_factors(forecast, nothing, QUANTILES), 1.0)
