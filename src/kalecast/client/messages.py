"""What a client sends to a model server and what comes back, in both of its protocols.

As the values that JSON holds, so that each client encodes and sends them by its own means. Needs
NumPy alone.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kalecast.artifact.contract import INPUT_NAME, Contract, ContractError

PREDICTIONS = "/api/v1.0/predictions"
METADATA = "/metadata"
INFER = "/v2/models/{name}/infer"

Floats = npt.NDArray[np.float64]


class AnswerError(ValueError):
    """An answer holds something else than was requested."""


def listed(history: Floats) -> list[float | None]:
    """A history as JSON has it: null where unknown. (orjson makes as much of an array itself.)"""
    return [None if np.isnan(value) else float(value) for value in history]


def seldon_request(histories: Sequence[Any]) -> dict[str, Any]:
    """A request for a forecast of each history; they may differ in length."""
    return {"data": {"ndarray": histories}}


def inference_request(histories: Sequence[Any]) -> dict[str, Any]:
    """The same in the Open Inference Protocol, for histories of one length."""
    shape = [len(histories), len(histories[0])]
    data = [value for history in histories for value in history]
    return {"inputs": [{"name": INPUT_NAME, "shape": shape, "datatype": "FP64", "data": data}]}


def seldon_forecasts(answer: Any) -> tuple[Floats, str | None]:
    """Forecasts out of an answer, and the version of the model that made them.

    Returns:
        Shape `(histories, horizon, quantiles)`; no version where the answer names none.

    Raises:
        AnswerError: it holds none.
    """
    try:
        forecasts = np.asarray(answer["data"]["ndarray"], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise AnswerError(f"the answer holds no forecast: {error!r}") from error
    if forecasts.ndim != 3:
        raise AnswerError(f"the answer holds no forecast, but shape {forecasts.shape}")
    try:
        return forecasts, str(answer["meta"]["tags"]["model_version"])
    except (KeyError, TypeError):
        return forecasts, None


def inference_forecasts(answer: Any) -> Floats:
    """Forecasts out of an answer in the Open Inference Protocol.

    Raises:
        AnswerError: it holds none.
    """
    try:
        (output,) = answer["outputs"]
        return np.reshape(np.asarray(output["data"], dtype=np.float64), output["shape"])
    except (KeyError, TypeError, ValueError) as error:
        raise AnswerError(f"the answer holds no forecast: {error!r}") from error


def contract_of(metadata: Any) -> Contract:
    """The contract out of a server's metadata: as text, or the object itself.

    Raises:
        AnswerError: there is none.
    """
    try:
        custom = metadata["custom"]
        held = custom.get("contract", custom)
        return Contract.from_json(held if isinstance(held, str) else json.dumps(held))
    except (KeyError, TypeError, AttributeError, ContractError) as error:
        raise AnswerError(f"the metadata holds no contract: {error}") from error


def reason_of(refusal: Any) -> str:
    """Why a server or the page refused a request, in its own words; empty where it says nothing."""
    try:
        return str(refusal.get("detail") or refusal.get("error") or refusal["status"]["info"])
    except (KeyError, TypeError, AttributeError):
        return ""
