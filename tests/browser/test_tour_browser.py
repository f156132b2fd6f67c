"""The README's tour in a browser: the page with the sample data, and a real model server behind it.

`make report SCREENSHOTS=1` has it show the model that `make run` trained: KALECAST_MODEL.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import gateway_process
import page_process
import pytest
import seldon_server
from chromium import PHONE
from page_process import Page
from playwright.sync_api import Browser, Locator, expect
from screenshots import screenshot
from visits import Visit, no_sideways_scroll, rows_of, table_of

pytestmark = pytest.mark.slow

SAMPLES = Path(__file__).resolve().parents[2] / "notebooks" / "data" / "electricity.csv"
TOUCH = {"viewport": PHONE, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}


@pytest.fixture(scope="module")
def page(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    model = Path(os.environ.get("KALECAST_MODEL", model_file))
    folder = tmp_path_factory.mktemp("page")
    with (
        seldon_server.serving(model) as server,
        page_process.running(folder, server.url, samples=SAMPLES) as page,
    ):
        yield page


def about_the_model(visit: Visit) -> Locator:
    """What the page says below each forecast."""
    return visit.tab.get_by_text("About the model").first


def test_the_first_view_is_a_forecast_of_a_sample(browser: Browser, page: Page) -> None:
    visit = Visit(browser, page.url)
    expect(visit.heading).to_have_text("England wales demand")
    expect(visit.sentence).to_contain_text("Peak: about")
    screenshot(visit.tab, "page", whole=True)
    visit.close()


def test_a_file_of_ones_own(browser: Browser, page: Page) -> None:
    visit = Visit(browser, page.url)
    visit.source("Your file")
    visit.tab.get_by_text("What the file should look like").click()
    with visit.tab.expect_download() as found:
        visit.tab.get_by_text("Download a small example").click()
    visit.tab.get_by_text("What the file should look like").click()
    visit.upload("example.csv", Path(found.value.path()).read_bytes())
    expect(visit.heading).to_have_text("office")
    screenshot(visit.tab, "upload", whole=True, above=about_the_model(visit))
    visit.close()


def test_a_file_that_cannot_be_forecast(browser: Browser, page: Page) -> None:
    visit = Visit(browser, page.url)
    visit.source("Your file")
    rows = table_of(*rows_of("shop", 99), "shop,2026-01-05 03:00,three")
    visit.upload("sales.csv", rows)
    expect(visit.banner).to_contain_text("'three' in row 101 of sales.csv")
    screenshot(visit.tab, "refusal", above=about_the_model(visit))
    visit.close()


def test_what_the_gateway_refuses(browser: Browser, page: Page) -> None:
    with gateway_process.opened(page.url) as gateway:
        visit = Visit(browser, gateway.url, ignore_https_errors=True)
        visit.source("Your numbers")
        visit.paste("310, 295 <script>alert(1)</script>")
        visit.forecast()
        expect(visit.banner).to_contain_text("looks like an attack")
        screenshot(visit.tab, "gateway", above=about_the_model(visit))
        visit.context.close()
        assert visit.elsewhere == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(browser: Browser, page: Page, scheme: str) -> None:
    visit = Visit(browser, page.url, color_scheme=scheme, **TOUCH)
    expect(visit.sentence).to_contain_text("Peak: about")
    no_sideways_scroll(visit)
    visit.forecast()
    expect(visit.heading).to_be_in_viewport()
    screenshot(visit.tab, f"phone-{scheme}")
    visit.close()


def test_in_the_dark(browser: Browser, page: Page) -> None:
    visit = Visit(browser, page.url, color_scheme="dark")
    expect(visit.sentence).to_contain_text("Peak: about")
    screenshot(visit.tab, "dark", whole=True, above=about_the_model(visit))
    visit.close()
