"""Figures of a network: its layers, its file, and what its parts do for the forecasts."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pandas as pd

from benchmarks.accuracy.backtest_figures import rounded
from kalecast.artifact.contract import Contract
from kalecast.artifact.runtime import Forecaster, Windows
from kalecast.evaluation.backtest import MODEL, mean_scores, own_forecasts, score_series
from kalecast.model.network import NetworkSettings, build_network, from_bytes, predict

MISSING = (0.1, 0.3)
"""Shares of the values that are taken away at random, to see what that costs."""
SEED = 1


class Judge:
    """Scores forecasts of the held-out hours."""

    def __init__(
        self, series: pd.DataFrame, history: pd.DataFrame, contract: Contract, test_windows: int
    ) -> None:
        self._series, self._history = series, history
        self._contract, self._test_windows = contract, test_windows

    def __call__(self, forecast: Any) -> dict[str, float]:
        """Mean scores of a function from windows to forecasts."""
        judged = own_forecasts(forecast, self._series, self._contract, self._test_windows)
        scores = score_series(judged, self._history, self._contract.season)
        figures: dict[str, float] = rounded(mean_scores(scores).loc[MODEL].to_dict())
        return figures


def layers_of(network_bytes: bytes) -> dict[str, Any]:
    """The network's layers that have a name of ours, and its parameters."""
    network = from_bytes(network_bytes)
    return {
        "layers": [
            {
                "name": layer.name,
                "kind": type(layer).__name__,
                "output": [size or "batch" for size in _shape(layer)],
                "parameters": int(layer.count_params()),
            }
            for layer in network.layers
            if layer.count_params() or type(layer).__module__.startswith("kalecast")
        ],
        "parameters": int(network.count_params()),
    }


def _shape(layer: Any) -> tuple[int | None, ...]:
    output = layer.output[0] if isinstance(layer.output, list | tuple) else layer.output
    shape: tuple[int | None, ...] = output.shape
    return shape


def file_of(model_file: bytes) -> dict[str, Any]:
    """What a model file holds: bytes, opset, nodes."""
    model = onnx.load_from_string(model_file)
    kinds = Counter(node.op_type for node in model.graph.node)
    return {
        "file_bytes": len(model_file),
        "opset": next(given.version for given in model.opset_import if not given.domain),
        "nodes": len(model.graph.node),
        "kinds_of_nodes": len(kinds),
    }


def without_parts(network_bytes: bytes, shape: NetworkSettings, judge: Judge) -> dict[str, Any]:
    """Scores without what was learnt, and with bands as wide as they were learnt.

    An untrained network forecasts what its simple forecasts agree on; its bands mean nothing.
    """
    untrained = judge(lambda windows: predict(build_network(shape), windows))
    network = from_bytes(network_bytes)
    factors = network.get_layer("gaps").factors
    kept = factors.numpy()
    factors.assign(np.ones_like(kept))
    return {
        "simple_forecasts": {name: untrained[name] for name in ("mase", "smape")},
        "uncalibrated": judge(lambda windows: predict(network, windows)),
        "calibration_factors": rounded(kept.mean(axis=1), 3),
    }


def with_gaps(forecaster: Forecaster, judge: Judge) -> dict[str, Any]:
    """Scores where values of the windows are missing, and where there is hardly any history."""
    contract = forecaster.contract

    def short(windows: Windows) -> Windows:
        windows[:, : -contract.minimum_history] = np.nan
        return forecaster.forecast_windows(windows)

    def gappy(share: float) -> dict[str, float]:
        rng = np.random.default_rng(SEED)

        def forecast(windows: Windows) -> Windows:
            windows[rng.random(windows.shape) < share] = np.nan
            return forecaster.forecast_windows(windows)

        return judge(forecast)

    return {
        "missing": {f"{share:g}": gappy(share) for share in MISSING},
        "shortest": {"hours": contract.minimum_history, **judge(short)},
    }


def shape_of(parameters: dict[str, Any]) -> NetworkSettings:
    """The network's settings among the pipeline's parameters."""
    known = vars(NetworkSettings())
    return replace(NetworkSettings(), **{k: v for k, v in parameters.items() if k in known})
