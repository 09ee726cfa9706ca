"""A real Chromium, started once for a file of tests; each test begins with no page open."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
from playwright.async_api import Browser, async_playwright

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium is on this machine; install the package chromium"
)


@asynccontextmanager
async def _started(*arguments: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", *arguments]
        )
        yield browser
        await browser.close()


async def _cleared(browser: Browser) -> None:
    """Close what a test left open: cookies, pages and what they listen to go with it."""
    for context in browser.contexts:
        await context.close()


@pytest.fixture(scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with _started() as browser:
        yield browser


@pytest.fixture
async def browser(chromium: Browser) -> AsyncIterator[Browser]:
    yield chromium
    await _cleared(chromium)


@pytest.fixture(scope="module")
async def strict_chromium() -> AsyncIterator[Browser]:
    async with _started("--test-third-party-cookie-phaseout") as browser:
        yield browser


@pytest.fixture
async def strict_browser(strict_chromium: Browser) -> AsyncIterator[Browser]:
    """A browser that keeps no cookies for embedded pages but those kept apart."""
    yield strict_chromium
    await _cleared(strict_chromium)
