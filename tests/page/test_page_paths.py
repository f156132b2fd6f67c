"""The page below a path of a proxy, what shared links say, and results by their source."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import page_process
import pytest
import requests
from missing import missing
from page_process import PYTHON, Page
from playwright.sync_api import Browser, expect
from ports import free_ports
from requests.adapters import HTTPAdapter
from stand_in_server import StandInServer
from urllib3 import Retry
from visits import Visit, rows_of, table_of

pytestmark = pytest.mark.slow

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr; events {{ }}
http {{
    access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
    fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 2m;
        location /at/work/ {{
            proxy_pass {page}{passed};
            proxy_set_header Host $http_host;
        }}
        location / {{ return 404 "Another application is here."; }}
    }}
}}
"""


@contextmanager
def proxy(page: str, port: int, folder: Path, passed: str) -> Iterator[None]:
    """nginx with the page below `/at/work/`, which it takes away where it passes `/` on."""
    folder.mkdir()
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, port=port, page=page, passed=passed))
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if nginx is None:
        missing("nginx", "apt-get install -y --no-install-recommends nginx-light")
    process = subprocess.Popen([str(nginx), "-e", "stderr", "-p", folder, "-c", configuration])
    retries = Retry(connect=20, backoff_factor=0.05)
    try:
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=retries))
            assert session.get(f"http://127.0.0.1:{port}/", timeout=10).status_code == 404
        yield
    finally:
        process.terminate()
        process.wait(30)


def test_below_a_path_of_a_proxy(
    browser: Browser, model_server: StandInServer, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}/at/work"
    setting = {
        "KALECAST_ROOT_PATH": "/at/work",
        "KALECAST_PUBLIC_URL": address,
        "KALECAST_GRADIO_CLIENT": "on",
    }
    with page_process.running(tmp_path / "page", model_server.url, **setting) as page:
        assert requests.get(page.url + "/health", timeout=10).ok
        with proxy(page.url, port, tmp_path / "whole", ""):
            visit = Visit(browser, address + "/")
            expect(visit.heading).to_have_text("Town hall")
            visit.close()
        with proxy(page.url, port, tmp_path / "stripped", "/"):
            _all_of_it_works(browser, address)
            _a_failed_upload_is_reported(browser, address)


def _all_of_it_works(browser: Browser, address: str) -> None:
    assert requests.get(address, timeout=10).url == address + "/"
    visit = Visit(browser, address + "/")
    expect(visit.heading).to_have_text("Town hall")
    visit.source("Your file")
    visit.tab.get_by_text("What the file should look like").click()
    with visit.tab.expect_download() as found:
        visit.tab.get_by_text("Download a small example").click()
    visit.upload("example.csv", Path(found.value.path()).read_bytes())
    expect(visit.heading).to_have_text("office")
    visit.tab.get_by_text("For programs").click()
    shell = visit.tab.locator("#kc-programs code.language-bash").inner_text()
    assert f"{address}/api/forecast" in shell
    answer = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert '"forecast":{"ds"' in answer.stdout
    python = visit.tab.locator("#kc-programs code.language-python").inner_text()
    answer = subprocess.run([PYTHON, "-c", python], capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("[")
    visit.close()


def _a_failed_upload_is_reported(browser: Browser, address: str) -> None:
    visit = Visit(browser, address + "/")
    visit.source("Your file")
    visit.upload("large.csv", table_of(*rows_of("large", 100_000)))
    expect(visit.banner).to_contain_text("This is larger than this service takes.")
    visit.context.close()


class Tags(HTMLParser):
    """What a document's head says of itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.said: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name = given.get("property") or given.get("name")
        if tag == "meta" and name:
            self.said.append((name, given.get("content") or ""))


def test_a_shared_link_shows_the_page(page: Page) -> None:
    document = requests.get(page.url, timeout=30).text
    said = Tags(document).said
    shown = dict(said)
    assert len(said) == len(shown), "something is said twice"
    assert shown["og:title"] == "Kalecast"
    assert shown["og:description"] == shown["description"]
    assert shown["og:url"] == f"{page.url}/"
    picture = requests.get(shown["og:image"], timeout=10)
    assert shown["og:image"].startswith(page.url)
    assert picture.headers["Content-Type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")
    assert re.findall("<title>(.*?)</title>", document) == ["Kalecast"]
    head = document.partition("window.gradio_config")[0]
    for other in ("gradio.app", "githubusercontent", "@Gradio", "@teamGradio", "Click to try"):
        assert other not in head


def test_a_result_stands_under_its_own_source_alone(browser: Browser, page: Page) -> None:
    visit = Visit(browser, page.url)
    expect(visit.heading).to_have_text("Town hall")
    visit.source("Your file")
    expect(visit.heading).to_be_hidden()
    expect(visit.figure).to_be_hidden()
    expect(visit.tab.get_by_text("Download as CSV")).to_be_hidden()
    expect(visit.tab.get_by_text("Choose a file, or press")).to_be_visible()
    visit.source("Sample")
    expect(visit.heading).to_be_visible()
    visit.source("Your numbers")
    expect(visit.tab.get_by_text("Paste your numbers and press")).to_be_visible()
    visit.paste("1, 2, 3")
    visit.forecast()
    expect(visit.banner).to_contain_text("too short")
    visit.source("Sample")
    expect(visit.banner).to_be_hidden()
    expect(visit.tab.get_by_text("to see the sample")).to_be_visible()
    visit.forecast()
    expect(visit.heading).to_have_text("Town hall")
    visit.close()


def test_a_refused_upload_stays_reported(browser: Browser, page: Page) -> None:
    visit = Visit(browser, page.url)
    visit.source("Your file")
    visit.upload("good.csv", table_of(*rows_of("good", 99)))
    expect(visit.heading).to_have_text("good")
    visit.upload("huge.csv", bytes(21 * 2**20))
    expect(visit.banner).to_contain_text("huge.csv cannot be uploaded: files may not exceed")
    for old in (visit.heading, visit.figure, visit.toast):
        expect(old).to_be_hidden()
    visit.tab.wait_for_timeout(11_000)  # a note of Gradio's would be gone by now
    expect(visit.banner).to_be_visible()
    visit.upload("good.csv", table_of(*rows_of("better", 99)))
    expect(visit.heading).to_have_text("better")
    expect(visit.banner).to_have_count(0)
    visit.close()
