"""Refusals: the answer where there is no forecast, whichever protocol the request came in."""

PREDICTIONS = "/api/v1.0/predictions"


class Refusal(Exception):
    """A request that is not answered; the message, one line, is for its sender.

    Args:
        message: what was expected and what was received.
        status: HTTP status; gRPC has a code for each.
        retry_after: seconds after which the sender may try again, where that helps.
        allowed: HTTP methods that would do.
    """

    def __init__(
        self,
        message: str,
        status: int = 400,
        retry_after: int | None = None,
        allowed: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.allowed = allowed


class ServerOverloaded(Refusal):
    """There is no room for the request; nothing of it was computed."""

    def __init__(self) -> None:
        super().__init__(
            "The server has more to answer than it can just now; please try again.", 503, 1
        )


class NotDecoded(Refusal):
    """The request's body is compressed, or encoded otherwise."""

    def __init__(self, coding: str) -> None:
        super().__init__(
            f"Expected a body as it is, without Content-Encoding, received: {coding}.", 415
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
