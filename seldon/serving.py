"""The model that is being served, and how a new one takes its place."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from time import monotonic
from typing import Any

import description
import numpy as np
from trial import try_out

from kalecast.contract import Contract, ContractError, bound_graphs, verify_content
from kalecast.runtime import Forecaster, Windows
from kalecast.store import StoreError, fetch, state

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


def _open_tried(uri: str) -> ServedModel:
    """As `open_model`, of a file that did no harm to another process before."""
    model_file = fetch(uri)
    verify_content(model_file)
    try_out(model_file)
    return open_content(model_file)


class Serving:
    """The model in use. A new one replaces it whole, between two requests, or not at all.

    Args:
        uri: the model's.
        model: what `open_model` found there.
        seen: the file's `state` before it was opened.
    """

    def __init__(self, uri: str, model: ServedModel, seen: str) -> None:
        self._uri = uri
        self._seen = seen
        self._loading = asyncio.Lock()
        self.model = model
        self._looked = monotonic()
        self.on_reload: Callable[[bool], None] = lambda succeeded: None
        """Called after each attempt with whether it succeeded."""

    @classmethod
    def open(cls, uri: str) -> "Serving":
        """Serve what is at a model URI.

        Raises:
            StoreError, ContractError: as for `open_model`.
        """
        seen = state(uri)
        return cls(uri, open_model(uri), seen)

    @property
    def look_age(self) -> float:
        """Seconds since the model URI was last looked at."""
        return monotonic() - self._looked

    async def reload(self) -> bool:
        """Serve what the model URI holds now; keep the old model if that is no good.

        Returns:
            Whether it was good.
        """
        async with self._loading:
            seen = self._seen
            try:
                seen = await asyncio.to_thread(state, self._uri)
                self.model = await asyncio.to_thread(_open_tried, self._uri)
            except (StoreError, OSError) as error:
                # Nothing is wrong with the file: the next look tries it again.
                logger.error("Going on with %s: %s", self.model.contract.version, error)
                self._notify(False)
                return False
            except Exception as error:
                is_known = isinstance(error, ContractError)
                text = "Going on with %s: %s"
                logger.error(text, self.model.contract.version, error, exc_info=not is_known)
                self._seen = seen
                self._notify(False)
                return False
            self._seen = seen
            logger.info("Serving %s %s", self.model.contract.name, self.model.contract.version)
            self._notify(True)
            return True

    async def watch(
        self, seconds: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Reload whenever the file at the model URI changes; a bad one is tried once."""
        while True:
            await sleep(seconds)
            try:
                found = await asyncio.to_thread(state, self._uri)
                self._looked = monotonic()
                if found != self._seen:
                    await self.reload()
            except StoreError as error:
                logger.warning("The model URI cannot be looked at: %s", error)
            except Exception:  # whatever it is, the next look comes
                logger.exception("A look at the model URI failed")
                self._notify(False)

    def _notify(self, succeeded: bool) -> None:
        try:
            self.on_reload(succeeded)
        except Exception:  # an observer must not end the watch
            logger.exception("A new model could not be counted")
