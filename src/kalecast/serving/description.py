"""A model as both protocols describe one, out of its contract."""

from typing import Any

from kalecast.artifact.contract import INPUT_NAME, OUTPUT_NAME, Contract

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
