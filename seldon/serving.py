"""The model that is being served, and how a new one takes its place."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import description
import numpy as np
from trial import try_out

from kalecast.bundle import BundleError, Contract, verify_content
from kalecast.runtime import Forecaster, Windows
from kalecast.store import StoreError, fetch, state

logger = logging.getLogger(__name__)


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
        BundleError: it is no model file, or does not forecast.
    """
    return open_content(fetch(uri))


def open_content(model_file: bytes) -> ServedModel:
    """Open the bytes of a model file and forecast once.

    Raises:
        BundleError: they are no model file, or it does not forecast.
    """
    model = ServedModel(Forecaster(model_file))
    try:
        tried = model.forecast_windows(np.zeros((2, model.contract.input_length)))
    except Exception as error:  # ONNX Runtime's errors share no narrower public class
        raise BundleError(f"Expected a model that forecasts, received: {error}") from error
    if not np.isfinite(tried).all():
        raise BundleError("Expected finite forecasts of a history of zeros, received others.")
    return model


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
        self.on_reload: Callable[[bool], None] = lambda succeeded: None
        """Is told of each attempt whether it succeeded."""

    @classmethod
    def open(cls, uri: str) -> "Serving":
        """Serve what is at a model URI.

        Raises:
            StoreError, BundleError: as for `open_model`.
        """
        seen = state(uri)
        return cls(uri, open_model(uri), seen)

    async def reload(self) -> bool:
        """Serve what the model URI holds now; keep the old model if that is no good.

        Returns:
            Whether it was good.
        """
        async with self._loading:
            try:
                seen = await asyncio.to_thread(state, self._uri)
                model = await asyncio.to_thread(_open_tried, self._uri)
            except (StoreError, BundleError) as error:
                logger.error("Going on with %s: %s", self.model.contract.version, error)
                self.on_reload(False)
                return False
            self.model, self._seen = model, seen
            logger.info("Serving %s %s", model.contract.name, model.contract.version)
            self.on_reload(True)
            return True

    async def watch(
        self, seconds: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Reload whenever the file at the model URI changes; a bad one is tried once."""
        while True:
            await sleep(seconds)
            try:
                found = await asyncio.to_thread(state, self._uri)
            except StoreError as error:
                logger.warning("The model URI cannot be looked at: %s", error)
                continue
            if found != self._seen and not await self.reload():
                self._seen = found
