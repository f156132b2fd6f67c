"""The model in use, and how a new one takes its place."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic

from kalecast.artifact.contract import ContractError, verify_content
from kalecast.artifact.store import StoreError, fetch, state
from kalecast.serving.model import ServedModel, open_content, open_model
from kalecast.serving.trial import try_out

logger = logging.getLogger(__name__)


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
