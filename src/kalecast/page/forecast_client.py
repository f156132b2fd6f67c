"""The client of the model server: its contract, and forecasts of one history each.

Forecasts requested at the same time share a request (`coalescing.py`); which replica answers it,
and what happens when one does not, is the matter of `upstream.py`.
"""

import asyncio
import time
from collections.abc import Sequence

from kalecast.artifact.contract import Contract
from kalecast.page import metrics
from kalecast.page import seldon_protocol as protocol
from kalecast.page.coalescing import Caller, Coalescer
from kalecast.page.outcomes import Refused, ServiceDown
from kalecast.page.seldon_protocol import Floats
from kalecast.page.settings import Settings
from kalecast.page.upstream import Replica, Upstream

CONTRACT_AGE = 60.0
"""Seconds after which the contract is requested again, even if no answer named another one."""

PAUSE = 1.0
"""Seconds between two requests for the contract, while old and new models answer in turn."""

CONTRACT_SECONDS = 5.0
"""Seconds that such a request may take."""

REFUSALS = (400, 413, 422)
"""Statuses that speak of the history; another 4xx is the installation's fault."""

MOST_CONTRACTS = 8
"""Contracts of models that answered lately; more than ever serve at the same time."""


class ModelServer:
    """A model server: its contract, and its forecasts.

    Example:
        >>> async with ModelServer(settings) as server:
        ...     contract = await server.contract()
        ...     contract, forecast = await server.forecast(values, Caller.within(20))
    """

    def __init__(self, settings: Settings) -> None:
        self._upstream = Upstream(settings.model_servers)
        self._coalescer = Coalescer(
            self._forecast_all,
            requests=settings.upstream_requests * len(settings.model_servers),
            most_items=settings.upstream_windows,
            most_waiting=settings.most_waiting,
        )
        self._contracts: dict[str, Contract] = {}
        self._newest: Contract | None = None
        self._fetched = 0.0
        self._fetching = asyncio.Lock()

    async def __aenter__(self) -> "ModelServer":
        await self._upstream.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._upstream.__aexit__(*error)

    async def contract(self, age: float = CONTRACT_AGE) -> Contract:
        """The contract of the model that is being served.

        Args:
            age: seconds for which what is known of it counts as known.

        Raises:
            ServiceDown, Overloaded: the server does not answer.
        """
        return self._known(age) or await self._fetch_contract(age)

    async def forecast(self, values: Floats, caller: Caller) -> tuple[Contract, Floats]:
        """Forecast one history.

        Args:
            values: newest value last, NaN where unknown.
            caller: who waits for it.

        Returns:
            The contract of the model that answered, and its forecast of shape
            `(horizon, quantiles)`.

        Raises:
            ServiceDown: the server does not answer.
            Overloaded: more is requested than it can answer in time.
            Refused: it refuses this history.
        """
        answer = await self._coalescer.get(values, caller)
        metrics.FORECASTS.inc()
        return answer

    async def _forecast_all(
        self, histories: Sequence[Floats], deadline: float
    ) -> Sequence[tuple[Contract, Floats]]:
        reply = await self._upstream.request(
            "POST",
            protocol.PREDICTIONS,
            protocol.request_body(histories),
            deadline=deadline,
            forecasts=len(histories),
        )
        if reply.status in REFUSALS:
            raise Refused(protocol.read_reason(reply.content))
        if reply.status != 200:
            raise ServiceDown(f"a forecast was answered with {reply.status}")
        forecasts, version = protocol.read_forecasts(reply.content, len(histories))
        contract = await self._contract_of(version, forecasts, reply.replica)
        return [(contract, forecast) for forecast in forecasts]

    async def _contract_of(
        self, version: str | None, forecasts: Floats, replica: Replica
    ) -> Contract:
        """The contract of the model that made these forecasts.

        Another model may have come meanwhile, to all replicas or to this one first.
        """
        if (contract := self._contracts.get(version or "")) is None:
            contract = await self.contract()
        if not _fits(forecasts, contract):
            contract = await self._fetch_contract(0.0, replica)
        elif version not in (None, contract.version):
            contract = await self._fetch_contract(PAUSE, replica)
        if not _fits(forecasts, contract):
            raise ServiceDown(f"forecasts of shape {forecasts.shape} against the contract")
        self._newest = contract
        return contract

    def _known(self, age: float) -> Contract | None:
        return self._newest if time.monotonic() - self._fetched < age else None

    async def _fetch_contract(self, age: float, replica: Replica | None = None) -> Contract:
        async with self._fetching:
            # Others may have waited here while the first one requested it.
            if (known := self._known(age)) is not None:
                return known
            deadline = time.monotonic() + CONTRACT_SECONDS
            reply = await self._upstream.request(
                "GET", protocol.METADATA, deadline=deadline, only=replica
            )
            if reply.status != 200:
                raise ServiceDown(f"the metadata were answered with {reply.status}")
            contract = protocol.read_contract(reply.content)
            self._newest, self._fetched = contract, time.monotonic()
            self._contracts[contract.version] = contract
            if len(self._contracts) > MOST_CONTRACTS:
                del self._contracts[next(iter(self._contracts))]
            return contract


def _fits(forecasts: Floats, contract: Contract) -> bool:
    return forecasts.shape[1:] == (contract.horizon, len(contract.quantiles))
