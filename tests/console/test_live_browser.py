"""Pages in a real Chromium that nobody reloads, and that no timer asks for."""

import asyncio
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.async_api import Browser, Page, Request, Route, expect

from tests.console.test_browser import NARROW, opened
from tests.console.test_live import QUIET, key_for, send, settled, subscribed
from tests.console.test_portal_browser import link
from tests.support.browsing import needs_chromium
from tests.support.receiver import Receiver, Reply
from tests.support.server import LOCAL, Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120), needs_chromium]

#: Milliseconds within which a change is shown: looks are 2 s apart. A page asks by itself in 10 s.
SOON: Final = 6_000


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("live")
    with Server(folder, {**LOCAL, "RINGBACK_RETRY_SCHEDULE": "0"}) as server:
        yield server


class Asked:
    """What a page asks for."""

    def __init__(self, page: Page) -> None:
        self.parts: list[str] = []
        self.streams: list[str] = []
        page.on("request", self._note)

    def _note(self, request: Request) -> None:
        if request.resource_type == "eventsource":
            self.streams.append(request.url)
        elif "hx-request" in request.headers:
            self.parts.append(request.url)


async def test_new_deliveries_come_by_the_stream_and_by_no_timer(
    browser: Browser, server: Server, receiver: Receiver
) -> None:
    await subscribed(server, receiver.url("/hook"))
    async with opened(browser, server) as watched:
        page, asked = watched.page, Asked(watched.page)
        await watched.sign_in(server.admin_key)
        async with page.expect_response("**/console/live?*deliveries*"):
            await watched.go("/deliveries?live=true")
        asked.parts.clear()
        asked.streams.clear()
        await asyncio.sleep(QUIET)
        assert asked.parts == []

        await send(server, "made-now")
        row = page.get_by_role("row").filter(has_text="made-now")
        await expect(row).to_contain_text("delivered", timeout=SOON)

        before = len(asked.parts)
        age = row.locator("time + small").first
        was = await age.inner_text()
        await expect(age).not_to_have_text(was)  # by the clock of the page
        await asyncio.sleep(QUIET)
        assert len(asked.parts) <= before + 1
        assert asked.streams == []  # the one from before is still there


async def test_the_overview_shows_what_died_without_being_asked(
    browser: Browser, server: Server, receiver: Receiver
) -> None:
    receiver.script = lambda _: Reply(500)
    await subscribed(server, receiver.url("/hook"))
    async with opened(browser, server, "dark", NARROW) as watched:
        page, asked = watched.page, Asked(watched.page)
        await watched.sign_in(server.admin_key)
        await expect(page.get_by_text("Nothing failed for good")).to_be_visible()
        await asyncio.sleep(1)  # the stream is open
        await send(server, "dies")
        await settled(server, "dead")
        await expect(page.get_by_text("Dead deliveries, newest event first")).to_be_visible(
            timeout=SOON
        )
        assert len(asked.streams) == 1


async def test_the_portal_is_live_too(browser: Browser, server: Server, receiver: Receiver) -> None:
    mine = await subscribed(server, receiver.url("/mine"))
    async with opened(browser, server) as watched:
        page = watched.page
        await page.goto(await link(server, subscriptionId=mine["id"]))
        waiting = page.locator(".figures dd").nth(3)
        await expect(waiting).to_have_text("0 / 0")
        await asyncio.sleep(1)
        await send(server, "to-me")
        await expect(waiting).to_have_text("1 / 0", timeout=SOON)


async def test_a_hidden_page_has_no_stream_and_catches_up_when_it_is_shown(
    browser: Browser, server: Server
) -> None:
    turn = """(state) => {
      Object.defineProperty(document, "hidden", { value: state === "hidden", configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    async with opened(browser, server) as watched:
        page, asked = watched.page, Asked(watched.page)
        await watched.sign_in(server.admin_key)
        await watched.go("/operations")
        await expect(page.get_by_text("There are no operations yet")).to_be_visible()
        await asyncio.sleep(1)
        await page.evaluate(turn, "hidden")
        asked.parts.clear()
        asked.streams.clear()
        await send(server, "meanwhile")
        await asyncio.sleep(QUIET)
        assert (asked.parts, asked.streams) == ([], [])
        await page.evaluate(turn, "visible")
        await expect(page.get_by_role("rowheader", name="meanwhile")).to_be_visible(timeout=SOON)
        await send(server, "afterwards")
        await expect(page.get_by_role("rowheader", name="afterwards")).to_be_visible(timeout=SOON)
        assert len(asked.streams) == 1


async def test_where_no_stream_can_be_had_the_page_asks(browser: Browser, server: Server) -> None:
    async def ask(status: int) -> None:
        async def refuse(route: Route) -> None:
            await route.fulfill(status=status, body="no", content_type="text/html")

        async with opened(browser, server) as watched:
            page, asked = watched.page, Asked(watched.page)
            await page.route("**/console/live*", refuse)
            await watched.sign_in(server.admin_key)
            await watched.go("/operations")
            asked.streams.clear()
            await send(server, f"asked-for-{status}")
            shown = page.get_by_role("rowheader", name=f"asked-for-{status}")
            await expect(shown).to_be_visible()
            await asyncio.sleep(QUIET)
            assert len(asked.streams) <= 1
            assert len(asked.parts) <= 6
            watched.faults = [each for each in watched.faults if f"status of {status}" not in each]

    await asyncio.gather(*map(ask, (403, 429, 503)))


async def test_whose_key_is_revoked_is_led_to_the_way_in(browser: Browser, server: Server) -> None:
    made = await key_for(server, "operations:read")
    async with opened(browser, server) as watched:
        page = watched.page
        await watched.sign_in(made["key"])
        await watched.go("/operations")
        await expect(page.get_by_text("There are no operations yet")).to_be_visible()
        await asyncio.sleep(1)
        async with server.client() as client:
            assert (await client.delete(f"/v1/api-keys/{made['id']}")).is_success
        await expect(page.get_by_label("API key")).to_be_visible(timeout=SOON)
        watched.faults = [each for each in watched.faults if "status of 401" not in each]
