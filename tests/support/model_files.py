"""Small model files for tests, made without Keras: a seasonal naive forecast as ONNX."""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from kalecast.artifact.contract import INPUT_NAME, OUTPUT_NAME, Contract, write_contract


def contract(**changes: Any) -> Contract:
    """A small model's contract: a window of a week, a day ahead, five quantiles."""
    values: dict[str, Any] = {
        "name": "forecaster",
        "version": "20260102-030405-abcdef",
        "input_length": 168,
        "horizon": 24,
        "quantiles": (0.025, 0.1, 0.5, 0.9, 0.975),
        "frequency": "h",
        "season": 24,
        "minimum_history": 48,
        "library_version": "0.1.0",
        "data_fingerprint": "sha256:0123456789abcdef",
        "created": "2026-01-02T03:04:05Z",
        "trained_on": {
            "series": 2,
            "values": 4000,
            "first": "2025-01-01 00:00",
            "last": "2025-12-31 23:00",
        },
        "scores": {
            "mase": 0.7,
            "mase_seasonal_naive": 1.0,
            "smape": 6.5,
            "coverage_80": 0.8,
            "coverage_95": 0.95,
        },
    }
    return Contract(**{**values, **changes})


def seasonal_naive_bytes(
    wanted: Contract | None = None, offset: float = 1.0, work: int = 0
) -> bytes:
    """A model file whose median is the last day again, its quantiles `offset` apart.

    Unknown values count as zero. The horizon must be a multiple of the season. `work` adds so
    many products of large matrices to each forward pass (20 take about half a second).
    """
    wanted = wanted or contract()
    days = wanted.horizon // wanted.season
    spread = (np.arange(len(wanted.quantiles)) - wanted.median) * offset
    constants = {
        "zero": np.array(0.0),
        "starts": np.array([wanted.input_length - wanted.season]),
        "ends": np.array([wanted.input_length]),
        "axes": np.array([1]),
        "repeats": np.array([1, days]),
        "last_axis": np.array([2]),
        "spread": spread.reshape(1, 1, -1),
    }
    nodes = [
        helper.make_node("IsNaN", [INPUT_NAME], ["unknown"]),
        helper.make_node("Where", ["unknown", "zero", INPUT_NAME], ["known"]),
        helper.make_node("Slice", ["known", "starts", "ends", "axes"], ["day"]),
        helper.make_node("Tile", ["day", "repeats"], ["days"]),
        helper.make_node("Unsqueeze", ["days", "last_axis"], ["median"]),
        helper.make_node("Add", ["median", "spread"], [OUTPUT_NAME if not work else "forecasts"]),
        *_busy(work, constants),
    ]
    shape_in = [None, wanted.input_length]
    shape_out = [None, wanted.horizon, len(wanted.quantiles)]
    graph = helper.make_graph(
        nodes,
        "seasonal_naive",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.DOUBLE, shape_in)],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.DOUBLE, shape_out)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return write_contract(model.SerializeToString(), wanted)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file as the pipeline publishes one: it is the old or the new one, never a part."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


def _busy(work: int, constants: dict[str, np.ndarray]) -> list[Any]:
    """Nodes that take time, depend on the input and add nothing to the forecast."""
    if not work:
        return []
    size = 1000
    constants["matrix"] = np.full((size, size), 1.0 / size)
    constants["first"], constants["second"] = np.array([0, 0]), np.array([1, 1])
    constants["both"] = np.array([0, 1])
    constants["nothing"] = np.array(0.0)
    nodes = [
        helper.make_node("Slice", ["known", "first", "second", "both"], ["seed"]),
        helper.make_node("Add", ["matrix", "seed"], ["product_0"]),
        *(
            helper.make_node("MatMul", ["matrix", f"product_{at}"], [f"product_{at + 1}"])
            for at in range(work)
        ),
        helper.make_node("ReduceMean", [f"product_{work}"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zeroed"]),
        helper.make_node("Add", ["forecasts", "zeroed"], [OUTPUT_NAME]),
    ]
    return nodes
