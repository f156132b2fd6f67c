"""The page in a browser behind the gateway: all of it works without a complaint, and
refusals are shown in words.
"""

import csv
import http.client
import io
import json
import re
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import gateway_process
import page_process
import pytest
from chromium import PHONE
from gateway_process import Gateway
from model_files import contract
from page_process import Page, timestamp, value
from playwright.sync_api import Browser, expect
from stand_in_server import StandInServer, standing_in
from visits import Visit, no_sideways_scroll, rows_of, table_of

pytestmark = pytest.mark.slow

FEW = ["--limit", "event_rate=1", "--limit", "event_burst=3", "--limit", "upload_burst=1"]


@pytest.fixture(scope="module")
def model_server() -> Iterator[StandInServer]:
    with standing_in(contract(input_length=336, horizon=48), offset=20.0) as server:
        yield server


@pytest.fixture(scope="module")
def page(model_server: StandInServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with page_process.running(tmp_path_factory.mktemp("page"), model_server.url) as page:
        yield page


@pytest.fixture(scope="module")
def gateway(page: Page) -> Iterator[Gateway]:
    with gateway_process.opened(page.url) as gateway:
        yield gateway


def behind(browser: Browser, gateway: Gateway, **options: object) -> Visit:
    """A visit through the gateway, whose certificate no browser knows."""
    return Visit(browser, gateway.url, ignore_https_errors=True, **options)


@pytest.fixture
def visit(browser: Browser, gateway: Gateway) -> Iterator[Visit]:
    visit = behind(browser, gateway)
    yield visit
    visit.close()


def test_samples_horizon_and_download(visit: Visit) -> None:
    expect(visit.heading).to_have_text("Town hall")
    visit.tab.get_by_label("Sample series").click()
    visit.tab.get_by_role("option", name="Library").click()
    expect(visit.heading).to_have_text("Library")
    hours = visit.tab.get_by_label("number input for Hours ahead")
    hours.fill("6")
    hours.blur()
    visit.forecast()
    expect(visit.tab.locator(".kc-table tbody tr")).to_have_count(6)
    file = visit.download()
    assert file.suggested_filename == "library-forecast.csv"
    assert len(list(csv.DictReader(io.StringIO(Path(file.path()).read_text())))) == 6
    visit.tab.get_by_text("All hours as a table").click()
    visit.tab.get_by_text("For programs").click()
    expect(visit.tab.get_by_text("Over plain HTTP")).to_be_visible()


def test_a_file_with_an_apostrophe_in_its_name(visit: Visit) -> None:
    visit.source("Your file")
    visit.tab.get_by_text("What the file should look like").click()
    with visit.tab.expect_download() as found:
        visit.tab.get_by_text("Download a small example").click()
    assert Path(found.value.path()).read_text().startswith("unique_id,ds,y\n")
    content = table_of(*rows_of("O'Brien & Sons", 200), *rows_of("Größe <kW>", 60, 900.0))
    visit.upload("o'brien's sales.csv", content)
    expect(visit.heading).to_have_text("O'Brien & Sons")
    visit.tab.locator("#kc-series input").click()
    visit.tab.get_by_role("option", name="Größe").click()
    expect(visit.heading).to_have_text("Größe <kW>")
    visit.upload("no table.csv", b"Dear all,\nplease select from the union's table.\n")
    expect(visit.banner).to_contain_text("Expected a column")


def test_pasted_numbers_and_rows(visit: Visit) -> None:
    visit.source("Your numbers")
    visit.paste("\n".join(str(hour % 24) for hour in range(72)))
    visit.tab.locator("#kc-start input, #kc-start textarea").first.fill("2026-03-01 00:00")
    visit.forecast()
    expect(visit.sentence).to_contain_text("around Wednesday 4 March, 23:00")
    rows = "\n".join(
        f"{timestamp(hour)};{value(hour, 50)}".replace(".", ",") for hour in range(100)
    )
    visit.paste(f"ds;y\n{rows}\n")
    visit.forecast()
    expect(visit.tab.locator(".kc-when")).to_contain_text("after Monday 5 January 2026, 03:00")
    # The page's own sentence, and not the gateway's: a typing mistake is no attack.
    visit.paste("310, 295.5, three hundred")
    visit.forecast()
    expect(visit.banner).to_contain_text("'three' at place 3")


def test_dark_phone(browser: Browser, gateway: Gateway) -> None:
    phone = {"viewport": PHONE, "is_mobile": True, "has_touch": True, "color_scheme": "dark"}
    visit = behind(browser, gateway, **phone)
    no_sideways_scroll(visit)
    visit.source("Your numbers")
    visit.paste("5, 6 " * 40)
    visit.forecast()
    expect(visit.heading).to_have_text("Your numbers")
    # It scrolls there by a script of the page's own, which the policy has to let run.
    expect(visit.heading).to_be_in_viewport()
    visit.close()


def test_a_theme_by_its_address(browser: Browser, gateway: Gateway) -> None:
    visit = behind(browser, gateway)
    visit.tab.goto(f"{gateway.url}/?__theme=dark&utm_source=news")
    expect(visit.figure).to_be_visible()
    expect(visit.tab.locator("body.dark")).to_be_visible()
    visit.close()


def test_refusals_are_shown_in_words(browser: Browser, page: Page) -> None:
    with gateway_process.opened(page.url, FEW) as gateway:
        visit = behind(browser, gateway)
        visit.source("Your numbers")
        _attack_is_shown(visit)
        _haste_is_shown(visit)
        visit.source("Your file")
        for name in ("one", "two", "three"):
            visit.upload(f"{name}.csv", table_of(*rows_of(name, 99)))
            expect(visit.tab.locator("#kc-file").get_by_label("Clear")).to_be_visible()
        expect(visit.banner).to_contain_text("You are asking faster")
        _a_lost_gateway_is_shown(visit, gateway)
        visit.context.close()
        assert visit.elsewhere == []


def _attack_is_shown(visit: Visit) -> None:
    visit.paste("1 <script>alert(1)</script>")
    visit.forecast()
    expect(visit.banner).to_contain_text("looks like an attack")
    expect(visit.figure).to_have_count(0)
    visit.paste("word " * 20_000)
    visit.forecast()
    expect(visit.banner).to_contain_text("This is more than the forecast page takes")
    visit.paste("1, 2, 3 " * 40)


def _haste_is_shown(visit: Visit) -> None:
    for _ in range(40):
        visit.forecast()
        visit.tab.wait_for_timeout(50)
        if any("faster" in text for text in visit.banner.all_inner_texts()):
            break
    expect(visit.banner).to_contain_text("You are asking faster than this service answers")


def _a_lost_gateway_is_shown(visit: Visit, gateway: Gateway) -> None:
    gateway.protected.service.end()
    visit.source("Sample")
    visit.forecast()
    expect(visit.banner).to_contain_text("The page cannot be reached")
    gateway.protected.service.start()
    gateway.protected.service.wait()
    visit.forecast()
    expect(visit.sentence).to_contain_text("Peak")


def send(gateway: Gateway, method: str, path: str, **headers: str) -> http.client.HTTPResponse:
    """One request over a connection of its own; the body is read already."""
    trust = ssl.create_default_context(cafile=gateway.certificate)
    connection = http.client.HTTPSConnection(
        "localhost", gateway.protected.port, timeout=30, context=trust
    )
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    connection.request(method, path, headers=sent)
    answer = connection.getresponse()
    answer.said = answer.read().decode(errors="replace")  # type: ignore[attr-defined]
    connection.close()
    return answer


ANSWERS = [
    ("GET", "/", 200),
    ("GET", "/favicon.ico", 200),
    ("GET", "/preview.png", 200),
    ("GET", "/api/model", 200),
    ("GET", "/config", 404),
    ("GET", "/gradio_api/info", 404),
    ("GET", "/metrics", 404),
    ("DELETE", "/", 405),
    ("GET", "/api/forecast", 405),
    ("POST", "/api/forecast", 413),
    ("GET", "/api/model", 403),
]


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
def test_every_answer_has_headers_of_what_browsers_must_not_do(
    gateway: Gateway, method: str, path: str, status: int
) -> None:
    headers = {403: {"X_Note": "${jndi:ldap://127.0.0.1/a}"}, 413: {"Content_Length": "600000"}}
    answer = send(gateway, method, path, **headers.get(status, {}))
    assert answer.status == status
    received = {name.lower(): text for name, text in answer.getheaders()}
    assert received["strict-transport-security"] == "max-age=63072000"
    assert received["x-content-type-options"] == "nosniff"
    assert received["x-frame-options"] == "DENY"
    assert "'unsafe-eval'" not in received["content-security-policy"]
    assert "default-src 'none'; script-src 'self' 'nonce-" in received["content-security-policy"]
    assert len(answer.getheaders()) == len(received), "a header twice"
    assert "nginx/" not in received["server"]
    if status >= 400:
        assert received["content-type"] == "application/json"


def test_refusals_are_pages_to_people_and_json_to_programs(gateway: Gateway) -> None:
    page = send(gateway, "GET", "/secret", Accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert page.getheader("Content-Type") == "text/html; charset=utf-8"
    program = send(gateway, "GET", "/secret", Accept="*/*")
    assert program.getheader("Content-Type") == "application/json"
    for answer in (page, program):
        assert "There is no such address here." in answer.said  # type: ignore[attr-defined]


def test_the_number_of_a_refusal_is_in_the_logs(gateway: Gateway) -> None:
    answer = send(gateway, "GET", "/api/model", X_Note="${jndi:ldap://127.0.0.1/b}")
    (number,) = re.findall("[0-9a-f]{32}", json.loads(answer.said)["detail"])  # type: ignore[attr-defined]
    assert f'[unique_id "{number}"]' in gateway.log


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls_are_refused(gateway: Gateway) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    # This side would rather not, either: it is the gateway that must refuse.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        gateway.connect(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with gateway.connect(context) as connection:
        assert connection.version() == "TLSv1.2"


def test_http_2(gateway: Gateway) -> None:
    command = [
        "curl",
        "--silent",
        "--cacert",
        gateway.certificate,
        "--write-out",
        "%{http_version}",
    ]
    done = subprocess.run(
        [*command, f"{gateway.url}/api/model"], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("}2")
