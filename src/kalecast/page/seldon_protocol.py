"""Seldon's protocol as the model server speaks it: requests as bytes, answers as arrays."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from kalecast.artifact.contract import Contract, ContractError
from kalecast.page.outcomes import ServiceDown

PREDICTIONS = "/api/v1.0/predictions"
METADATA = "/metadata"

Floats = npt.NDArray[np.float64]


def request_body(histories: Sequence[Floats]) -> bytes:
    """The body that requests a forecast of each history; they may differ in length."""
    # NaN leaves orjson as null, which is the protocol's value for unknown.
    content: bytes = orjson.dumps(
        {"data": {"ndarray": histories}}, option=orjson.OPT_SERIALIZE_NUMPY
    )
    return content


def read_forecasts(content: bytes, count: int) -> tuple[Floats, str | None]:
    """Forecasts out of an answer, and the version of the model that made them.

    Returns:
        Shape `(count, horizon, quantiles)`, finite; no version where the answer names none.

    Raises:
        ServiceDown: the answer holds something else.
    """
    answer = _json(content)
    try:
        forecasts = np.asarray(answer["data"]["ndarray"], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ServiceDown(f"the answer holds no forecast: {error!r}") from error
    if forecasts.ndim != 3 or len(forecasts) != count or not np.isfinite(forecasts).all():
        raise ServiceDown(f"{count} forecasts of shape {forecasts.shape}, or not finite")
    try:
        return forecasts, str(answer["meta"]["tags"]["model_version"])
    except (KeyError, TypeError):
        return forecasts, None


def read_contract(content: bytes) -> Contract:
    """The contract out of the server's metadata: the object itself, or as text in it.

    Raises:
        ServiceDown: there is none.
    """
    try:
        custom = _json(content)["custom"]
        held = custom.get("contract", custom)
        return Contract.from_json(held if isinstance(held, str) else json.dumps(held))
    except (KeyError, TypeError, AttributeError, ContractError) as error:
        raise ServiceDown(f"the metadata holds no contract: {error}") from error


def read_reason(content: bytes) -> str:
    """Why the server refused a history, in its own words."""
    try:
        return str(orjson.loads(content)["status"]["info"])[:300]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "The forecasting service refused this history."


def _json(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ServiceDown("an answer that is no JSON") from error
