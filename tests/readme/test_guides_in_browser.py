"""The guides in a real Chromium: nothing is refused, and nothing is wider than a telephone."""

from typing import Final, Literal

import pytest
from playwright.async_api import Browser, Page

from tests.readme.conftest import Running
from tests.support.browsing import browser, chromium, needs_chromium
from tests.support.guides import PAGES

__all__ = ["browser", "chromium"]

pytestmark = pytest.mark.anyio

TOO_WIDE: Final = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
#: Code and tables that are wider than the page, and whether the keys reach each of them.
REACHED: Final = """[...document.querySelectorAll("pre, .scroll")]
  .filter((each) => each.scrollWidth > each.clientWidth).map((each) => each.tabIndex === 0)"""
GROUND: Final = "getComputedStyle(document.body).backgroundColor"

Scheme = Literal["light", "dark"]


def faults_of(page: Page, origin: str) -> list[str]:
    """What the browser complains about from now on, and requests to elsewhere."""
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith(origin) else faults.append(request.url),
    )
    return faults


@needs_chromium
@pytest.mark.parametrize(
    ("scheme", "ground"), [("light", "rgb(251, 251, 250)"), ("dark", "rgb(22, 24, 27)")]
)
async def test_every_page_fits_a_telephone(
    running: Running, browser: Browser, scheme: Scheme, ground: str
) -> None:
    context = await browser.new_context(color_scheme=scheme, viewport={"width": 360, "height": 740})
    page = await context.new_page()
    faults = faults_of(page, f"http://127.0.0.1:{running.port}")
    reached: list[bool] = []
    for name in PAGES:
        await page.goto(f"http://127.0.0.1:{running.port}/docs/{name}")
        assert await page.evaluate(TOO_WIDE) == 0, name
        assert await page.evaluate(GROUND) == ground
        reached += await page.evaluate(REACHED)
    await context.close()

    assert faults == []
    assert reached
    assert all(reached)


@needs_chromium
async def test_a_reader_finds_a_runbook_and_goes_on(running: Running, browser: Browser) -> None:
    page = await browser.new_page()
    await page.goto(f"http://127.0.0.1:{running.port}/docs")
    await page.get_by_role("link", name="Guides").click()
    await page.get_by_role("navigation").get_by_role("link", name="Runbooks").click()
    await page.get_by_role("navigation").get_by_role("link", name="RingbackQueueOld").click()
    assert page.url.endswith("/docs/runbooks#ringbackqueueold")
    assert await page.get_by_role("heading", name="RingbackQueueOld").is_visible()
    await page.close()
