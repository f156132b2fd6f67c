"""The class that Seldon Core's Python wrapper runs.

`server` is the usual server; this class answers the same under the wrapper's own command,
and is what the usual server's answers are held against:

    cd seldon && MODEL_URI=../models/forecaster.onnx seldon-core-microservice ForecastModel
"""

import logging
import os
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np
from seldon_core.proto.prediction_pb2 import SeldonMessage
from seldon_core.utils import construct_response, construct_response_json

from kalecast.artifact.contract import Contract, open_session, read_contract
from kalecast.artifact.runtime import Forecaster, HistoryError
from kalecast.artifact.store import fetch
from kalecast.serving import description
from kalecast.serving.messages import SeldonRequest, read_json, read_proto
from kalecast.serving.wrapper_refusals import WrapperRefusal, error_replies, not_offered

MODEL_URI_VARIABLE = "MODEL_URI"

logger = logging.getLogger(__name__)


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
            request = read_proto(msg) if is_proto else read_json(msg)
            forecast = self._forecast(request.histories)
        except (HistoryError, RecursionError) as error:
            with self._lock:
                self._refused += 1
            raise _refusal(error) from None
        metrics = self._measured(len(forecast), perf_counter() - started)
        if is_proto:
            return construct_response(self, False, msg, forecast, None, metrics)
        return construct_response_json(self, False, _echoed(request), forecast, None, metrics)

    def class_names(self) -> list[str]:
        """Names of the answer's columns, such as `q0.5` for the median."""
        return description.columns(self.contract)

    def tags(self) -> dict[str, str]:
        """Which model answered."""
        return description.tags(self.contract)

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
        return description.metadata(self.contract)

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


def _echoed(request: SeldonRequest) -> dict[str, Any]:
    """The parts of a request that the wrapper repeats in its answer.

    Not the sender's tags and metrics, which the stock wrapper passes on: the metrics would be
    counted as the server's own.
    """
    return {"data": {request.form: None}, "meta": {"puid": request.puid}}


def _counter(key: str, value: int) -> dict[str, Any]:
    return {"type": "COUNTER", "key": key, "value": value}
