"""When recurring runs start."""

import re
from dataclasses import dataclass

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SHORTEST_SECONDS = 60


class ScheduleError(ValueError):
    """What was typed is no schedule; the text says what is."""


@dataclass(frozen=True)
class Schedule:
    """When runs start: every so many seconds, or by a cron expression."""

    every_seconds: int | None = None
    cron: str | None = None

    def __str__(self) -> str:
        return f"every {self.every_seconds} s" if self.every_seconds else f"at {self.cron}"


def read_schedule(every: str | None, cron: str | None) -> Schedule:
    """The schedule that was typed.

    Raises:
        ScheduleError: it is none.
    """
    if every and cron:
        raise ScheduleError("Expected EVERY or CRON, received both.")
    if every:
        found = re.fullmatch(r"(\d+)([smhd])", every.strip())
        seconds = int(found[1]) * UNITS[found[2]] if found else 0
        if seconds < SHORTEST_SECONDS:
            raise ScheduleError(
                f"Expected a time of at least a minute such as EVERY=24h (s, m, h, d), "
                f"received: {every!r}."
            )
        return Schedule(every_seconds=seconds)
    fields = (cron or "").split()
    # With five, KFP would take the first for the seconds and forgo the day of the week.
    if len(fields) != 6:
        raise ScheduleError(
            "Expected six fields, the first the seconds, such as CRON='0 0 3 * * *' (each day at "
            f"3:00), received: {cron!r}."
        )
    return Schedule(cron=" ".join(fields))
