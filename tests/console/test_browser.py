"""The console in a real Chromium: what its users do, and that it keeps to its own rules."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from playwright.async_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    ViewportSize,
    expect,
)

from tests.support.browsing import needs_chromium
from tests.support.receiver import Receiver, Reply
from tests.support.server import LOCAL, Server

pytestmark = pytest.mark.anyio

#: Where screenshots go, for who wants to look.
SHOTS: Final = os.environ.get("CONSOLE_SHOTS")
NARROW: Final[ViewportSize] = {"width": 360, "height": 740}
WIDE: Final[ViewportSize] = {"width": 1280, "height": 900}

Scheme = Literal["light", "dark"]

GROUND: Final[dict[Scheme, str]] = {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 19, 24)"}

expect.set_options(timeout=20_000)  # milliseconds: machines may have much else to do


@dataclass
class Watched:
    """A page, and everything on it that should not be."""

    page: Page
    origin: str
    faults: list[str] = field(default_factory=list)

    async def watch(self) -> None:
        """Note errors, violations of the policy, and requests to elsewhere."""
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("request", self._asked)
        await self.page.add_init_script(
            "document.addEventListener('securitypolicyviolation',"
            " e => console.error('CSP ' + e.violatedDirective + ' ' + e.blockedURI))"
        )

    async def shot(self, name: str) -> None:
        """Keep how it looks, where that is wanted."""
        if SHOTS:
            await self.page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)

    async def go(self, path: str) -> None:
        """Open a page of the console."""
        await self.page.goto(f"{self.origin}/console{path}")

    async def sign_in(self, key: str) -> None:
        """Show the key."""
        await self.go("")
        await self.page.get_by_label("API key").fill(key)
        await self.page.get_by_role("button", name="Sign in").click()
        await expect(self.page.get_by_role("heading", name="Overview")).to_be_visible()

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(self.origin):
            self.faults.append(f"request: {request.url}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("console")
    with Server(folder, {**LOCAL, "RINGBACK_RETRY_SCHEDULE": "0"}) as server:
        yield server


@asynccontextmanager
async def opened(
    browser: Browser, server: Server, scheme: Scheme = "light", size: ViewportSize = WIDE
) -> AsyncIterator[Watched]:
    """A page of a browser that has the colours and the size, without any fault in the end."""
    context = await browser.new_context(color_scheme=scheme, viewport=size)
    watched = Watched(await context.new_page(), server.url)
    await watched.watch()
    yield watched
    await context.close()
    assert watched.faults == []


async def one_dead(server: Server, receiver: Receiver) -> dict[str, Any]:
    """A dead letter of a receiver that is ill."""
    receiver.script = lambda _: Reply(
        500, (("content-type", "text/plain"),), b"<b>database is down</b>"
    )
    async with server.client() as client:
        operation = f"report-{receiver.port}"
        hook = {
            "url": receiver.url("/hook"),
            "description": "Orders of the shop",
            "operationId": operation,
        }
        made = (await client.post("/v1/subscriptions", json=hook)).json()
        event = {"type": "COMPLETED", "operationType": "report.sales", "result": {"rows": 12}}
        await client.post(f"/v1/operations/{operation}/events", json=event)
        await receiver.wait_for(1)
        while True:
            query = f"?subscriptionId={made['id']}"
            found = (await client.get(f"/v1/dead-letters{query}")).json()["data"]
            if found:
                letter: dict[str, Any] = found[0]
                return letter
            await asyncio.sleep(0.02)


@needs_chromium
async def test_a_dead_letter_is_found_understood_replayed_and_seen_delivered(
    browser: Browser, server: Server, receiver: Receiver
) -> None:
    letter = await one_dead(server, receiver)
    async with opened(browser, server) as watched:
        page = watched.page
        await watched.sign_in(server.admin_key)
        await page.get_by_role("link", name="Dead letters", exact=True).click()
        group = page.get_by_role("row").filter(has_text=letter["subscriptionId"])
        await group.get_by_role("link", name="attempts exhausted").click()
        await page.get_by_role("link", name=letter["id"]).click()
        await expect(page.get_by_text("answered 500").first).to_be_visible()
        await page.get_by_text("Request and response").click()
        await expect(page.get_by_text("<b>database is down</b>")).to_be_visible()
        await watched.shot("dead-letter")

        release = asyncio.Event()

        async def slow(writer: asyncio.StreamWriter) -> None:
            await release.wait()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()

        receiver.script = lambda _: slow
        await page.get_by_role("button", name="Replay").click()
        await expect(page.get_by_text("Sent again:")).to_be_visible()
        await expect(page.locator("#live > p .state")).to_have_text("delivering")
        address = page.url
        release.set()
        # live: nobody reloads the page
        await expect(page.locator("#live > p .state")).to_have_text("delivered", timeout=10_000)
        assert page.url == address
        await watched.shot("delivered")


def paths(letter: dict[str, Any]) -> dict[str, str]:
    """Every page, by a name for its picture."""
    return {
        "overview": "",
        "dead-letters": "/dead-letters",
        "dead-letter-list": "/dead-letters/all",
        "dead-letter-one": f"/dead-letters/{letter['id']}",
        "replay": f"/dead-letters/replay?subscriptionId={letter['subscriptionId']}",
        "deliveries": "/deliveries",
        "deliveries-none": "/deliveries?status=cancelled&eventType=none&since=2026-01-31",
        "delivery": f"/deliveries/{letter['deliveryId']}",
        "deliveries-replay": f"/deliveries/replay?status=dead&eventType={letter['eventType']}",
        "subscriptions": "/subscriptions",
        "subscription-new": "/subscriptions/new",
        "subscription": f"/subscriptions/{letter['subscriptionId']}",
        "subscription-edit": f"/subscriptions/{letter['subscriptionId']}/edit",
        "subscription-replay": f"/subscriptions/{letter['subscriptionId']}/replay"
        "?only=all&reach=604800000",
        "operations": "/operations",
        "operation": f"/operations/{letter['operationId']}",
        "events": "/events",
        "event": f"/events/{letter['eventId']}",
        "keys": "/keys",
        "tenants": "/tenants",
        "tenant-edit": "/tenants/default/edit",
        "audit-log": "/audit-log",
        "system": "/system",
    }


async def cut(page: Page) -> list[str]:
    """Tables of which a part can only be seen by scrolling sideways."""
    found: list[str] = await page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth)"
        ".map(e => e.getAttribute('aria-label'))"
    )
    return found


@needs_chromium
@pytest.mark.parametrize(("scheme", "size"), [("light", WIDE), ("dark", NARROW)])
async def test_every_page_keeps_to_its_policy_and_to_the_width(
    browser: Browser, server: Server, receiver: Receiver, scheme: Scheme, size: ViewportSize
) -> None:
    letter = await one_dead(server, receiver)
    async with opened(browser, server, scheme, size) as watched:
        await watched.go("/sign-in")
        await watched.shot(f"{scheme}-sign-in")
        await watched.sign_in(server.admin_key)
        for name, path in paths(letter).items():
            await watched.go(path)
            await watched.shot(f"{scheme}-{name}")
            width = await watched.page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], name
            assert size is NARROW or await cut(watched.page) == [], name
            ground = await watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert ground == GROUND[scheme]
        other: Scheme = "dark" if scheme == "light" else "light"
        await watched.page.get_by_role("button", name=other).click()
        await watched.go("/system")
        ground = await watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == GROUND[other]


@needs_chromium
async def test_a_subscription_is_made_tested_rotated_and_paused(
    browser: Browser, server: Server, receiver: Receiver
) -> None:
    async with opened(browser, server, "dark", NARROW) as watched:
        page = watched.page
        await watched.sign_in(server.admin_key)
        await watched.go("/subscriptions/new")
        await page.get_by_label("URL").fill(receiver.url("/mine"))
        await page.get_by_label("Event types").fill("nothing.*")
        await page.get_by_role("button", name="Create").click()
        secret = await page.get_by_label("Secret 1").inner_text()
        await watched.shot("secret")
        await page.get_by_role("link", name="To the subscription").click()
        await page.get_by_role("button", name="Send a test event").click()
        await expect(page.get_by_text("HTTP 200")).to_be_visible()
        await receiver.wait_for(1)
        await watched.shot("trial")
        await page.get_by_role("link", name="To the subscription").click()
        await expect(page.get_by_role("button", name="Rotate")).to_be_hidden()
        await page.get_by_text("Rotate…").click()
        await page.get_by_role("button", name="Rotate").click()
        await expect(page.get_by_label("Secret 1")).not_to_have_text(secret)
        await page.get_by_role("link", name="To the subscription").click()
        await page.get_by_role("button", name="Pause").click()
        await expect(page.locator("#live > p .state")).to_have_text("paused")


@needs_chromium
async def test_a_subscription_is_edited_and_a_fault_is_said_where_it_is(
    browser: Browser, server: Server, receiver: Receiver
) -> None:
    async with server.client() as client, opened(browser, server, "light", NARROW) as watched:
        hook = {"url": receiver.url("/mine"), "eventTypes": ["a"], "headers": {"x-token": "secret"}}
        made = (await client.post("/v1/subscriptions", json=hook)).json()
        page = watched.page
        await watched.sign_in(server.admin_key)
        await watched.go(f"/subscriptions/{made['id']}")
        await page.get_by_role("link", name="Edit").click()
        await page.get_by_label("Event types").fill("COMPLETED, a b")
        await page.get_by_label("Own headers").fill("x-token: ****\nx-more: 1")
        await page.get_by_role("button", name="Save").click()
        field = page.get_by_label("Event types")
        await expect(field).to_have_attribute("aria-invalid", "true")
        await expect(field).to_have_accessible_description(re.compile("No. 2: "))
        headers = page.get_by_label("Own headers")
        await expect(headers).to_have_value("x-token: ****\nx-more:")
        await expect(headers).to_have_accessible_description(re.compile("type it again"))
        await watched.shot("edit-fault")
        await page.get_by_role("link", name="/eventTypes/1").click()
        await expect(field).to_be_in_viewport()
        await field.fill("COMPLETED")
        await headers.fill("x-token: ****\nx-more: 1")
        other = {"description": "theirs"}
        await client.patch(f"/v1/subscriptions/{made['id']}", json=other)
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("Somebody changed this subscription")).to_be_visible()
        await expect(page.get_by_label("Description")).to_have_value("theirs")
        await watched.shot("edit-meanwhile")
        await expect(headers).to_have_value("x-token: ****\nx-more:")
        await headers.fill("x-token: ****\nx-more: 1")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("Saved.")).to_be_visible()
        now = (await client.get(f"/v1/subscriptions/{made['id']}")).json()
        assert (now["eventTypes"], now["description"]) == (["COMPLETED"], "theirs")
        assert sorted(now["headers"]) == ["x-more", "x-token"]
        # the two refusals have statuses that the browser notes
        assert len(watched.faults) == 2
        assert all("status of 4" in each for each in watched.faults)
        watched.faults.clear()


@needs_chromium
async def test_what_a_filter_shows_is_replayed_slowly_and_stopped(
    browser: Browser, server: Server, receiver: Receiver
) -> None:
    receiver.script = lambda _: Reply(500)
    async with server.client() as client, opened(browser, server) as watched:
        hook = {"url": receiver.url("/bulk"), "eventTypes": ["bulk"]}
        made = (await client.post("/v1/subscriptions", json=hook)).json()
        many = [{"type": "bulk", "operationId": f"bulk-{n}"} for n in range(30)]
        await client.post("/v1/events", json=many)
        query = f"?subscriptionId={made['id']}"
        while True:
            found = (await client.get(f"/v1/dead-letters{query}")).json()["data"]
            if len(found) == len(many):
                break
            await asyncio.sleep(0.02)
        receiver.script = lambda _: Reply(200)
        page = watched.page
        await watched.sign_in(server.admin_key)
        await watched.go(f"/deliveries{query}")
        await page.get_by_text("Replay in bulk").click()
        await watched.shot("replay-why-not")
        await page.get_by_role("link", name="Show what is dead of these").click()
        await page.get_by_role("link", name="Replay all of these").click()
        await expect(page.get_by_text("30 dead deliveries would be sent again")).to_be_visible()
        await page.get_by_label("Pace").select_option("1")
        await page.get_by_role("button", name="Replay 30").click()
        state = page.locator("#live > p .state")
        await expect(state).to_have_text("PROCESSING")
        await expect(page.get_by_text("of 30")).to_be_visible()
        await watched.shot("replay-under-way")
        await page.get_by_text("Cancel…").click()
        await page.get_by_role("button", name="Cancel").click()
        await expect(state).to_have_text("CANCELLED")
        left = (await client.get(f"/v1/dead-letters{query}&resolved=false")).json()["data"]
        assert 0 < len(left) <= len(many)


@needs_chromium
async def test_all_that_a_subscription_had_is_counted_asked_about_and_sent_to_the_end_of_the_bar(
    browser: Browser, server: Server, receiver: Receiver
) -> None:
    async with server.client() as client, opened(browser, server) as watched:
        hook = {"url": receiver.url("/again"), "eventTypes": ["again"]}
        made = (await client.post("/v1/subscriptions", json=hook)).json()
        many = [{"type": "again", "operationId": f"again-{n}"} for n in range(3)]
        await client.post("/v1/events", json=many)
        await receiver.wait_for(3)
        page = watched.page
        await watched.sign_in(server.admin_key)
        await watched.go(f"/subscriptions/{made['id']}")
        await page.get_by_label("What", exact=True).select_option("all")
        await page.get_by_label("Of the last", exact=True).select_option("3600000")
        await page.get_by_role("button", name="Send again…").click()
        await expect(page.get_by_text("3 deliveries would be sent")).to_be_visible()
        await watched.shot("send-again")
        await page.get_by_label("Pace").select_option("1")
        await page.get_by_role("button", name="Send 3").click()
        await expect(page.get_by_text("of 3")).to_be_visible()
        await watched.shot("send-again-under-way")
        await expect(page.locator("#live > p .state")).to_have_text("COMPLETED", timeout=15_000)
        await expect(page.get_by_role("progressbar")).to_have_attribute("value", "100.0")
        await watched.shot("send-again-done")


@needs_chromium
async def test_an_operation_is_followed_as_it_happens(browser: Browser, server: Server) -> None:
    async with server.client() as client, opened(browser, server) as watched:
        await client.post("/v1/operations/job/events", json={"type": "STARTED"})
        await watched.sign_in(server.admin_key)
        await watched.go("/operations/job")
        state = watched.page.locator("#live > p .state")
        await expect(state).to_have_text("PROCESSING")
        await client.post(
            "/v1/operations/job/events", json={"type": "STATUS_UPDATE", "progress": 40}
        )
        await expect(watched.page.get_by_text("40 %").first).to_be_visible()
        await watched.shot("operation-live")
        await client.post("/v1/operations/job/events", json={"type": "COMPLETED"})
        await expect(state).to_have_text("COMPLETED")
        await expect(watched.page.locator("#live tbody").get_by_role("rowheader")).to_have_count(3)
