"""Refusals: the answer where there is no forecast, whichever protocol the request came in."""

from collections.abc import Mapping

PREDICTIONS = "/api/v1.0/predictions"


class Refusal(Exception):
    """A request that is not answered; the message, one line, is for its sender.

    Args:
        message: what was expected and what was received.
        status: HTTP status; gRPC has a code for each.
        headers: of the answer over HTTP, such as when to try again.
    """

    def __init__(
        self, message: str, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


class ServerOverloaded(Refusal):
    """There is no room for the request; nothing of it was computed."""

    def __init__(self) -> None:
        super().__init__(
            "The server has more to answer than it can just now; please try again.",
            503,
            {"retry-after": "1"},
        )


class TooLate(Refusal):
    """The request's time was over before its turn came; nothing of it was computed."""

    def __init__(self) -> None:
        super().__init__("The request's time was over before its turn came.", 504)


class Failed(Refusal):
    """The forecast failed; the log says why."""

    def __init__(self) -> None:
        super().__init__("The forecast failed.", 500)


def only_forecasts() -> Refusal:
    """The refusal of what the Seldon protocol has and this model has not."""
    return Refusal(f"This model only forecasts: POST to {PREDICTIONS}.", 404)
