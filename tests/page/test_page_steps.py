"""The page of models of other steps than hours, and of histories with a clock of their own."""

import base64
import csv
import io
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import unescape
from itertools import count
from typing import Any

import page_process
import pandas as pd
import pytest
import requests
from model_files import contract
from page_process import Page, show, upload
from playwright.sync_api import Browser, expect
from stand_in_server import StandInServer
from visits import Visit

from kalecast.data.series import read_series, tidy

pytestmark = pytest.mark.slow

START = datetime(2026, 3, 2)  # a Monday


@dataclass(frozen=True)
class Expected:
    """What the page says of a model, and of a whole window whose peak is `peak` steps ahead."""

    model: dict[str, int]
    peak: int
    dated: tuple[str, str, str, str]
    """What is forecast, when the peak is, the table's first row, and as it is saved."""
    counted: tuple[str, str, str, str, str, float]
    """Without a start: what, when, the first and last row, the axis' unit and its end."""
    short: str
    unknown: str
    labels: tuple[str, str, str]
    card: str
    form: str


STEPS = {
    "15min": Expected(
        {"season": 96, "input_length": 1344, "horizon": 192, "minimum_history": 96},
        93,
        (
            "The next 48 hours after Sunday 15 March 2026, 23:45 ",
            "around Monday 16 March, 23:00.",
            "Mon 16 Mar, 00:00",
            "2026-03-16 00:00:00",
        ),
        ("48 hours", "23 hours 15 minutes", "15 minutes", "48 hours", "hours", 48),
        "it has 3 quarter-hours (45 minutes), and the forecast needs at least 96 quarter-hours "
        "(24 hours)",
        "2 of the last 1,344 quarter-hours are missing",
        ("Quarter-hourly numbers", "2026-01-31 13:00", "Quarter-hours ahead"),
        "Learned from 4,000 quarter-hourly values of 2 series from 1 January 2025 to 31 December "
        "2025 Made for one value every 15 minutes Looks back 336 hours (at least 24 hours needed) "
        "Looks ahead 48 hours How good it is Its errors are 30 % smaller than those of simply "
        "repeating the last day or week",
        "one row every 15 minutes",
    ),
    "D": Expected(
        {"season": 7, "input_length": 56, "horizon": 14, "minimum_history": 14},
        6,
        (
            "The next 14 days after Sunday 26 April 2026 ",
            "on Saturday 2 May.",
            "Mon 27 Apr",
            "2026-04-27",
        ),
        ("14 days", "6 days", "day 1", "day 14", "days", 14),
        "it has 3 days, and the forecast needs at least 14 days",
        "2 of the last 56 days are missing",
        ("Daily numbers", "2026-01-31", "Days ahead"),
        "Learned from 4,000 daily values of 2 series from 1 January 2025 to 31 December 2025 Made "
        "for one value every day Looks back 56 days (at least 14 days needed) Looks ahead 14 days "
        "How good it is Its errors are 30 % smaller than those of simply repeating the last week "
        "(MASE",
        "one row every day",
    ),
    "7D": Expected(
        {"season": 4, "input_length": 52, "horizon": 8, "minimum_history": 8},
        3,
        (
            "The next 8 weeks after Monday 22 February 2027 ",
            "on Monday 15 March.",
            "Mon 1 Mar",
            "2027-03-01",
        ),
        ("8 weeks", "3 weeks", "week 1", "week 8", "weeks", 8),
        "it has 3 weeks, and the forecast needs at least 8 weeks",
        "2 of the last 52 weeks are missing",
        ("Weekly numbers", "2026-01-31", "Weeks ahead"),
        "Made for one value every week Looks back 52 weeks (at least 8 weeks needed)",
        "one row every week",
    ),
    "MS": Expected(
        {"season": 12, "input_length": 48, "horizon": 12, "minimum_history": 24},
        5,
        (
            "The next 12 months after February 2030 ",
            "in July 2030.",
            "Mar 2030",
            "2030-03-02",
        ),
        ("12 months", "5 months", "month 1", "month 12", "months", 12),
        "it has 3 months, and the forecast needs at least 24 months",
        "2 of the last 48 months are missing",
        ("Monthly numbers", "2026-01-31", "Months ahead"),
        "Learned from 4,000 monthly values of 2 series from 1 January 2025 to 31 December 2025 "
        "Made for one value every month Looks back 48 months (at least 24 months needed) Looks "
        "ahead 12 months How good it is Its errors are 30 % smaller than those of simply repeating "
        "the last year (MASE",
        "one row every month",
    ),
    "B": Expected(
        {"season": 5, "input_length": 35, "horizon": 10, "minimum_history": 10},
        3,
        (
            "The next 10 business days after Friday 17 April 2026 ",
            "on Wednesday 22 April.",
            "Mon 20 Apr",
            "2026-04-20",
        ),
        (
            "10 business days",
            "3 business days",
            "business day 1",
            "business day 10",
            "business days",
            10,
        ),
        "it has 3 business days, and the forecast needs at least 10 business days",
        "2 of the last 35 business days are missing",
        ("Business-day numbers", "2026-01-31", "Business days ahead"),
        "Made for one value every business day Looks back 35 business days",
        "one row every business day",
    ),
}
VERSIONS = count()


