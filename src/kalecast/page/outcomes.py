"""Outcomes other than a forecast, and the message to a customer for each."""

from dataclasses import dataclass

DOWN = "The forecasting service is not answering just now; please try again in a minute."
FAULT = "Something went wrong on our side. Please try again; your data were not the reason."


@dataclass(frozen=True)
class Problem:
    """An outcome as an HTTP status and text."""

    status: int
    text: str
    retry_after: int | None = None
    """Seconds after which a retry makes sense."""
    challenge: str = ""
    """How programs authenticate; empty for people, whom a browser would ask for a password."""

    @property
    def headers(self) -> dict[str, str]:
        """The answer's headers."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.challenge:
            headers["WWW-Authenticate"] = self.challenge
        return headers


BUSY = Problem(503, "Very many people are asking just now; please try again in a few seconds.", 3)


class Outcome(Exception):
    """An outcome other than a forecast; `problem` is what its customer hears of it."""

    problem: Problem


class ServiceDown(Outcome):
    """The model server does not answer, or not in its protocol."""

    problem = Problem(503, DOWN, 5)


class Overloaded(Outcome):
    """More is requested than can be answered in time."""

    problem = BUSY


class Refused(Outcome):
    """The model server refused a history; the text says why."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(400, text)


class Unacceptable(Outcome):
    """A request for no forecast at all; status and text say why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(status, text)


class TurnedAway(Outcome):
    """The caller is unknown, or over its quota; the problem says which."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem
