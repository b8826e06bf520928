"""A browser for tests: Chromium of this machine, driven by Playwright, which downloads none of its own.

Pages are used from synchronous tests. Playwright keeps an event loop running in the thread that uses it, so a module
that takes these fixtures must not call `asyncio.run` (or `within`): the loop ends with the module's last test.
"""

import os
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect, sync_playwright
from playwright.sync_api import TimeoutError as TooLate

FLAGS = ("--no-sandbox", "--disable-background-networking")  # tests run as root; nothing but the page speaks to anyone
PATIENCE = 20_000  # ms that a page may take for anything
expect.set_options(timeout=PATIENCE)
PICTURES = os.environ.get("HEADRACE_PICTURES")
DESK: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """One Chromium for a module. Skips where none is installed."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium is installed (apt-get install chromium), so nothing is tested in a browser")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Generator[Page]:
    """A page with storage of its own, at a desk; it fails the test when a script on it fails."""
    with new_page(browser) as opened:
        yield opened


@contextmanager
def new_page(browser: Browser, size: ViewportSize = DESK, **options: Any) -> Generator[Page]:
    """A page of another user: storage, cookies and session apart from every other page's."""
    context = browser.new_context(viewport=size, **options)
    try:
        context.set_default_timeout(PATIENCE)
        opened = context.new_page()
        failures: list[str] = []
        opened.on("pageerror", lambda error: failures.append(str(error)))
        yield opened
        assert not failures, failures
    finally:
        context.close()


def soon(page: Page, holds: str, arg: Any = None) -> None:
    """Waits until this holds on the page, and notices at once: `expect`, which says what it saw, looks once a second.

    So what is waited for longer than a moment is waited for here, and then expected.
    """
    with suppress(TooLate):
        page.wait_for_function(holds, arg=arg, polling=40)


def grown(answer: Locator, texts: Sequence[str], go_on: Callable[[], None]) -> None:
    """The answer shows each of these texts in turn; what makes it grow goes on when one has been seen."""
    for text in texts:
        expect(answer).to_have_text(text)
        go_on()


def picture(page: Page, name: str) -> None:
    """Takes the picture that the docs show: only where HEADRACE_PICTURES names the folder, as `make pictures` does."""
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(PICTURES) / f"{name}.png")
