"""The page in a browser: what a customer sees and does."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import page_process
import pytest
import requests
from chromium import PHONE
from model_files import contract
from page_process import Page, timestamp, value
from playwright.sync_api import Browser, expect
from ports import free_ports
from stand_in_server import Behaviour, StandInServer, standing_in
from visits import Visit, no_sideways_scroll, rows_of, table_of

pytestmark = pytest.mark.slow

KEYS = {"KALECAST_TOKEN_KEY": "k" * 32}
"""What replicas share that answer for each other's uploads."""


@pytest.fixture(scope="module")
def model_server() -> Iterator[StandInServer]:
    with standing_in(contract(input_length=336, horizon=48), offset=20.0) as server:
        yield server


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def page(
    model_server: StandInServer, metrics_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    with page_process.running(
        tmp_path_factory.mktemp("page"),
        model_server.url,
        KALECAST_METRICS_PORT=str(metrics_port),
        **KEYS,
    ) as page:
        yield page


@pytest.fixture
def visit(browser: Browser, page: Page) -> Iterator[Visit]:
    visit = Visit(browser, page.url)
    yield visit
    visit.close()


def test_first_view_shows_a_forecast(visit: Visit) -> None:
    expect(visit.heading).to_have_text("Town hall")
    expect(visit.tab.locator(".kc-when")).to_contain_text("The next 48 hours after Saturday 10")
    expect(visit.sentence).to_contain_text("Peak: about 420 around Sunday 11 January, 18:00")
    expect(visit.sentence).to_contain_text("380 to 460")
    for words in ("Past", "Forecast", "80 % sure", "95 % sure", "now"):
        expect(visit.tab.locator("#kc-plot").get_by_text(words, exact=True)).to_be_visible()
    card = visit.tab.locator(".kc-card")
    expect(card).to_contain_text("forecaster, version 20260102-030405-abcdef")
    expect(card).to_contain_text("30 % smaller".replace(" %", "\u00a0%"))


def _answered(metrics_port: int) -> dict[str, float]:
    """Good answers of the page so far, by route; Gradio's own are one."""
    counters = requests.get(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10).text
    found = re.findall(r'_requests_total{code="200",route="(.+?)"} (\S+)', counters)
    return {route: float(count) for route, count in found}


def test_a_forecast_is_one_request_that_gradio_does_not_see(
    visit: Visit, metrics_port: int
) -> None:
    sent: list[str] = []
    visit.tab.on("request", lambda request: sent.append(urlsplit(request.url).path))
    before = _answered(metrics_port)
    hours = visit.tab.get_by_label("number input for Hours ahead")
    for count in (5, 7, 9):
        hours.fill(str(count))
        visit.forecast()
        expect(visit.tab.locator(".kc-when")).to_contain_text(f"The next {count} hours")
    visit.tab.wait_for_timeout(1000)  # leaving the number field requests one as well
    after = _answered(metrics_port)
    route = "/gradio_api/run/predict"
    assert sent == [route] * len(sent)
    assert after[route] - before[route] == len(sent) >= 3
    assert after["gradio"] == before["gradio"]


def test_pick_another_sample(visit: Visit) -> None:
    visit.tab.get_by_label("Sample series").click()
    visit.tab.get_by_role("option", name="Library").click()
    expect(visit.heading).to_have_text("Library")
    expect(visit.tab.locator(".kc-note").first).to_contain_text("2 of the last 240 hours are")


def test_horizon(visit: Visit) -> None:
    hours = visit.tab.get_by_label("number input for Hours ahead")
    hours.fill("6")
    hours.blur()
    visit.forecast()
    expect(visit.tab.locator(".kc-when")).to_contain_text("The next 6 hours")
    expect(visit.tab.locator(".kc-table tbody tr")).to_have_count(6)


def test_download(visit: Visit) -> None:
    file = visit.download()
    assert file.suggested_filename == "town_hall-forecast.csv"
    rows = list(csv.DictReader(io.StringIO(Path(file.path()).read_text())))
    assert len(rows) == 48
    assert list(rows[0]) == [
        *("unique_id", "ds", "median", "lower_80", "upper_80", "lower_95", "upper_95")
    ]
    first = rows[0]
    assert (first["unique_id"], first["ds"]) == ("town_hall", "2026-01-11 00:00:00")
    middle = value(0, 300.0)
    named = {"median": 0, "lower_80": -20, "upper_80": 20, "lower_95": -40, "upper_95": 40}
    assert {key: float(first[key]) for key in named} == pytest.approx(
        {key: middle + off for key, off in named.items()}
    )


def test_table(visit: Visit) -> None:
    visit.tab.get_by_text("All hours as a table").click()
    row = visit.tab.locator(".kc-table tbody tr").first
    expect(row).to_contain_text("Sun 11 Jan, 00:00")
    expect(row).to_contain_text("300")


def test_upload_with_several_series(visit: Visit) -> None:
    visit.source("Your file")
    visit.upload("sites.csv", table_of(*rows_of("north", 200), *rows_of("south <b>", 60, 900.0)))
    expect(visit.heading).to_have_text("north")
    visit.tab.locator("#kc-series input").click()
    visit.tab.get_by_role("option", name="south").click()
    expect(visit.heading).to_have_text("south <b>")
    expect(visit.tab.locator(".kc-note").first).to_contain_text("The history has 60 hours")
    assert visit.download().suggested_filename == "south-b-forecast.csv"


def test_upload_without_names(visit: Visit) -> None:
    rows = "\n".join(
        f"{timestamp(hour)};{value(hour, 10)}".replace(".", ",") for hour in range(100)
    )
    visit.source("Your file")
    visit.upload("shop's sales.csv", f"ds;y\n{rows}\n".encode("utf-8-sig"))
    expect(visit.heading).to_contain_text("sales")
    expect(visit.tab.locator("#kc-series")).not_to_be_visible()


BAD_FILES = {
    "text in y": (table_of(*rows_of("a", 99), "a,2026-02-01 00:00,abc"), "'abc' in row 101"),
    "no such columns": (b"date,sales\n2026-01-01,5\n", "Expected a column 'ds'"),
    "binary": (bytes(range(256)) * 50, "in another encoding"),
    "daily": (
        table_of(*(f"a,2026-01-{day:02d},5" for day in range(1, 29))),
        "Expected one value every hour, series 'a' has one every day",
    ),
    "quarter-hourly": (
        table_of("a,2026-01-01 00:00,1", "a,2026-01-01 00:15,2", "a,2026-01-01 00:30,3"),
        "the next at 2026-01-01 00:15:00",
    ),
    "no values": (table_of(*(f"a,{timestamp(hour)}," for hour in range(99))), "known values"),
}


def test_bad_files_are_reported_in_words_and_the_page_goes_on(visit: Visit) -> None:
    visit.source("Your file")
    for name, (content, message) in BAD_FILES.items():
        visit.upload(f"{name}.csv", content)
        expect(visit.banner, name).to_contain_text(message)
        expect(visit.figure, name).to_have_count(0)
        assert "Traceback" not in visit.tab.content()
    visit.upload("book.xlsx", b"PK\x03\x04" + bytes(100))
    expect(visit.banner).to_contain_text("save it as CSV")
    visit.upload("good.csv", table_of(*rows_of("good", 99)))
    expect(visit.heading).to_have_text("good")
    expect(visit.banner).to_have_count(0)


def test_constant_series(visit: Visit) -> None:
    visit.source("Your file")
    visit.upload("same.csv", table_of(*(f"same,{timestamp(hour)},5" for hour in range(200))))
    expect(visit.sentence).to_contain_text("Level at about 5 throughout")
    expect(visit.tab.locator(".kc-note").last).to_contain_text("All known values are the same")


def test_ten_thousand_series(visit: Visit) -> None:
    rows = (f"s{name},{timestamp(hour)},{hour}" for name in range(10_000) for hour in range(50))
    visit.source("Your file")
    visit.upload("many.csv", table_of(*rows))
    expect(visit.heading).to_have_text("s0")
    expect(visit.tab.locator("#kc-series")).to_contain_text("the first 500 of 10,000")
    chosen = visit.tab.locator("#kc-series input")
    chosen.fill("s9876")
    chosen.press("Enter")
    expect(visit.heading).to_have_text("s9876")


def test_pasted_numbers(visit: Visit) -> None:
    visit.source("Your numbers")
    visit.paste("\n".join(str(h % 24) for h in range(72)))
    visit.forecast()
    expect(visit.sentence).to_contain_text("Peak: about 23 in 24 hours")
    visit.tab.locator("#kc-start input, #kc-start textarea").first.fill("2026-03-01 00:00")
    visit.forecast()
    expect(visit.sentence).to_contain_text("around Wednesday 4 March, 23:00")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Please paste your numbers first"),
        ("<img src=x onerror=alert(1)>", "Expected numbers"),
    ],
)
def test_bad_numbers(visit: Visit, text: str, message: str) -> None:
    visit.source("Your numbers")
    visit.paste(text)
    visit.forecast()
    expect(visit.banner).to_contain_text(message)


