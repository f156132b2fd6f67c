"""The client of the model server: Seldon protocol over one shared HTTP session."""

import asyncio
import json
import time
from typing import Any

import aiohttp
import numpy as np
import numpy.typing as npt
import orjson

from kalecast.bundle import BundleError, Contract

CONTRACT_AGE = 60.0
"""Seconds after which the contract is asked for again, even if no answer named another one."""

PAUSE = 1.0
"""Seconds between two questions for the contract, while old and new models answer in turn."""

REFUSALS = (400, 413, 422)
"""Statuses that speak of the history; any other error is the server's or the installation's."""

TIMEOUT = aiohttp.ClientTimeout(total=20, connect=5)
CONNECTIONS = 256


class ServiceDown(Exception):
    """The model server does not answer, or not in its protocol."""


class Refused(ValueError):
    """The model server refused a history; the text says why."""


class ModelServer:
    """A model server, asked for its contract and for forecasts.

    Example:
        >>> async with ModelServer("http://127.0.0.1:9000") as server:
        ...     contract = await server.contract()
        ...     forecast = await server.forecast(values)  # (horizon, quantiles)
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._session: aiohttp.ClientSession | None = None
        self._contract: Contract | None = None
        self._asked = 0.0
        self._asking = asyncio.Lock()

    async def __aenter__(self) -> "ModelServer":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS),
            timeout=TIMEOUT,
            headers={"Content-Type": "application/json"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def contract(self, age: float = CONTRACT_AGE) -> Contract:
        """The contract of the model that is being served.

        Args:
            age: seconds for which what is known of it counts as known.

        Raises:
            ServiceDown: the server does not answer.
        """
        if (known := self._known(age)) is not None:
            return known
        async with self._asking:
            # Others may have waited here while the first one asked.
            if (known := self._known(age)) is not None:
                return known
            answer, asked = await self._ask("GET", "/metadata"), time.monotonic()
            self._contract, self._asked = _read_contract(answer), asked
            return self._contract

    async def forecast(
        self, values: npt.NDArray[np.float64]
    ) -> tuple[Contract, npt.NDArray[np.float64]]:
        """Forecast one history.

        Args:
            values: newest value last, NaN where unknown.

        Returns:
            The contract of the model that answered, and its forecast of shape
            `(horizon, quantiles)`.

        Raises:
            ServiceDown: the server does not answer.
            Refused: it refuses this history.
        """
        # NaN leaves orjson as null, which is the protocol's way to say unknown.
        body = orjson.dumps({"data": {"ndarray": [values]}}, option=orjson.OPT_SERIALIZE_NUMPY)
        answer = await self._ask("POST", "/api/v1.0/predictions", body)
        forecast = _read_forecast(answer)
        contract = await self.contract()
        # Another model may have come meanwhile.
        if not _fits(forecast, contract):
            contract = await self.contract(age=0.0)
        elif _version(answer) not in (None, contract.version):
            contract = await self.contract(age=PAUSE)
        if not _fits(forecast, contract):
            raise ServiceDown(f"a forecast of shape {forecast.shape} against the contract")
        return contract, forecast

    def _known(self, age: float) -> Contract | None:
        return self._contract if time.monotonic() - self._asked < age else None

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        try:
            status, content = await self._send(method, path, body)
        except aiohttp.ServerDisconnectedError:
            # The server closed an idle connection just as it was used; asking twice is harmless.
            status, content = await self._send_last(method, path, body)
        refused = method == "POST" and status in REFUSALS
        if status >= 400 and not refused:
            raise ServiceDown(f"{method} {path} was answered with {status}")
        try:
            answer = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise ServiceDown(f"{method} {path} was answered with no JSON") from error
        if refused:
            raise Refused(_reason(answer, status))
        return answer

    async def _send(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        if self._session is None:
            raise ServiceDown("the session is not open yet")
        try:
            async with self._session.request(method, self._address + path, data=body) as response:
                return response.status, await response.read()
        except aiohttp.ServerDisconnectedError:
            raise
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ServiceDown(f"{method} {path}: {error or type(error).__name__}") from error

    async def _send_last(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        try:
            return await self._send(method, path, body)
        except aiohttp.ServerDisconnectedError as error:
            raise ServiceDown(f"{method} {path}: disconnected twice") from error


def _read_contract(metadata: Any) -> Contract:
    """The contract out of the server's metadata: the object itself, or as text in it."""
    try:
        custom = metadata["custom"]
        content = custom.get("contract", custom)
        return Contract.from_json(content if isinstance(content, str) else json.dumps(content))
    except (KeyError, TypeError, AttributeError, BundleError) as error:
        raise ServiceDown(f"the metadata holds no contract: {error}") from error


def _read_forecast(answer: Any) -> npt.NDArray[np.float64]:
    """The one series' forecast out of an answer."""
    try:
        forecast = np.asarray(answer["data"]["ndarray"], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ServiceDown(f"the answer holds no forecast: {error!r}") from error
    if forecast.ndim != 3 or len(forecast) != 1 or not np.isfinite(forecast).all():
        raise ServiceDown(f"a forecast of shape {forecast.shape}, or not finite")
    return forecast[0]


def _fits(forecast: npt.NDArray[np.float64], contract: Contract) -> bool:
    return forecast.shape == (contract.horizon, len(contract.quantiles))


def _version(answer: Any) -> str | None:
    """Which model answered, if the answer says so."""
    try:
        return str(answer["meta"]["tags"]["model_version"])
    except (KeyError, TypeError):
        return None


def _reason(answer: Any, status: int) -> str:
    try:
        return str(answer["status"]["info"])[:300]
    except (KeyError, TypeError):
        return f"The forecasting service refused this history (status {status})."
