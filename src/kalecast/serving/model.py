"""A model file, opened to be served and tried with made-up histories."""

from typing import Any

import numpy as np

from kalecast.artifact.contract import (
    INPUT_NAME,
    OUTPUT_NAME,
    Contract,
    ContractError,
    bound_graphs,
)
from kalecast.artifact.runtime import Forecaster, Windows
from kalecast.artifact.store import fetch

GRAPH_MEMORY = 256 * 2**20
"""Bytes of memory for all graphs, weights included. The server's pod has 512 MiB, of which the
rest of the server uses 100."""

PLATFORM = "onnx_onnxv1"
"""ONNX, as the Open Inference Protocol names it."""


def columns(contract: Contract) -> list[str]:
    """Names of a forecast's last axis, such as `q0.5` for the median."""
    return [f"q{quantile:g}" for quantile in contract.quantiles]


def tags(contract: Contract) -> dict[str, str]:
    """Which model answered."""
    return {"model_name": contract.name, "model_version": contract.version}


def metadata(contract: Contract) -> dict[str, Any]:
    """Name, version, tensors; the contract itself under `custom`.

    Seldon's schema allows texts alone there, so it is one, as JSON.
    """
    shape_in = [-1, contract.input_length]
    shape_out = [-1, contract.horizon, len(contract.quantiles)]
    return {
        "name": contract.name,
        "versions": [contract.version],
        "platform": PLATFORM,
        "inputs": [{"name": INPUT_NAME, "datatype": "FP64", "shape": shape_in}],
        "outputs": [{"name": OUTPUT_NAME, "datatype": "FP64", "shape": shape_out}],
        "custom": {"contract": contract.to_json()},
    }


class ServedModel(Forecaster):
    """A model file, opened to be served, with what each answer says of it."""

    def __init__(self, model_file: bytes) -> None:
        super().__init__(model_file)
        self.columns = columns(self.contract)
        self.tags = tags(self.contract)
        self.metadata = metadata(self.contract)


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
    model = ServedModel(model_file)
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
    windows: Windows = size * (rng.normal(size=(count, length)) + rng.normal(0, 5, (count, 1)))
    windows[:, :-1][rng.random((count, length - 1)) < rng.uniform(0, 0.5, (count, 1))] = np.nan
    return windows
