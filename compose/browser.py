"""A headless Chromium, for the tests that look at Flower as people do, and for the documentation's pictures."""

import contextlib
from collections.abc import Iterator

from playwright.sync_api import Browser, sync_playwright

from compose import packages


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The system's own: nothing is downloaded."""
    # As root Chromium refuses to start with its sandbox; it is shown no pages but our own.
    options = ["--no-sandbox"] if packages.is_root() else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        try:
            yield browser
        finally:
            browser.close()
