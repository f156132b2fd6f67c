"""Open Inference Protocol v2: its JSON, from a request to histories and back.

The model has one input, `history` `[n, input_length]` (or shorter), and one output, `forecast`
`[n, horizon, quantiles]`, both FP64. Beyond the protocol: `null` among the data is a missing
value, since JSON has no NaN.
"""

from typing import Any

import orjson

from kalecast import __version__
from kalecast.artifact.contract import INPUT_NAME, OUTPUT_NAME, Contract
from kalecast.artifact.runtime import Windows
from kalecast.serving.messages import rows_of, shown
from kalecast.serving.model import ServedModel
from kalecast.serving.refusals import Refusal

ABOUT = {"name": "kalecast", "version": __version__, "extensions": []}
"""The server, as the protocol describes one."""

DATATYPES = {
    "FP64": "<f8",
    "FP32": "<f4",
    "FP16": "<f2",
    "INT64": "<i8",
    "INT32": "<i4",
    "INT16": "<i2",
    "INT8": "<i1",
    "UINT64": "<u8",
    "UINT32": "<u4",
    "UINT16": "<u2",
    "UINT8": "<u1",
}
"""Those that are taken, and how NumPy names them where a tensor comes as bytes."""


def read(content: Any, most_histories: int) -> tuple[Any, str | None]:
    """The histories in an inference request's JSON, and the identifier that the answer repeats.

    Raises:
        Refusal, HistoryError: it is none, or requests what the model has not.
    """
    if not isinstance(content, dict):
        raise Refusal(f"Expected a JSON object with 'inputs', received: {shown(content)}.")
    identifier = content.get("id")
    if not isinstance(identifier, str | None):
        raise Refusal(f"Expected 'id' to be a text, received: {shown(identifier)}.")
    inputs, outputs = content.get("inputs"), content.get("outputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Refusal(
            f"Expected 'inputs' with one tensor, '{INPUT_NAME}', received: {shown(inputs)}."
        )
    check_outputs(_names(outputs))
    tensor = inputs[0]
    check_input(tensor.get("name"), tensor.get("datatype"))
    data = tensor.get("data")
    if not isinstance(data, list):
        raise Refusal(f"Expected 'data' to be a list of numbers, received: {shown(data)}.")
    shape = tensor.get("shape")
    # Data may come flat, or nested as its shape is.
    if data and isinstance(data[0], list):
        _check_nested(shape, data)
        return rows_of(None, data, most_histories), identifier
    return rows_of(shape, data, most_histories), identifier


def check_model(contract: Contract, name: str, version: str) -> None:
    """Refuse a request for another model; without a version any will do."""
    if name != contract.name or version not in ("", contract.version):
        raise Refusal(
            f"Expected the model '{contract.name}', version '{contract.version}', or no version; "
            "there is no other.",
            404,
        )


def check_input(name: Any, datatype: Any) -> None:
    """Refuse a tensor that is not the model's input."""
    if name != INPUT_NAME:
        raise Refusal(f"Expected the input '{INPUT_NAME}', received: {shown(name)}.")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise Refusal(f"Expected the datatype FP64, received: {shown(datatype)}.")


def check_outputs(names: list[Any]) -> None:
    """Refuse outputs that the model has not; none named means all."""
    for name in names:
        if name != OUTPUT_NAME:
            raise Refusal(f"Expected the output '{OUTPUT_NAME}', received: {shown(name)}.")


def answer(identifier: str | None, model: ServedModel, forecast: Windows) -> bytes:
    """A forecast as the protocol answers it; the request's identifier comes back."""
    contract = model.contract
    tensor = {
        "name": OUTPUT_NAME,
        "datatype": "FP64",
        "shape": list(forecast.shape),
        "data": forecast.reshape(-1),
    }
    content = {
        "model_name": contract.name,
        "model_version": contract.version,
        "outputs": [tensor],
        **({"id": identifier} if identifier is not None else {}),
    }
    written: bytes = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return written


def _names(outputs: Any) -> list[Any]:
    if outputs is None:
        return []
    if not isinstance(outputs, list) or not all(isinstance(one, dict) for one in outputs):
        raise Refusal(f"Expected 'outputs' to be a list of objects, received: {shown(outputs)}.")
    return [output.get("name") for output in outputs]


def _check_nested(shape: Any, rows: list[Any]) -> None:
    if not isinstance(shape, list) or len(shape) != 2 or {*map(type, shape)} != {int}:
        raise Refusal(
            "Expected 'shape' to be two whole numbers, of histories and of values in each, "
            f"received: {shown(shape)}."
        )
    count, length = shape
    if len(rows) != count:
        raise Refusal(f"Expected {count} rows of 'data', as 'shape' says, received {len(rows)}.")
    for at, row in enumerate(rows):
        if not isinstance(row, list):
            raise Refusal(f"Expected a list in row {at} of 'data', received: {shown(row)}.")
        if len(row) != length:
            raise Refusal(
                f"Expected {length} values in each row of 'data', as 'shape' says, "
                f"received {len(row)} in row {at}."
            )
