"""Figures of a network: its layers, its file, and what its parts do for the forecasts."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from benchmarks.accuracy.figures import rounded
from kalecast.artifact.runtime import Forecaster, Windows
from kalecast.evaluation.backtest import Forecast
from kalecast.model.network import NetworkSettings, build_network, from_bytes, predict

MISSING = (0.1, 0.3)
"""Shares of the values that are taken away at random, to see what that costs."""
SEED = 1

Judge = Callable[[Forecast], dict[str, float]]
"""From a function from windows to forecasts to its mean scores on the held-out hours."""


def layers_of(network: Any) -> dict[str, Any]:
    """The network's layers that have a name of ours, and its parameters."""

    def shape(layer: Any) -> list[Any]:
        output = layer.output[0] if isinstance(layer.output, list | tuple) else layer.output
        return [size or "batch" for size in output.shape]

    return {
        "layers": [
            {
                "name": layer.name,
                "kind": type(layer).__name__,
                "output": shape(layer),
                "parameters": int(layer.count_params()),
            }
            for layer in network.layers
            if layer.count_params() or type(layer).__module__.startswith("kalecast")
        ],
        "parameters": int(network.count_params()),
    }


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


def without_parts(network_bytes: bytes, parameters: dict[str, Any], judge: Judge) -> dict[str, Any]:
    """Scores without what was learnt, and with bands as wide as they were learnt.

    An untrained network forecasts what its simple forecasts agree on; its bands mean nothing.

    Args:
        network_bytes: the trained network as a `.keras` file.
        parameters: the pipeline's, the network's settings among them.
        judge: scores a forecast.
    """
    settings = {name: parameters[name] for name in vars(NetworkSettings()) if name in parameters}
    shape = replace(NetworkSettings(), **settings)
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
    least = forecaster.contract.minimum_history

    def short(windows: Windows) -> Windows:
        windows[:, :-least] = np.nan
        return forecaster.forecast_windows(windows)

    def gappy(share: float) -> dict[str, float]:
        rng = np.random.default_rng(SEED)

        def forecast(windows: Windows) -> Windows:
            windows[rng.random(windows.shape) < share] = np.nan
            return forecaster.forecast_windows(windows)

        return judge(forecast)

    return {
        "missing": {f"{share:g}": gappy(share) for share in MISSING},
        "shortest": {"hours": least, **judge(short)},
    }
