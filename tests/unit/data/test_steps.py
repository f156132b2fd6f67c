"""A count and a frequency become words that are true of the data's own step."""

import pytest

from kalecast.data.steps import (
    has_cycle,
    period_in_words,
    span_in_words,
    step_in_words,
    step_name,
    steps_in_words,
)


@pytest.mark.parametrize(
    ("count", "frequency", "steps", "span"),
    [
        (1, "h", "1 hour", "1 hour"),
        (48, "h", "48 hours", "48 hours"),
        (1008, "h", "1,008 hours", "1,008 hours"),
        (93, "15min", "93 quarter-hours", "23 hours 15 minutes"),
        (1, "15min", "1 quarter-hour", "15 minutes"),
        (96, "15min", "96 quarter-hours", "24 hours"),
        (3, "30min", "3 half-hours", "1 hour 30 minutes"),
        (16, "3h", "16 3-hour steps", "48 hours"),
        (25, "5min", "25 5-minute steps", "2 hours 5 minutes"),
        (2, "90min", "2 90-minute steps", "3 hours"),
        (1, "D", "1 day", "1 day"),
        (14, "D", "14 days", "14 days"),
        (2, "7D", "2 weeks", "2 weeks"),
        (14, "24h", "14 days", "14 days"),
        (13, "W-SUN", "13 weeks", "13 weeks"),
        (1, "W-FRI", "1 week", "1 week"),
        (12, "MS", "12 months", "12 months"),
        (1, "ME", "1 month", "1 month"),
        (8, "QS-JAN", "8 quarters", "8 quarters"),
        (5, "B", "5 business days", "5 business days"),
        (3, "YS", "3 steps of YS", "3 steps of YS"),
        (0, "h", "0 hours", "0 hours"),
        (0, "-1h", "0 steps of -1h", "0 steps of -1h"),
    ],
)
def test_steps_and_how_long_they_last(count: int, frequency: str, steps: str, span: str) -> None:
    assert steps_in_words(count, frequency) == steps
    assert span_in_words(count, frequency) == span


@pytest.mark.parametrize(
    ("frequency", "adjective"),
    [
        ("h", "hourly"),
        ("15min", "quarter-hourly"),
        ("30min", "half-hourly"),
        ("10min", "10-minute"),
        ("3h", "3-hour"),
        ("D", "daily"),
        ("7D", "weekly"),
        ("W-MON", "weekly"),
        ("ME", "monthly"),
        ("QE", "quarterly"),
        ("B", "business-day"),
    ],
)
def test_values_are_called_by_their_step(frequency: str, adjective: str) -> None:
    assert step_name(frequency).adjective == adjective


@pytest.mark.parametrize(
    ("frequency", "words"),
    [
        ("h", "hour"),
        ("15min", "15 minutes"),
        ("2h", "2 hours"),
        ("D", "day"),
        ("W-SUN", "week"),
        ("MS", "month"),
        ("QS", "quarter"),
        ("B", "business day"),
    ],
)
def test_there_is_one_value_every_step(frequency: str, words: str) -> None:
    assert step_in_words(frequency) == words


@pytest.mark.parametrize(
    ("season", "frequency", "words", "cycle"),
    [
        (24, "h", "day", True),
        (96, "15min", "day", True),
        (168, "h", "week", False),
        (7, "D", "week", False),
        (5, "B", "week", False),
        (52, "W-SUN", "year", False),
        (12, "MS", "year", False),
        (4, "QS", "year", False),
        (1, "MS", "month", False),
        (60, "min", "hour", False),
        (12, "h", "12 hours", False),
    ],
)
def test_seasons_are_called_by_the_calendar_and_only_days_make_another(
    season: int, frequency: str, words: str, cycle: bool
) -> None:
    assert period_in_words(season, frequency) == words
    assert has_cycle(season, frequency) is cycle
