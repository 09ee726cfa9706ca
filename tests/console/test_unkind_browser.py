"""What others wrote, at its worst, in a real Chromium: it is legible, and moves nothing away."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

import pytest
from playwright.async_api import Browser, ViewportSize, expect

from tests.console.test_browser import (
    NARROW,
    WIDE,
    cut,
    opened,
    server,
)
from tests.support.browsing import needs_chromium
from tests.support.receiver import Receiver, Reply
from tests.support.server import Server

__all__ = ["server"]

pytestmark = [pytest.mark.anyio, needs_chromium]

MARKUP: Final = "<img src=x onerror=alert(1)><script>alert(2)</script>"
#: Shows what follows it from right to left: ``exe`` as if it were ``png``.
TURN: Final = "\u202egnp.exe"
WORD: Final = "W" * 300
TEXT: Final = f"{MARKUP} {TURN} {WORD}"
#: As long as an id, and a type, may be.
OPERATION: Final = "o" * 64
TYPE: Final = "T" * 128
#: Pixels of a row that shows a brief of each thing, and a type in full.
ROW: Final = 300


class Unkind(NamedTuple):
    """A subscription, and a dead letter of an event."""

    subscription: str
    letter: dict[str, Any]


@pytest.fixture
async def unkind(server: Server, receiver: Receiver) -> AsyncIterator[Unkind]:
    receiver.script = lambda _: Reply(500, (("x-long", "L" * 2_000),), b"\0\1\xff" + b"Z" * 500)
    phases = [{"name": TEXT, "status": "IN_PROGRESS"}]
    event = {
        "type": TYPE,
        "operationType": "x" * 128,
        "message": TEXT,
        "progress": {"current": 1, "total": 3, "phase": TEXT, "message": TEXT, "phases": phases},
        "data": {"text": TEXT, "nul": "a\0b", TURN: 1},
    }
    hook = {
        "url": receiver.url("/" + "p" * 1_900),
        "description": "d" * 1_024,
        "eventTypes": [TYPE],
    }
    async with server.client() as client:
        made = (await client.post("/v1/subscriptions", json=hook)).json()
        await client.post(f"/v1/operations/{OPERATION}/events", json=event)
        query = f"?subscriptionId={made['id']}"
        while True:
            found = (await client.get(f"/v1/dead-letters{query}")).json()["data"]
            if found:
                break
            await asyncio.sleep(0.02)
        yield Unkind(made["id"], found[0])
        await client.delete(f"/v1/subscriptions/{made['id']}")


@pytest.mark.parametrize("size", [NARROW, WIDE])
async def test_it_makes_no_page_wider_and_pushes_no_column_away(
    browser: Browser, server: Server, unkind: Unkind, size: ViewportSize
) -> None:
    letter = unkind.letter
    async with opened(browser, server, "light", size) as watched:
        page = watched.page
        await watched.sign_in(server.admin_key)
        for path in (
            *("", "/dead-letters/all", "/deliveries", "/events", "/operations"),
            *(f"/dead-letters/{letter['id']}", f"/deliveries/{letter['deliveryId']}"),
            *(f"/events/{letter['eventId']}", f"/operations/{OPERATION}"),
            *("/subscriptions", f"/subscriptions/{unkind.subscription}"),
        ):
            await watched.go(path)
            await page.evaluate(
                "document.querySelectorAll('.timeline details').forEach(e => e.open = true)"
            )
            await watched.shot(f"unkind-{size['width']}{path.replace('/', '-')[:20]}")
            width = await page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], path
            assert size is NARROW or await cut(page) == [], path
            if path in ("/subscriptions", "/deliveries", "/events", "/operations", ""):
                rows = await page.evaluate(
                    "[...document.querySelectorAll('tbody tr')].map(e => e.offsetHeight)"
                )
                assert max(rows) < ROW, path
            assert await page.locator("main img, main script").count() == 0


async def test_what_would_turn_text_around_is_shown_as_what_it_is(
    browser: Browser, server: Server, unkind: Unkind
) -> None:
    """JSON may write each character as an escape: the same text, and no reader is deceived."""
    async with opened(browser, server) as watched:
        await watched.sign_in(server.admin_key)
        for path in (
            f"/dead-letters/{unkind.letter['id']}",
            f"/deliveries/{unkind.letter['deliveryId']}",
            f"/events/{unkind.letter['eventId']}",
        ):
            await watched.go(path)
            shown = watched.page.get_by_label("The event", exact=False).last
            await expect(shown).to_contain_text("\\u202egnp.exe")
            await expect(shown).to_contain_text('"a\\u0000b"')
            await expect(shown).not_to_contain_text("\u202e")


async def test_large_events_are_not_all_on_the_page_that_follows_their_operation(
    browser: Browser, server: Server
) -> None:
    """A page with a hundred events of 250 KB was read anew with every event."""
    async with server.client() as client, opened(browser, server, "light", NARROW) as watched:
        for size in (250_000, 10):
            event = {"type": "big", "id": f"big-{size}", "data": {"pad": "x" * size}}
            made = await client.post("/v1/operations/large/events", json=event)
            assert made.status_code == 202
        await watched.sign_in(server.admin_key)
        await watched.go("/operations/large")
        assert len(await watched.page.content()) < 50_000
        log = watched.page.get_by_role("region", name="Log of the operation")
        await expect(log.get_by_role("rowheader")).to_have_count(2)
        await expect(log.locator("summary", has_text="JSON")).to_have_count(1)
        await log.get_by_role("link", name="244 KiB, on its own page").click()
        await expect(watched.page.get_by_label("The event")).to_contain_text("xxxx")
