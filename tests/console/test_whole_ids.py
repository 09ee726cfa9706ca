"""At the width of a telephone every id can be read whole; and what would cut one is found."""

from typing import Final

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.console import test_browser, test_portal_browser
from tests.console.test_browser import NARROW, one_dead, opened, server
from tests.console.test_portal_browser import link
from tests.support.browsing import needs_chromium
from tests.support.ids import read_ids
from tests.support.receiver import Receiver
from tests.support.server import Server

__all__ = ["server"]

pytestmark = [pytest.mark.anyio, needs_chromium]

#: Pages on which there may be no id.
BARE = {
    "subscription-new",
    "tenant-edit",
    "system",
    "tenants",
    "deliveries-none",
    "deliveries-replay",
}
#: Styles of an id that leave away some of it.
CUTTING: Final = (
    # the end is left away
    "white-space: nowrap; display: inline-block; max-width: 8ch; overflow: hidden;",
    "white-space: nowrap; display: inline-block; max-width: 8ch; overflow: clip;",
    # a cell leaves it away, or runs over into the next one
    "white-space: nowrap } table { table-layout: fixed; } :is(td, th) { overflow: hidden;",
    "white-space: nowrap; max-width: none } table { table-layout: fixed;",
    # the second line is left away
    "height: 1.2em; overflow: hidden;",
    # even who scrolls sees a part at a time
    "white-space: nowrap; max-width: none; font-size: 40px;",
    # the edge of the screen
    "white-space: nowrap; max-width: none; position: fixed; left: 300px;",
    "font-size: 0;",
)


async def test_on_every_page_of_the_console(
    browser: Browser, server: Server, receiver: Receiver
) -> None:
    letter = await one_dead(server, receiver)
    async with opened(browser, server, "light", NARROW) as watched:
        await watched.sign_in(server.admin_key)
        for name, path in test_browser.paths(letter).items():
            await watched.go(path)
            found = await read_ids(watched.page)
            assert found.cut == [], name
            assert found.whole or name in BARE, name


@pytest.mark.parametrize("bounds", [(), ("subscriptionId",)])
async def test_on_every_page_of_the_portal(
    browser: Browser, server: Server, receiver: Receiver, bounds: tuple[str, ...]
) -> None:
    letter = await one_dead(server, receiver)
    body = {name: letter[name] for name in bounds}
    async with opened(browser, server, "light", NARROW) as watched:
        await watched.page.goto(await link(server, **body))
        await expect(watched.page.get_by_role("heading", name="Overview")).to_be_visible()
        for name, path in test_portal_browser.paths(letter).items():
            await watched.page.goto(f"{server.url}/portal{path}")
            assert (await read_ids(watched.page)).cut == [], name
        # of one subscription's, some pages are not there
        watched.faults = [each for each in watched.faults if "status of 404" not in each]


async def styled(page: Page, more: str) -> None:
    """Let pages have this style behind their own."""

    async def answer(route: Route) -> None:
        own = await route.fetch()
        await route.fulfill(response=own, body=f"{await own.text()}\n{more}")

    await page.route("**/static/style.css", answer)


async def test_what_cuts_one_is_found(browser: Browser, server: Server, receiver: Receiver) -> None:
    letter = await one_dead(server, receiver)
    async with opened(browser, server, "light", NARROW) as watched:
        await watched.sign_in(server.admin_key)
        for style in CUTTING:
            await styled(watched.page, f":is(td, th) .id {{ {style} }}")
            async with watched.page.expect_response("**/static/style.css"):
                await watched.go("/deliveries")
            assert letter["deliveryId"] in (await read_ids(watched.page)).cut, style
            await watched.page.unroute_all()