def test_model_server_down_and_back(visit: Visit, model_server: StandInServer) -> None:
    model_server.stop()
    try:
        visit.forecast()
        expect(visit.banner).to_contain_text("The forecasting service is not answering just now")
    finally:
        model_server.start()
    visit.tab.wait_for_timeout(1500)  # until a server that failed is tried again
    visit.forecast()
    expect(visit.sentence).to_contain_text("Peak")
    expect(visit.banner).to_have_count(0)


def test_overload_is_reported_in_a_banner(visit: Visit, model_server: StandInServer) -> None:
    model_server.behaviour = Behaviour(status=503, headers={"Retry-After": "1"})
    try:
        visit.forecast()
        expect(visit.banner).to_contain_text("Very many people are asking just now")
    finally:
        model_server.behaviour = Behaviour()
    visit.tab.wait_for_timeout(1200)
    visit.forecast()
    expect(visit.sentence).to_contain_text("Peak")
    expect(visit.banner).to_have_count(0)


def test_any_replica_answers_for_an_upload(
    visit: Visit, page: Page, model_server: StandInServer, tmp_path: Path
) -> None:
    """Every other request of the browser goes to another replica, as with a plain balancer."""
    visit.source("Your file")
    visit.upload("sites.csv", table_of(*rows_of("north", 200), *rows_of("south", 100)))
    expect(visit.heading).to_have_text("north")
    with page_process.running(tmp_path, model_server.url, **KEYS) as other:
        visit.tab.route(
            "**/gradio_api/**",
            lambda route: route.continue_(url=route.request.url.replace(page.url, other.url)),
        )
        visit.tab.locator("#kc-series input").click()
        visit.tab.get_by_role("option", name="south").click()
        expect(visit.heading).to_have_text("south")
        visit.tab.unroute("**/gradio_api/**")


