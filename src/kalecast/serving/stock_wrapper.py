"""The class that Seldon Core's Python wrapper runs.

`server` is the usual server; this class answers the same under the wrapper's own command,
and is what the usual server's answers are held against:

    cd seldon && MODEL_URI=../models/forecaster.onnx seldon-core-microservice ForecastModel
"""

import logging
import os
from json import JSONDecodeError
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np
from flask import Blueprint, Request, Response, jsonify, request
from flask.blueprints import BlueprintSetupState
from seldon_core.flask_utils import SeldonMicroserviceException
from seldon_core.proto.prediction_pb2 import SeldonMessage
from seldon_core.utils import construct_response, construct_response_json
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from kalecast.artifact.contract import Contract, open_session, read_contract
from kalecast.artifact.runtime import Forecaster, HistoryError
from kalecast.artifact.store import fetch
from kalecast.serving import model
from kalecast.serving.messages import SeldonRequest, read_json, read_proto, shown
from kalecast.serving.refusals import PREDICTIONS, only_forecasts

MODEL_URI_VARIABLE = "MODEL_URI"
LARGEST_REQUEST = 4 * 1024 * 1024
"""Bytes of a request, REST or gRPC. JSON takes up to 24 times its size once it is read, in each
of the server's threads."""

logger = logging.getLogger(__name__)


class WrapperRefusal(SeldonMicroserviceException):
    """A request that is not answered; the message is for its sender."""

    def __init__(
        self, message: str, status_code: int = 400, reason: str = "MICROSERVICE_BAD_DATA"
    ) -> None:
        """Say why, as one line, and with which HTTP status."""
        super().__init__(message, status_code=status_code, reason=reason)

    def __str__(self) -> str:
        """The message: Seldon's own class has none here, and gRPC would show nothing."""
        return str(self.message)


class ForecastModel:
    """Answers forecasts from one model file.

    The file is fetched once, so that all workers, and those started later, answer from the
    same one. Each worker opens its own session on it in `load`. Threads may share an object:
    a session may be run from many, and the only state besides is a count behind a lock.
    """

    def __init__(self, model_uri: str = "") -> None:
        """Fetch the model file and read its contract.

        Args:
            model_uri: where the file is; without it the environment's `MODEL_URI`.

        Raises:
            StoreError: there is no file.
            ContractError: the file is no model file.
        """
        self._file = fetch(model_uri or os.environ.get(MODEL_URI_VARIABLE, ""))
        self.contract: Contract = read_contract(open_session(self._file))
        self.model_error_handler = error_replies()
        self._forecaster: Forecaster | None = None
        self._refused = 0
        self._lock = Lock()

    def load(self) -> None:
        """Open the model file; the wrapper calls this in each of its workers."""
        self._forecaster = Forecaster(self._file)

    def predict_raw(self, msg: Any) -> Any:
        """Answer a message, as JSON or as protobuf, in the form in which it came.

        The answer has shape (histories, horizon, quantiles); `names` name its last axis.

        Raises:
            WrapperRefusal: it cannot be forecast from.
        """
        is_proto = isinstance(msg, SeldonMessage)
        started = perf_counter()
        try:
            sent = read_proto(msg) if is_proto else read_json(msg)
            forecast = self._forecast(sent.histories)
        except (HistoryError, RecursionError) as error:
            with self._lock:
                self._refused += 1
            raise _refusal(error) from None
        metrics = self._measured(len(forecast), perf_counter() - started)
        if is_proto:
            return construct_response(self, False, msg, forecast, None, metrics)
        return construct_response_json(self, False, _echoed(sent), forecast, None, metrics)

    def class_names(self) -> list[str]:
        """Names of the answer's columns, such as `q0.5` for the median."""
        return model.columns(self.contract)

    def tags(self) -> dict[str, str]:
        """Which model answered."""
        return model.tags(self.contract)

    def metrics(self) -> list[dict[str, Any]]:
        """Refusals since the last call; the wrapper also calls this on each health check."""
        with self._lock:
            refused, self._refused = self._refused, 0
        return [_counter("kalecast_refused", refused)] if refused else []

    def health_status(self) -> dict[str, str]:
        """Forecast once, and say which model is ready.

        Raises:
            WrapperRefusal: the forecast failed.
        """
        self._forecast(np.zeros((1, self.contract.input_length)))
        return {"status": "ready", **self.tags()}

    def init_metadata(self) -> dict[str, Any]:
        """The model as the protocols describe one."""
        return model.metadata(self.contract)

    def _not_offered(self, msg: Any) -> Any:
        raise not_offered()

    # The wrapper has routes for these whatever a model offers, and fails inside them.
    send_feedback_raw = transform_input_raw = transform_output_raw = _not_offered
    route_raw = aggregate_raw = _not_offered

    def _forecast(self, histories: Any) -> Any:
        if self._forecaster is None:
            raise WrapperRefusal("The model is not loaded yet.", 503, "MICROSERVICE_NOT_READY")
        try:
            return self._forecaster.forecast(histories)
        except (HistoryError, RecursionError):
            raise
        except Exception:  # ONNX Runtime's errors share no narrower public class
            logger.exception("The forecast failed")
            raise WrapperRefusal(
                "The forecast failed.", 500, "MICROSERVICE_INTERNAL_ERROR"
            ) from None

    def _measured(self, histories: int, seconds: float) -> list[dict[str, Any]]:
        timer = {"type": "TIMER", "key": "kalecast_forecast_seconds", "value": seconds * 1000}
        return [
            _counter("kalecast_forecasts", 1),
            _counter("kalecast_histories", histories),
            timer,
            *self.metrics(),
        ]


