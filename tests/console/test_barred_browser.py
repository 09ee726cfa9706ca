"""A page that is embedded where browsers keep nothing for it goes on without that."""

import asyncio
import re
from typing import Final

import pytest
from playwright.async_api import Browser, Page, expect

from tests.console.test_browser import Watched, opened, server
from tests.console.test_live import send, subscribed
from tests.console.test_portal_browser import link
from tests.support.browsing import needs_chromium
from tests.support.receiver import Receiver
from tests.support.server import Server

__all__ = ["server"]

pytestmark = [pytest.mark.anyio, needs_chromium]

_REFUSE: Final = 'const refuse = () => { throw new DOMException("barred", "SecurityError"); };'
#: As browsers do that block what sites keep: wherever it is touched, there is an error.
BARRED: Final = {
    "everything": """
      window.BroadcastChannel = class { constructor() { refuse(); } };
      for (const name of ["localStorage", "sessionStorage", "indexedDB", "caches"])
        Object.defineProperty(window, name, { get: refuse });
      for (const name of ["locks", "clipboard", "storage", "serviceWorker"])
        Object.defineProperty(navigator, name, { get: refuse });
      history.replaceState = refuse;
    """,
    "the use of it": """
      BroadcastChannel.prototype.postMessage = refuse;
      navigator.locks.request = refuse;
    """,
    "that it is there": """
      delete window.BroadcastChannel;
      for (const name of ["locks", "clipboard"])
        Object.defineProperty(navigator, name, { value: undefined });
    """,
}


async def bar(page: Page, how: str) -> None:
    await page.add_init_script(f"{{ {_REFUSE} {BARRED[how]} }}")


async def is_alive(watched: Watched, server: Server, kind: str) -> None:
    """Whether the script of the page does all that needs nothing kept."""
    page = watched.page
    await asyncio.sleep(1)  # the stream is open
    await send(server, kind)
    row = page.get_by_role("row").filter(has_text=kind)
    await expect(row).to_be_visible(timeout=6_000)  # a page asks by itself in 10 s
    age = row.locator("time + small").first
    was = await age.inner_text()
    await expect(age).not_to_have_text(was)
    await page.keyboard.press("/")
    await expect(page.locator(".filters :focus")).to_have_count(1)


@pytest.mark.parametrize("how", BARRED)
async def test_the_console_works(browser: Browser, server: Server, how: str) -> None:
    async with opened(browser, server) as watched:
        await bar(watched.page, how)
        await watched.sign_in(server.admin_key)
        await watched.go("/operations")
        await is_alive(watched, server, f"console-{how.replace(' ', '-')}")
        await watched.page.get_by_role("button", name="Sign out").click()
        await expect(watched.page.get_by_label("API key")).to_be_visible()


@pytest.mark.parametrize("how", BARRED)
async def test_the_portal_works(
    browser: Browser, server: Server, receiver: Receiver, how: str
) -> None:
    made = await subscribed(server, receiver.url("/hook"))
    async with opened(browser, server) as watched:
        page = watched.page
        await bar(page, how)
        await page.goto(await link(server))
        await expect(page).to_have_url(re.compile("/portal$"))
        await page.goto(f"{server.url}/portal/deliveries?live=true")
        await is_alive(watched, server, f"portal-{how.replace(' ', '-')}")
    async with server.client() as client:
        await client.delete(f"/v1/subscriptions/{made['id']}")
