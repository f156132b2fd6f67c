"""Refusals under Seldon Core's own wrapper: a 4xx in Seldon's status format.

The stock wrapper answers most bad requests with 500. Two of its public hooks reach what a model
cannot see: a model's `model_error_handler`, a Flask blueprint that the wrapper registers on its
application, and the application's `request_class`.
"""

from json import JSONDecodeError
from typing import Any

from flask import Blueprint, Request, Response, jsonify, request
from flask.blueprints import BlueprintSetupState
from seldon_core.flask_utils import SeldonMicroserviceException
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from kalecast.serving.messages import shown
from kalecast.serving.refusals import PREDICTIONS, only_forecasts

LARGEST_REQUEST = 4 * 1024 * 1024
"""Bytes of a request, REST or gRPC. JSON takes up to 24 times its size once it is read, in each
of the server's threads."""


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