def test_phone(browser: Browser, page: Page) -> None:
    touch = {"is_mobile": True, "has_touch": True, "device_scale_factor": 2}
    visit = Visit(browser, page.url, viewport=PHONE, **touch)
    no_sideways_scroll(visit)
    visit.tab.get_by_text("All hours as a table").click()
    visit.tab.get_by_text("For programs").click()
    no_sideways_scroll(visit)
    for name in ("Your file", "Your numbers"):
        visit.source(name)
        no_sideways_scroll(visit)
    visit.paste("5, 6 " * 40)
    visit.forecast()
    expect(visit.heading).to_have_text("Your numbers")
    expect(visit.heading).to_be_in_viewport()
    visit.close()


def test_dark_desktop(browser: Browser, page: Page) -> None:
    visit = Visit(browser, page.url, color_scheme="dark")
    colour = "element => getComputedStyle(element).fill"
    tick = visit.tab.locator("#kc-plot .ytick text").first.evaluate(colour)
    assert tick == "rgb(148, 163, 184)"
    visit.context.close()


def test_strict_content_security_policy(browser: Browser, page: Page) -> None:
    """Nothing on the page compiles code from text, so a gateway may forbid it."""
    context = browser.new_context()
    tab = context.new_page()
    refused: list[str] = []
    tab.on("console", lambda m: "Content Security Policy" in m.text and refused.append(m.text))

    def with_policy(route: object) -> None:
        response = route.fetch()  # type: ignore[attr-defined]
        policy = (
            "default-src 'self'; script-src 'self' 'unsafe-inline'; "
            "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:"
        )
        headers = {**response.headers, "content-security-policy": policy}
        route.fulfill(response=response, headers=headers)  # type: ignore[attr-defined]

    tab.route(page.url + "/", with_policy)
    tab.goto(page.url)
    expect(tab.locator(".kc-sentence")).to_contain_text("Peak")
    expect(tab.locator("#kc-plot .main-svg").first).to_be_visible()
    context.close()
    assert refused == []
