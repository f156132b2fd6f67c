"""A model file, opened to be served and tried with made-up histories."""

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kalecast.artifact.contract import Contract, ContractError, bound_graphs
from kalecast.artifact.runtime import Forecaster, Windows
from kalecast.artifact.store import fetch
from kalecast.serving import description

logger = logging.getLogger(__name__)

GRAPH_MEMORY = 256 * 2**20
"""Bytes of memory for all graphs, weights included. The server's pod has 512 MiB, of which the
rest of the server uses 100."""


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model file, opened and tried."""

    forecaster: Forecaster

    @property
    def contract(self) -> Contract:
        """The model's contract."""
        return self.forecaster.contract

    @cached_property
    def columns(self) -> list[str]:
        """Names of a forecast's last axis."""
        return description.columns(self.contract)

    @cached_property
    def tags(self) -> dict[str, str]:
        """Which model answered."""
        return description.tags(self.contract)

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The model as the protocols describe one."""
        return description.metadata(self.contract)

    def forecast_windows(self, windows: Windows) -> Windows:
        """As `Forecaster.forecast_windows`."""
        return self.forecaster.forecast_windows(windows)


def open_model(uri: str) -> ServedModel:
    """Fetch a model file, open it and forecast once.

    Raises:
        StoreError: there is no such file.
        ContractError: it is no model file, or does not forecast.
    """
    return open_content(fetch(uri))


def open_content(model_file: bytes, windows: int = 16) -> ServedModel:
    """Open the bytes of a model file, and forecast from so many made-up windows.

    Raises:
        ContractError: they are no model file, or it does not forecast.
    """
    bound_graphs(GRAPH_MEMORY)
    model = ServedModel(Forecaster(model_file))
    length = model.contract.input_length
    _try(model, np.zeros((2, length)), "histories of zeros")
    _try(model, _made_up(windows, length), "made-up histories")
    return model


def _try(model: ServedModel, windows: Windows, named: str) -> None:
    try:
        tried = model.forecast_windows(windows)
    except Exception as error:  # ONNX Runtime's errors share no narrower public class
        raise ContractError(f"Expected a model that forecasts, received: {error}") from error
    if not np.isfinite(tried).all():
        raise ContractError(f"Expected finite forecasts of {named}, received others.")


def _made_up(count: int, length: int) -> Windows:
    """Windows of other values each time, like customers': of any size, with missing values."""
    rng = np.random.default_rng()
    size = 10.0 ** rng.integers(-3, 7, (count, 1))
    windows = size * (rng.normal(size=(count, length)) + rng.normal(0, 5, (count, 1)))
    windows[:, :-1][rng.random((count, length - 1)) < rng.uniform(0, 0.5, (count, 1))] = np.nan
    result: Windows = windows
    return result
