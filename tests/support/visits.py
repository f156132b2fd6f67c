"""A customer's visit: a browser's tab on the page, and all that was not as it should be."""

from chromium import DESKTOP, TIMEOUT
from page_process import timestamp, value
from playwright.sync_api import Browser, Download, Locator, expect
from playwright.sync_api import Page as Tab


class Visit:
    """A tab on the page, and all that the browser complained about or requested elsewhere."""

    def __init__(self, browser: Browser, url: str, **options: object) -> None:
        self.url = url
        self.context = browser.new_context(**{"viewport": DESKTOP, **options})
        self.tab: Tab = self.context.new_page()
        self.tab.set_default_timeout(TIMEOUT)
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.sockets: list[str] = []
        self.tab.on("console", lambda m: m.type == "error" and self.complaints.append(m.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("response", lambda r: r.status >= 400 and self.complaints.append(r.url))
        self.tab.on("request", lambda request: self._note(request.url))
        self.tab.on("websocket", lambda socket: self.sockets.append(socket.url))
        self.tab.goto(url)
        expect(self.figure).to_be_visible()

    def close(self) -> None:
        """End it; nothing may have been complained about or requested elsewhere."""
        self.context.close()
        assert self.elsewhere == []
        assert self.sockets == []
        assert self.complaints == []

    def _note(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self.elsewhere.append(url)

    @property
    def figure(self) -> Locator:
        return self.tab.locator("#kc-plot .main-svg").first

    @property
    def heading(self) -> Locator:
        return self.tab.locator(".kc-reading h2")

    @property
    def sentence(self) -> Locator:
        return self.tab.locator(".kc-sentence")

    @property
    def banner(self) -> Locator:
        return self.tab.locator(".kc-banner")

    @property
    def toast(self) -> Locator:
        """What Gradio's frontend itself says of an answer that it did not expect."""
        return self.tab.locator(".toast-body")

    def source(self, name: str) -> None:
        self.tab.locator("#kc-source label", has_text=name).click()

    def upload(self, name: str, content: bytes) -> None:
        clear = self.tab.locator("#kc-file").get_by_label("Clear")
        chooser = self.tab.locator("#kc-file input[type=file]")
        # While a file is being sent there is neither.
        expect(clear.or_(chooser).first).to_be_attached()
        if clear.count():
            clear.first.click()
        file = {"name": name, "mimeType": "text/csv", "buffer": content}
        chooser.set_input_files(file)

    def paste(self, text: str) -> None:
        self.tab.locator("#kc-numbers textarea").fill(text)

    def forecast(self) -> None:
        self.tab.locator("#kc-forecast").click()

    def download(self) -> Download:
        with self.tab.expect_download() as found:
            self.tab.get_by_text("Download as CSV").click()
        return found.value


def rows_of(name: str, count: int, base: float = 100.0) -> list[str]:
    """Rows of a series, an hour each."""
    return [f"{name},{timestamp(hour)},{value(hour, base)}" for hour in range(count)]


def table_of(*rows: str) -> bytes:
    """A CSV of such rows."""
    return ("unique_id,ds,y\n" + "\n".join(rows) + "\n").encode()


def no_sideways_scroll(visit: Visit) -> None:
    """The page is as wide as its window, not wider."""
    widths = visit.tab.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1]