def _refusal(error: Exception) -> WrapperRefusal:
    if isinstance(error, RecursionError):
        return WrapperRefusal("Expected rows of numbers, received lists nested too deeply.")
    return WrapperRefusal(str(error))


def _echoed(sent: SeldonRequest) -> dict[str, Any]:
    """The parts of a request that the wrapper repeats in its answer.

    Not the sender's tags and metrics, which the stock wrapper passes on: the metrics would be
    counted as the server's own.
    """
    return {"data": {sent.form: None}, "meta": {"puid": sent.puid}}


def _counter(key: str, value: int) -> dict[str, Any]:
    return {"type": "COUNTER", "key": key, "value": value}


# The stock wrapper answers most bad requests with 500. Two of its public hooks reach what a model
# cannot see: a model's `model_error_handler`, a Flask blueprint that the wrapper registers on its
# application, and the application's `request_class`.


class JSONRequest(Request):
    """A request whose body must be JSON, and which says what is wrong with it."""

    def on_json_loading_failed(self, e: ValueError | None) -> Any:
        """Refuse a body that is no JSON, or (no error given) is not declared as JSON."""
        if e is None:
            received = shown(self.mimetype) if self.mimetype else "none"
            raise WrapperRefusal(
                f"Expected the content type application/json, received: {received}.", 415
            )
        if len(self.get_data()) >= LARGEST_REQUEST:
            raise RequestEntityTooLarge  # a body of undeclared length is cut at the limit
        raise _no_json(e)


def error_replies() -> Blueprint:
    """The blueprint for a model's `model_error_handler`."""
    replies = Blueprint("error_replies", __name__)
    replies.record(_configure)
    replies.before_app_request(_refuse_feedback)
    replies.app_errorhandler(HTTPException)(_http_error)
    # The model raises neither; they come from the wrapper's own reading of forms and bodies.
    replies.app_errorhandler(ValueError)(_unreadable)
    replies.app_errorhandler(RecursionError)(_too_deep)
    return replies


def _configure(state: BlueprintSetupState) -> None:
    state.app.request_class = JSONRequest
    state.app.config["MAX_CONTENT_LENGTH"] = LARGEST_REQUEST
    # Seldon's own client can send its JSON as a form.
    state.app.config["MAX_FORM_MEMORY_SIZE"] = LARGEST_REQUEST


def _http_error(error: HTTPException) -> Any:
    """What Flask itself refuses, which the wrapper would turn into a 500."""
    code = error.code or 500
    if code < 400:
        return error
    messages = {
        404: f"There is nothing at this path. Forecasts are answered at {PREDICTIONS}.",
        405: f"Expected another method. Forecasts are answered to POST at {PREDICTIONS}.",
        413: f"Expected a request of at most {LARGEST_REQUEST} bytes, received a larger one.",
    }
    described = " ".join((error.description or error.name).split())
    reply = _reply(WrapperRefusal(messages.get(code, described), code))
    for name, value in error.get_headers():
        if name == "Allow":
            reply.headers[name] = value
    return reply


def _refuse_feedback() -> None:
    """Before the wrapper reads it, whose complaint about what it reads takes several lines."""
    if request.endpoint == "SendFeedback":
        raise not_offered()


def not_offered() -> WrapperRefusal:
    """The refusal of what the protocol has and this model has not."""
    refusal = only_forecasts()
    return WrapperRefusal(str(refusal), refusal.status)


def _no_json(error: ValueError) -> WrapperRefusal:
    where = f": {error}" if isinstance(error, JSONDecodeError) else ""
    return WrapperRefusal(f"Expected JSON, received text that cannot be read as such{where}.")


def _unreadable(error: ValueError) -> Response:
    return _reply(_no_json(error))


def _too_deep(error: RecursionError) -> Response:
    return _reply(WrapperRefusal("Expected rows of numbers, received lists nested too deeply."))


def _reply(refusal: WrapperRefusal) -> Response:
    reply = jsonify(refusal.to_dict())
    reply.status_code = refusal.status_code
    return reply
