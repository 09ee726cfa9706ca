"""Pages in a real Chromium that nobody reloads, and that no timer asks for."""

import asyncio
import re
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.async_api import Browser, Page, Request, Route, expect

from tests.console.test_browser import NARROW, Watched, opened
from tests.console.test_live import QUIET, key_for, send, settled, subscribed
from tests.console.test_portal_browser import link
from tests.support.browsing import needs_chromium
from tests.support.receiver import Receiver, Reply
from tests.support.server import LOCAL, Server

pytestmark = [pytest.mark.anyio, needs_chromium]

#: Milliseconds within which a change is shown: looks are 2 s apart. A page asks by itself in 10 s.
SOON: Final = 6_000
#: Where something stands in the window; pixels.
TOP: Final = "each => each.getBoundingClientRect().top"
NEARLY: Final = 3
#: Seconds within which a window that has no stream asks by itself, and then for one.
LONG: Final = 15.0
#: Seconds after which a page has asked by itself once, and does so again in 15 s at the earliest.
PAUSE: Final = 2.0


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


async def test_what_somebody_is_at_stays_that_however_much_comes_in_above(
    browser: Browser, server: Server
) -> None:
    async with opened(browser, server) as watched:
        page = watched.page
        await watched.sign_in(server.admin_key)
        for number in range(30):
            await send(server, f"old-{number}")
        await watched.go("/operations")
        own = page.get_by_role("link", name="old-12", exact=True)
        await own.focus()
        await page.evaluate("scrollTo(0, 700)")
        top = await own.evaluate(TOP)
        await asyncio.gather(*(send(server, f"new-{number}") for number in range(15)))
        await expect(page.get_by_role("link", name=re.compile("new-"))).to_have_count(15)
        await expect(own).to_be_focused()
        assert abs(await own.evaluate(TOP) - top) < NEARLY


async def test_a_button_does_not_become_another_under_a_finger(
    browser: Browser, server: Server, receiver: Receiver
) -> None:
    made = await subscribed(server, receiver.url("/hook"))
    async with opened(browser, server) as watched:
        page = watched.page
        await watched.sign_in(server.admin_key)
        await watched.go(f"/subscriptions/{made['id']}")
        await page.get_by_role("button", name="Pause").focus()
        await asyncio.sleep(1)
        async with server.client() as client:
            assert (await client.post(f"/v1/subscriptions/{made['id']}/pause")).is_success
        await expect(page.get_by_role("button", name="Pause")).to_have_count(0, timeout=SOON)
        assert await page.evaluate("document.activeElement.tagName") != "BUTTON"


#: As over plain HTTP.
WITHOUT_LOCKS: Final = "Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })"


async def eight_windows(watched: Watched) -> list[Page]:
    """More windows of one browser than it has connections to a site."""
    windows = [await watched.page.context.new_page() for _ in range(8)]
    for window in windows:
        await window.goto(f"{watched.origin}/console/operations")
        await asyncio.sleep(0.5)  # its stream is open
    return windows


async def all_see(windows: list[Page], name: str) -> None:
    for window in windows:
        await expect(window.get_by_role("rowheader", name=name)).to_be_visible()


async def test_many_windows_leave_connections_for_other_pages(
    browser: Browser, server: Server
) -> None:
    async with opened(browser, server) as watched:
        await watched.sign_in(server.admin_key)
        windows = await eight_windows(watched)
        await send(server, "in-all")
        await all_see(windows, "in-all")
        # what windows leave that are closed is others', which had none
        asked = [Asked(window) for window in windows[4:]]
        for window in windows[:4]:
            await window.close()
        async with asyncio.timeout(LONG):
            while not any(each.streams for each in asked):  # noqa: ASYNC110  another process asks
                await asyncio.sleep(0.1)


async def test_windows_that_know_nothing_of_each_other_leave_connections_too(
    browser: Browser, server: Server
) -> None:
    async with opened(browser, server) as watched:
        await watched.page.context.add_init_script(WITHOUT_LOCKS)
        await watched.sign_in(server.admin_key)
        windows = await eight_windows(watched)
        await send(server, "in-all")
        await all_see(windows, "in-all")


@pytest.mark.parametrize("has_stream", [True, False], ids=["stream", "no stream"])
async def test_who_signs_out_in_one_tab_is_led_to_the_way_in_in_all_others(
    browser: Browser, server: Server, *, has_stream: bool
) -> None:
    """Without a stream: as of another process, where nobody hears of it."""
    await send(server, "STARTED")
    async with opened(browser, server) as watched:
        first, context = watched.page, watched.page.context
        await watched.sign_in(server.admin_key)
        if not has_stream:
            for streams in ("**/live?*", "**/stream?*"):
                await context.route(streams, lambda route: route.fulfill(status=429))
        tabs = [await context.new_page() for _ in range(2)]
        for tab, path in zip(tabs, ("/subscriptions", "/operations/STARTED"), strict=True):
            await tab.goto(f"{server.url}/console{path}")
            await expect(tab.get_by_role("button", name="Sign out")).to_be_visible()
        await asyncio.sleep(PAUSE)
        await first.get_by_role("button", name="Sign out").click()

        for tab in (first, *tabs):
            await expect(tab.get_by_label("API key")).to_be_visible(timeout=SOON)
        assert "next=%2Fconsole%2Fsubscriptions" in tabs[0].url
        watched.faults = [
            each for each in watched.faults if "of 401" not in each and "of 429" not in each
        ]


async def test_who_signs_out_of_the_portal_is_told_so_in_all_tabs(
    browser: Browser, server: Server
) -> None:
    async with opened(browser, server) as watched:
        first, context = watched.page, watched.page.context
        await first.goto(await link(server))
        await expect(first.get_by_role("heading", name="Overview")).to_be_visible()
        second = await context.new_page()
        await second.goto(f"{server.url}/portal/dead-letters")
        await first.get_by_role("button", name="Sign out").click()

        await expect(second.get_by_text("There is no session here")).to_be_visible(timeout=SOON)
        watched.faults = [each for each in watched.faults if "status of 401" not in each]
