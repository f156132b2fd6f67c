"""Export: from a trained network to a model file that was compared with it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

import kalecast
from kalecast.artifact.contract import Contract, version_of, write_contract
from kalecast.artifact.runtime import Forecaster, Windows
from kalecast.data.series import fingerprint
from kalecast.data.windows import SeriesStore
from kalecast.model.network import NetworkSettings, predict, to_onnx

TOLERANCE = 1e-4
"""Largest difference between Keras and ONNX Runtime, relative to the window's forecast."""


class ExportError(RuntimeError):
    """The exported file does not forecast as the network does."""


def draft_contract(
    name: str,
    frame: pd.DataFrame,
    shape: NetworkSettings,
    frequency: str,
    minimum_history: int,
) -> Contract:
    """The contract of a network that was just trained on `frame`, scores to come."""
    created = datetime.now(UTC).replace(microsecond=0)
    digest = fingerprint(frame)
    return Contract(
        name=name,
        version=version_of(created, digest),
        input_length=shape.input_length,
        horizon=shape.horizon,
        quantiles=shape.quantiles,
        frequency=frequency,
        season=shape.season,
        minimum_history=min(minimum_history, shape.input_length),
        library_version=kalecast.__version__,
        data_fingerprint=digest,
        created=created.isoformat().replace("+00:00", "Z"),
        trained_on=_summary(frame),
    )


def export_model(network: Any, contract: Contract, frame: pd.DataFrame) -> tuple[bytes, float]:
    """Write a network as a model file and hold the file's forecasts against its own.

    A converter can succeed and still write what ONNX Runtime cannot load or what computes
    something else; so nothing leaves here untried.

    Args:
        network: the trained Keras network.
        contract: its contract, scores included.
        frame: tidy series to compare on.

    Returns:
        The bytes of the model file, and the largest relative difference found.

    Raises:
        ExportError: the difference is above `TOLERANCE`.
        ContractError: ONNX Runtime does not load the file.
    """
    model_file = write_contract(to_onnx(network), contract)
    windows = _trial_windows(frame, contract)
    received = Forecaster(model_file).forecast_windows(windows)
    difference = largest_difference(predict(network, windows), received, windows)
    if not difference < TOLERANCE:
        raise ExportError(
            f"Expected the model file to forecast as the network does, within {TOLERANCE:g} of "
            f"the forecast, received a difference of {difference:g}. Nothing is published."
        )
    return model_file, difference


def largest_difference(expected: Windows, received: Windows, histories: Windows) -> float:
    """Largest absolute difference, relative to the largest value of each forecast.

    A forecast of next to nothing, of a history of sizes, is measured in the mean of these: it is
    what is left of their rounding.
    """
    forecast = np.abs(expected).max(axis=(1, 2))
    known = ~np.isnan(histories)
    total = np.where(known, np.abs(histories), 0.0).sum(axis=1)
    scale = np.maximum(forecast, total / np.maximum(known.sum(axis=1), 1))[:, None, None]
    apart = np.abs(expected - received)
    return float(np.max(np.divide(apart, scale, out=np.zeros_like(apart), where=scale > 0)))


def _trial_windows(frame: pd.DataFrame, contract: Contract, most: int = 256) -> Windows:
    """Each series' newest window: whole, with every seventh value unknown, and its last days."""
    store = SeriesStore.from_frame(frame, contract.input_length)
    series = np.arange(min(len(store.names), most))
    whole = store.windows(series, store.lengths[series])
    gappy, short = whole.copy(), whole.copy()
    gappy[:, ::7] = np.nan
    short[:, : contract.input_length - contract.minimum_history] = np.nan
    windows = np.concatenate([whole, gappy, short])
    known = windows[~np.isnan(windows).all(axis=1)]
    # Where every series has fallen silent, some window is tried all the same.
    return known if len(known) else np.arange(float(contract.input_length))[None] % contract.season


def _summary(frame: pd.DataFrame) -> Mapping[str, Any]:
    return {
        "series": int(frame["unique_id"].nunique()),
        "values": int(frame["y"].notna().sum()),
        "first": str(frame["ds"].min()),
        "last": str(frame["ds"].max()),
    }
