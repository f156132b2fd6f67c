"""The plain routes: stateless HTTP and JSON, for programs and for the page's own traffic."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import markup
import orjson
import words
from fastapi import FastAPI, Request, Response
from forecast_client import ModelServer, Refused, ServiceDown
from forecasting import Forecast, forecast
from history import History, parse_numbers, parse_start, shown
from starlette.exceptions import HTTPException

from kalecast.series import SeriesError

logger = logging.getLogger(__name__)

LARGEST_BODY = 512 * 1024
FIELDS = {"history", "start", "horizon"}

Handler = Callable[[Request], Awaitable[Response]]


def answer(result: Forecast) -> dict[str, Any]:
    """A forecast as the routes answer it: column by column, quantiles by name."""
    stamps = result.stamps(1, result.horizon)
    when = {"ds": [stamp.isoformat(" ") for stamp in stamps]} if stamps else {}
    columns = result.values.T.round(result.decimals).tolist()
    quantiles = {
        f"{q:g}": column for q, column in zip(result.contract.quantiles, columns, strict=True)
    }
    return {
        "model": {"name": result.contract.name, "version": result.contract.version},
        "forecast": {**(when or {"step": list(range(1, result.horizon + 1))}), **quantiles},
        "notes": words.notes(result),
    }


def add_routes(app: FastAPI, server: ModelServer) -> None:
    """Add the plain routes; whatever goes wrong in them is answered as JSON."""

    async def ask(request: Request) -> Response:
        history, horizon = _question(await _body(request))
        return _json(answer(await forecast(server, history, horizon)))

    async def model(_: Request) -> Response:
        return Response((await server.contract()).to_json(), media_type="application/json")

    async def ready(_: Request) -> Response:
        contract = await server.contract(age=1.0)
        return _json({"status": "ready", "model": contract.name, "version": contract.version})

    async def alive(_: Request) -> Response:
        return _json({"status": "alive"})

    async def example(_: Request) -> Response:
        headers = {"Content-Disposition": 'attachment; filename="example.csv"'}
        return Response(markup.example_csv(), media_type="text/csv", headers=headers)

    async def missing(request: Request) -> Response:
        allowed = {"/api/forecast": "POST", "/api/model": "GET", "/api/example.csv": "GET"}
        if method := allowed.get(request.url.path):
            text = f"Expected {method}, received {request.method}."
            return _json({"detail": text}, 405, {"Allow": method})
        return _json({"detail": f"There is no {shown(request.url.path)} here."}, 404)

    for path, method, handler in (
        ("/api/forecast", "POST", ask),
        ("/api/model", "GET", model),
        ("/api/example.csv", "GET", example),
        ("/health", "GET", alive),
        ("/ready", "GET", ready),
    ):
        app.add_route(path, _guarded(handler), methods=[method])
    # Without it, what is no route here would reach Gradio, which is mounted at the root.
    app.add_route("/api/{rest:path}", missing, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])


def _guarded(handler: Handler) -> Handler:
    """The same handler, its errors as `{"detail": …}`."""

    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except (SeriesError, Refused) as error:
            return _json({"detail": str(error)}, 400)
        except HTTPException as error:
            return _json({"detail": error.detail}, error.status_code)
        except ServiceDown as error:
            logger.warning("The model server does not answer: %s", error)
            return _json({"detail": words.DOWN}, 503, {"Retry-After": "5"})
        except Exception:
            logger.exception("%s failed", request.url.path)
            return _json({"detail": words.FAULT}, 500)

    return guarded


async def _body(request: Request) -> Any:
    """The JSON of a body that is not larger than it may be, whatever its header says."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(
            415, f"Expected the Content-Type application/json, received: {shown(kind)}."
        )
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > LARGEST_BODY:
            raise HTTPException(413, f"Expected a body of at most {LARGEST_BODY // 1024} KB.")
        parts.append(part)
    try:
        return orjson.loads(b"".join(parts))
    except orjson.JSONDecodeError:
        raise SeriesError('Expected JSON such as {"history": "310, 295.5, 301.2"}.') from None


def _question(body: Any) -> tuple[History, int | None]:
    """History and horizon out of a body."""
    if not isinstance(body, dict):
        raise SeriesError(f"Expected a JSON object, received: {shown(body)}.")
    if unknown := sorted(body.keys() - FIELDS):
        raise SeriesError(
            f"Expected the fields history, start and horizon, received also: {shown(unknown[0])}."
        )
    history, start, horizon = body.get("history"), body.get("start"), body.get("horizon")
    if not isinstance(history, str):
        raise SeriesError(
            "Expected history as one text of numbers such as '310, 295.5, 301.2', received: "
            f"{shown(history)}."
        )
    if not isinstance(start, str | None):
        raise SeriesError(f"Expected start as a text, received: {shown(start)}.")
    if isinstance(horizon, bool) or not isinstance(horizon, int | None):
        raise SeriesError(f"Expected horizon as a whole number, received: {shown(horizon)}.")
    return History(parse_numbers(history), parse_start(start or "")), horizon


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")