@pytest.fixture(scope="module")
def page(model_server: StandInServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("page")
    samples = folder / "samples.csv"
    samples.write_bytes(table_of("mill", 15, 3000))
    with page_process.running(folder / "run", model_server.url, samples=samples) as page:
        yield page


@pytest.fixture(scope="module", params=STEPS)
def frequency(request: pytest.FixtureRequest, page: Page, model_server: StandInServer) -> str:
    """A model of this frequency serves, and the page knows."""
    serve(model_server, page, request.param)
    return str(request.param)


@pytest.fixture
def quarters(page: Page, model_server: StandInServer) -> None:
    """A model of quarter-hours serves."""
    if model_server.forecaster.contract.season != STEPS["15min"].model["season"]:
        serve(model_server, page, "15min")


def serve(
    model_server: StandInServer, page: Page, frequency: str, offset: float = 1.0, **changes: int
) -> None:
    """Serve another model from now on, and wait until the page knows."""
    version = f"v{next(VERSIONS)}"
    model = {**(STEPS[frequency].model if frequency in STEPS else {}), **changes}
    model_server.serve(contract(frequency=frequency, version=version, **model), offset)
    for _ in range(100):
        if requests.get(page.url + "/ready", timeout=10).json().get("version") == version:
            return
        time.sleep(0.1)
    raise AssertionError("The page does not learn of the model.")


def query(page: Page, history: str, **more: Any) -> dict[str, Any]:
    body = {"history": history, **more}
    answer: dict[str, Any] = requests.post(page.url + "/api/forecast", json=body, timeout=60).json()
    return answer


def numbers(frequency: str) -> str:
    """A whole window, all the same but for a peak each season."""
    case = STEPS[frequency]
    steps = range(-case.model["input_length"] + 1, 1)
    season = case.model["season"]
    return ",".join("9" if (at - case.peak) % season == 0 else "5" for at in steps)


def table_of(name: str, minutes: int, number: int, zone: str = "") -> bytes:
    timestamps = [START + at * timedelta(minutes=minutes) for at in range(number)]
    rows = [
        f"{name},{timestamp.isoformat()}{zone},{timestamp.hour + 1}" for timestamp in timestamps
    ]
    return "\n".join(["unique_id,ds,y", *rows, ""]).encode()


def pasted(page: Page, text: str, start: str = "", horizon: int = 0) -> list[dict[str, Any]]:
    event = show(page, "Your numbers", None, None, None, text, start, horizon)
    parts: list[dict[str, Any]] = event.json()["data"]
    return parts


def uploaded(page: Page, name: str, content: bytes) -> list[dict[str, Any]]:
    event = show(page, "Your file", None, upload(page, name, content), None, None, None, 0)
    parts: list[dict[str, Any]] = event.json()["data"]
    return parts


def plain(part: dict[str, Any]) -> str:
    """A part of the page without its tags."""
    return " ".join(unescape(re.sub("<.*?>", " ", part["value"])).split())


def times(table: dict[str, Any]) -> list[str]:
    """The first column of a table, below its head."""
    body = table["value"].partition("<tbody>")[2]
    return [re.sub("<.*?>", "", row) for row in re.findall("<tr><th>(.*?)</th>", body)]


def downloaded(table: dict[str, Any]) -> list[dict[str, str]]:
    (content,) = re.findall(r"base64,([^\"]+)", table["value"])
    return list(csv.DictReader(io.StringIO(base64.b64decode(content).decode())))


def axis(figure: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(figure["value"]["plot"])["layout"]["xaxis"]
    return found


def test_times_of_other_steps(page: Page, frequency: str) -> None:
    title, peak, first, saved = STEPS[frequency].dated
    _, reading, _, table, *_ = pasted(page, numbers(frequency), f"{START:%Y-%m-%d}")
    assert title in plain(reading)
    assert f"Peak: about 9 {peak}" in plain(reading)
    assert times(table)[0] == first
    assert downloaded(table)[0]["ds"] == saved


def test_numbers_without_a_start(page: Page, frequency: str) -> None:
    ahead, peak, first, last, unit, end = STEPS[frequency].counted
    _, reading, figure, table, *_ = pasted(page, numbers(frequency))
    assert plain(reading) == (
        f"Your numbers The next {ahead} Peak: about 9 in {peak}. 95 % sure: 7 to 11."
    )
    found = times(table)
    assert (found[0], found[-1]) == (first, last)
    assert len(found) == STEPS[frequency].model["horizon"]
    assert axis(figure)["title"]["text"] == f"{unit} from now"
    past, median = json.loads(figure["value"]["plot"])["data"][-2:]
    assert (past["x"][-1], median["x"][-1]) == (0, end)


def test_what_is_wrong_or_unknown_is_reported_in_steps(page: Page, frequency: str) -> None:
    assert STEPS[frequency].short in plain(pasted(page, "1, 2, 3")[0])
    assert STEPS[frequency].short in query(page, "1, 2, 3")["detail"]
    values = numbers(frequency).split(",")
    values[-9] = values[-3] = ""
    assert STEPS[frequency].unknown in query(page, ",".join(values))["notes"][0]


def test_the_pages_own_parts_follow_the_model(page: Page, frequency: str) -> None:
    case = STEPS[frequency]
    _, _, _, table, card, form, text, start, _, horizon = pasted(page, numbers(frequency))
    kind, when, ahead = case.labels
    assert (text["label"], start["placeholder"]) == (f"{kind}, the newest last", when)
    assert horizon["label"] == ahead
    # At first all of it is requested.
    whole = case.model["horizon"]
    assert (horizon["minimum"], horizon["maximum"], horizon["value"]) == (1, whole, whole)
    assert f"All {ahead.lower().removesuffix(' ahead')} as a table" in plain(table)
    assert case.card in plain(card)
    assert case.form in plain(form) and f"such as {when} " in plain(form)


def test_the_offered_example_is_one_for_the_model(page: Page, frequency: str) -> None:
    example = requests.get(page.url + "/api/example.csv", timeout=10).content
    assert tidy(read_series(example, "example.csv"), frequency)["y"].isna().sum() == 1
    assert plain(uploaded(page, "example.csv", example)[1]).startswith("office")


def test_samples_reach_back_as_far_as_the_model_looks(
    page: Page, model_server: StandInServer
) -> None:
    serve(model_server, page, "15min", input_length=2688)
    _, reading, *_ = show(page, "Sample", "mill", None, None, None, None, 0).json()["data"]
    assert "The history has" not in plain(reading)


@pytest.mark.parametrize(("minutes", "received"), [(1440, "day"), (10080, "week")])
@pytest.mark.usefixtures("quarters")
def test_a_file_of_longer_steps_than_the_models(page: Page, minutes: int, received: str) -> None:
    banner, *_ = uploaded(page, "sales.csv", table_of("shop", minutes, 60))
    assert f"one value every 15 minutes, series 'shop' has one every {received}" in plain(banner)


@pytest.mark.parametrize(
    ("zone", "clock", "offset"),
    [
        ("+01:00", "UTC+01:00", "+01:00"),
        ("-0330", "UTC-03:30", "-03:30"),
        ("Z", "UTC", "+00:00"),
        ("", "", ""),
    ],
)
@pytest.mark.usefixtures("quarters")
def test_times_are_reported_in_the_clock_that_came(
    page: Page, zone: str, clock: str, offset: str
) -> None:
    for parts in (
        uploaded(page, "mill.csv", table_of("mill", 15, 400, zone)),
        pasted(page, table_of("mill", 15, 400, zone).decode()),
        pasted(page, ",".join(str(at % 96) for at in range(400)), f"{START.isoformat()}{zone}"),
    ):
        _, reading, figure, table, *_ = parts
        assert "after Friday 6 March 2026, 03:45" in plain(reading)
        assert (f"Times are {clock}, as in the data." in plain(reading)) == bool(clock)
        assert times(table)[0] == "Fri 6 Mar, 04:00"
        assert f"<th>Time{', ' * bool(clock)}{clock}</th>" in table["value"]
        assert downloaded(table)[0]["ds"] == f"2026-03-06 04:00:00{offset}"
        assert axis(figure).get("title", {}).get("text", "") == clock
        _, median = json.loads(figure["value"]["plot"])["data"][-2:]
        assert median["x"][0] == "2026-03-06 04:00"


def test_days_of_a_clock_of_their_own(page: Page, model_server: StandInServer) -> None:
    serve(model_server, page, "D")
    _, reading, _, table, *_ = uploaded(page, "mill.csv", table_of("mill", 1440, 60, "+02:00"))
    assert "after Thursday 30 April 2026 " in plain(reading)
    assert times(table)[0] == "Fri 1 May"
    assert downloaded(table)[0]["ds"] == "2026-05-01 00:00:00+02:00"


def test_months_are_those_of_the_history(page: Page, model_server: StandInServer) -> None:
    serve(model_server, page, "MS")
    answer = query(page, numbers("MS"), start="2026-01-31")
    assert answer["forecast"]["ds"][:2] == ["2030-01-31 00:00:00", "2030-02-28 00:00:00"]
    answer = query(page, numbers("MS"), start="2026-01-01T00:00+01:00", horizon=1)
    assert answer["forecast"]["ds"] == ["2030-01-01 00:00:00+01:00"]
    refusal = query(page, numbers("MS"), start="2026-01-30")["detail"]
    assert "to be on a day from 1 to 28, or the last, received: 2026-01-30" in refusal
    months = pd.date_range("2022-01-01", periods=50, freq="MS").strftime("%Y-%m-%d")
    rows = "\n".join(["ds,y", *(f"{month},{at % 12}" for at, month in enumerate(months))])
    _, reading, _, table, *_ = uploaded(page, "turnover.csv", rows.encode())
    assert "The next 12 months after February 2026 " in plain(reading)
    assert times(table)[:2] == ["Mar 2026", "Apr 2026"]
    assert [row["ds"] for row in downloaded(table)[:2]] == ["2026-03-01", "2026-04-01"]


@pytest.mark.usefixtures("quarters")
def test_what_was_done_with_a_table_is_reported_once(page: Page) -> None:
    lines = table_of("mill", 15, 400).decode().splitlines()
    table = "\n".join(
        f"{line},{extra}" for line, extra in zip(lines, ["<b>x", *[1] * 400], strict=True)
    )
    for parts in (uploaded(page, "mill.csv", table.encode()), pasted(page, table)):
        assert parts[1]["value"].count("Not used: &lt;b&gt;x.") == 1
        assert "<b>" not in parts[1]["value"]


@pytest.mark.parametrize(
    ("values", "offset", "message"),
    [
        ([0.0] * 36 + [5.0, 0.0, -1e-9], 1e-8, "Level at about 0 throughout. 95 % sure: 0 to 0."),
        ([169.0] * 40, 1e-4, "Level at about 169 throughout. 95 % sure: 169 to 169."),
        ([1234567.0 + at for at in range(40)], 1.0, "95 % sure: 1,234,604 to 1,234,608."),
        ([0.001 * at for at in range(40)], 1e-4, "95 % sure: 0.03880 to 0.03920."),
    ],
)
def test_numbers_have_no_more_decimals_than_make_sense(
    page: Page, model_server: StandInServer, values: list[float], offset: float, message: str
) -> None:
    serve(model_server, page, "h", offset, input_length=40, horizon=2, season=2, minimum_history=2)
    text = ", ".join(map(str, values))
    _, reading, _, table, *_ = pasted(page, text)
    assert message in plain(reading)
    assert all(row["median"] != "-0.000000" for row in downloaded(table))


def test_labels_change_with_the_model_while_the_page_is_open(
    browser: Browser, page: Page, model_server: StandInServer
) -> None:
    serve(model_server, page, "15min")
    visit = Visit(browser, page.url)
    expect(visit.tab.get_by_label("number input for Quarter-hours ahead")).to_have_value("192")
    visit.source("Your numbers")
    serve(model_server, page, "D")
    visit.paste(numbers("D"))
    visit.forecast()
    expect(visit.tab.get_by_label("number input for Days ahead")).to_have_value("14")
    expect(visit.tab.get_by_label("Daily numbers, the newest last")).to_have_value(numbers("D"))
    expect(visit.tab.get_by_text("All days as a table")).to_be_visible()
    visit.close()
