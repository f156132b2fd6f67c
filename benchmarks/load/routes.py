"""The ways to a forecast that are put under load: their bodies, and what is right as an answer."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.load.job import Job, Shape
from benchmarks.load.local_service import LocalService
from kalecast.artifact.runtime import Forecaster
from kalecast.client.messages import (
    INFER,
    PREDICTIONS,
    inference_forecasts,
    inference_request,
    seldon_forecasts,
    seldon_request,
)

Floats = npt.NDArray[np.float64]

TOLERANCE = 1e-3
"""Of an answer against the model file, relative to its largest value: networks compute in
float32, and batches of other sizes round otherwise."""


class Address(Protocol):
    """Whatever has an address, `host:port`."""

    @property
    def address(self) -> str:
        """Where it listens."""


@dataclass(frozen=True)
class LoadRoute:
    """A URL to POST to, with a prepared body a client."""

    name: str
    job: Job
    """What to request, where, and where the forecast is in the answer; its load is to be set."""
    read: Callable[[Any], Floats] | None
    """An answer's forecasts, of shape `(series, horizon, quantiles)`, where it has them as
    numbers."""

    def loaded(self, shape: Shape, clients: int, **changes: Any) -> Job:
        """A job of this route."""
        return replace(self.job, shape=shape, clients=clients, **changes)


def histories(count: int, length: int) -> Floats:
    """Different series: days and weeks at different scales, with noise; one decimal."""
    chance = np.random.default_rng(0)
    hour = np.arange(length)
    phase, scale = chance.uniform(0, 24, (count, 1)), 10.0 ** chance.uniform(1, 4, (count, 1))
    day = np.sin((hour + phase) * 2 * np.pi / 24) * np.where(hour // 24 % 7 < 5, 1.0, 0.5)
    noise = 0.1 * chance.standard_normal((count, length))
    values: Floats = (scale * (3 + day + noise)).round(1)
    return values


def model_route(server: Address, windows: Floats, folder: Path) -> LoadRoute:
    """The model server in Seldon's protocol, one window a request."""
    return seldon_route(server, windows[:, np.newaxis], folder)


def seldon_route(server: Address, batches: Floats, folder: Path) -> LoadRoute:
    """The model server in Seldon's protocol: `batches` are `(requests, windows, values)`."""
    bodies = (seldon_request(batch.tolist()) for batch in batches)
    file = _write(folder / f"seldon-{batches.shape[1]}.jsonl", bodies)
    job = Job("burst", (server.address,), PREDICTIONS, file, 1, ("data", "ndarray"))
    return LoadRoute("model server", job, lambda answer: seldon_forecasts(answer)[0])


def open_inference_route(server: Address, batches: Floats, folder: Path) -> LoadRoute:
    """A model server in the Open Inference Protocol v2."""
    bodies = (inference_request(batch.tolist()) for batch in batches)
    file = _write(folder / f"v2-{batches.shape[1]}.jsonl", bodies)
    path, at = INFER.format(name="forecaster"), ("outputs", 0, "data")
    job = Job("burst", (server.address,), path, file, 1, at)
    return LoadRoute("model server", job, inference_forecasts)


def api_route(app: Address, windows: Floats, folder: Path) -> LoadRoute:
    """The app's plain route, which takes a history as one text."""
    file = _write(folder / "api.jsonl", ({"history": _text(window)} for window in windows))

    def read(answer: Any) -> Floats:
        columns = [column for name, column in answer["forecast"].items() if _is_quantile(name)]
        return np.asarray(columns, dtype=np.float64).T[np.newaxis]

    job = Job("burst", (app.address,), "/api/forecast", file, 1, ("forecast", "0.5"))
    return LoadRoute("app", job, read)


def page_route(app: LocalService, windows: Floats, folder: Path) -> LoadRoute:
    """What the page's button sends from a browser; Gradio numbers its events anew in each build."""
    config = json.loads(app.request("GET", "/config")[1])
    (number,) = [d["id"] for d in config["dependencies"] if d["api_name"] == "show"]
    bodies = (
        {
            "fn_index": number,
            "session_hash": f"client{client}",
            "data": ["Your numbers", None, None, None, _text(window), "", 48],
        }
        for client, window in enumerate(windows)
    )
    path, plot = "/gradio_api/run/predict", ("data", 2, "value", "plot")
    file = _write(folder / "page.jsonl", bodies)
    return LoadRoute("page", Job("burst", (app.address,), path, file, 1, plot), None)


def checked(
    summaries: list[dict[str, Any]], route: LoadRoute, batches: Floats, forecaster: Forecaster
) -> list[dict[str, Any]]:
    """Hold the driver's samples against the model file, and count wrong forecasts as errors.

    Args:
        summaries: as the driver returns them; samples become `compared`, how many there were.
        route: where they come from.
        batches: shape `(requests, windows, values)`, in the order of the route's bodies.
        forecaster: the model file.
    """
    for summary in summaries:
        samples = summary.pop("samples")
        wrong = sum(
            not is_right(route, one["body"], batches[one["client"] % len(batches)], forecaster)
            for one in samples
        )
        summary["compared"] = len(samples) if route.read else 0
        if wrong:
            summary["ok"] -= wrong
            summary["errors"] += wrong
            summary["kinds"]["wrong forecast"] = wrong
    return summaries


def is_right(route: LoadRoute, body: str | bytes, batch: Floats, forecaster: Forecaster) -> bool:
    """Whether an answer is the model file's own forecast of the batch that was sent.

    An answer of a route that has no numbers is.
    """
    if route.read is None:
        return True
    found, expected = route.read(json.loads(body)), forecaster.forecast_windows(batch)
    near = TOLERANCE * float(np.abs(expected).max())
    return found.shape == expected.shape and bool(np.abs(found - expected).max() <= near)


def _write(path: Path, bodies: Iterable[dict[str, Any]]) -> str:
    """One JSON body a line; returns the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.writelines(json.dumps(body, separators=(",", ":")) + "\n" for body in bodies)
    return str(path)


def _text(window: Floats) -> str:
    return ",".join(f"{value:g}" if value < 1e5 else f"{value:.1f}" for value in window)


def _is_quantile(name: str) -> bool:
    return name.replace(".", "", 1).isdigit()
