"""Debian's Chromium, headless and without calls home."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from missing import missing
from playwright.sync_api import Browser, Error, expect, sync_playwright

CHROMIUM = os.environ.get("KALECAST_CHROMIUM", "/usr/bin/chromium")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 860}
TIMEOUT = 30_000
"""Milliseconds after which something that has not come is missing."""

expect.set_options(timeout=TIMEOUT)


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser; where there is none, the test is skipped, or fails in CI."""
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        except Error:
            missing(f"Chromium at {CHROMIUM}", "apt-get install -y chromium")
        yield browser
        browser.close()
