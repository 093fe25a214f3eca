"""The playground in a real browser: the system's Chromium, driven by Playwright, against a real service."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.live import Live, serve

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WAIT_MS = 15_000
expect.set_options(timeout=WAIT_MS)
ARGUMENTS = [
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
"""A camera that shows a test image, and that is allowed without a question to the user."""


# Playwright runs an event loop in this thread, which the asynchronous tests of other packages can not share.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("the playground's tests need Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        # The sandbox needs rights that containers do not grant. The browser only visits our own service.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def live() -> Iterator[Live]:
    with serve() as service:
        yield service


def open_page(browser: Browser, live: Live, **context: object) -> Page:
    """Open the playground in a separate browser context and wait for its first answer."""
    chosen = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **context}
    page = browser.new_context(**chosen).new_page()  # type: ignore[arg-type]
    page.set_default_timeout(WAIT_MS)
    page.goto(live.url)
    page.locator("#service", has_text="ready").wait_for()
    page.locator("#result .curl").wait_for()
    return page


def close_page(page: Page) -> None:
    """Close a page with its browser context, whatever it still waits for.

    A request that a test answers itself (`page.route`) may be on its way when the test ends. Its error would
    reach the next test.
    """
    page.unroute_all(behavior="ignoreErrors")
    page.context.close()


@pytest.fixture
def page(browser: Browser, live: Live) -> Iterator[Page]:
    """The page at the width of a desktop; at the end of each test its console must be empty."""
    page = open_page(browser, live)
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    yield page
    close_page(page)
    # The browser itself logs every response with an error status.
    expected = ("status of 4", "status of 503", "status of 504")
    assert [line for line in messages if not any(text in line for text in expected)] == []
