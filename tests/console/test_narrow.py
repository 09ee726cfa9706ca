"""What a telephone shows, in a real Chromium."""

import pytest
from playwright.async_api import Browser, ViewportSize, expect

from tests.console.test_accessibility import grave
from tests.console.test_browser import NARROW, WIDE, Scheme, one_dead, opened, server
from tests.support.browsing import needs_chromium
from tests.support.receiver import Receiver
from tests.support.server import Server

__all__ = ["server"]

pytestmark = [pytest.mark.anyio, needs_chromium]

#: Pixels of a row of three lines, with what is around them.
FEW_LINES = 90
#: Pixels in which words of JSON are not broken.
LEGIBLE = 250
CHANGES = {"description": "x", "eventTypes": ["a", "b"], "metadata": {"n": 1}, "timeoutSeconds": 3}


async def test_rows_of_the_audit_log_are_a_few_lines_and_open_by_the_keyboard(
    browser: Browser, server: Server
) -> None:
    async with server.client() as client, opened(browser, server, "dark", NARROW) as watched:
        made = (await client.post("/v1/subscriptions", json={"url": "http://127.0.0.1:9/"})).json()
        path = f"/v1/subscriptions/{made['id']}"
        replay = {"since": "2026-01-01T00:00:00Z", "only": "all", "dryRun": True}
        assert (await client.patch(path, json=CHANGES)).is_success
        assert (await client.post(f"{path}/replay", json=replay)).is_success
        page = watched.page
        await watched.sign_in(server.admin_key)
        await watched.go("/audit-log")

        rows = await page.locator("tbody tr").all()
        assert len(rows) >= 3
        for row in rows:
            box = await row.bounding_box()
            assert box is not None
            assert box["height"] < FEW_LINES, await row.inner_text()

        detail = page.get_by_label("Detail of replay.started")
        await expect(detail).to_be_hidden()
        summary = page.locator("summary", has_text="Detail of replay.started")
        await summary.focus()
        await page.keyboard.press("Enter")
        await expect(detail).to_contain_text('"dry_run": true')
        assert await grave(page) == []
        await watched.shot("dark-audit-log-open")
        for width in (1200, 700, 360):
            await page.set_viewport_size({"width": width, "height": 800})
            shown = await detail.bounding_box()
            assert shown is not None
            assert shown["width"] > LEGIBLE, width
        await page.keyboard.press("Enter")
        await expect(detail).to_be_hidden()


async def test_why_somebody_did_not_get_an_event_is_read_without_scrolling(
    browser: Browser, server: Server
) -> None:
    async with server.client() as client, opened(browser, server, "light", NARROW) as watched:
        hook = {"url": "http://127.0.0.1:9/", "eventTypes": ["other.things", "else"]}
        made = (await client.post("/v1/subscriptions", json=hook)).json()
        event = {"operationId": "why", "type": "report.made", "id": "evt-why"}
        assert (await client.post("/v1/events", json=event)).is_success
        await watched.sign_in(server.admin_key)
        await watched.go("/events/evt-why")
        row = watched.page.get_by_role("row").filter(has_text=made["id"])
        why = await row.get_by_text("It wants other types").bounding_box()
        await watched.shot("event-why")
        assert why is not None
        assert why["x"] + why["width"] <= NARROW["width"]


async def test_what_an_event_of_an_operation_says_is_read_without_scrolling_sideways(
    browser: Browser, server: Server
) -> None:
    """It was in the last column: a telephone showed none of it, and ten letters a line of it."""
    said = {"token": "x" * 300, "words": "a word " * 30}
    async with server.client() as client, opened(browser, server, "light", NARROW) as watched:
        for kind in ("report.begun", "report.made"):
            await client.post("/v1/operations/narrow/events", json={"type": kind, "data": said})
        page = watched.page
        await watched.sign_in(server.admin_key)
        await watched.go("/operations/narrow")
        region = page.get_by_role("region", name="Log of the operation")
        json = page.get_by_role("group", name="Event 2", exact=True)
        await expect(json).to_be_hidden()
        await page.locator("summary", has_text="JSON of event 2").click()
        for width in (1200, 700, 360):
            await page.set_viewport_size({"width": width, "height": 740})
            for place in (0, 1000):
                await region.evaluate("(it, left) => { it.scrollLeft = left; }", place)
                box = await json.bounding_box()
                assert box is not None
                assert box["width"] > LEGIBLE, width
                assert box["x"] >= 0, width
                assert box["x"] + box["width"] <= width, width
            inside = await json.evaluate("it => it.scrollWidth <= it.clientWidth")
            assert inside, width
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
        assert await grave(page) == []
        await watched.shot("operation-json-open")


async def test_a_long_id_pushes_the_status_out_of_no_telephone(
    browser: Browser, server: Server
) -> None:
    async with server.client() as client, opened(browser, server, "light", NARROW) as watched:
        name = "o" * 64
        await client.post(f"/v1/operations/{name}/events", json={"type": "STARTED"})
        await watched.sign_in(server.admin_key)
        await watched.go("/operations")
        row = watched.page.get_by_role("row").filter(has_text=name)
        status = await row.locator(".state").bounding_box()
        await watched.shot("operations-long-id")
        assert status is not None
        assert status["x"] + status["width"] <= NARROW["width"]


async def test_rows_of_subscriptions_are_a_few_lines_whatever_they_are_called(
    browser: Browser, server: Server
) -> None:
    async with server.client() as client, opened(browser, server, "light", NARROW) as watched:
        hook = {"url": "http://127.0.0.1:9/", "description": "What the warehouse sells " * 9}
        made = (await client.post("/v1/subscriptions", json=hook)).json()
        await watched.sign_in(server.admin_key)
        await watched.go("/subscriptions")
        row = await watched.page.get_by_role("row").filter(has_text=made["id"]).bounding_box()
        await watched.shot("subscriptions-narrow")
        assert row is not None
        assert row["height"] <= FEW_LINES + 10  # an id is two lines, and so is its name


@pytest.mark.parametrize("size", [NARROW, WIDE])
async def test_words_and_numbers_are_not_broken_in_two(
    browser: Browser, server: Server, size: ViewportSize
) -> None:
    """There stood ``subscriptions:rea`` and ``d``, and ``1 ms / 2`` and ``ms``."""
    async with server.client() as client, opened(browser, server, "light", size) as watched:
        scopes = ["deliveries:read", "subscriptions:read", "subscriptions:write"]
        body = {"tenantId": "default", "name": "reader", "scopes": scopes}
        assert (await client.post("/v1/api-keys", json=body)).is_success
        made = (await client.post("/v1/subscriptions", json={"url": "http://127.0.0.1:9/"})).json()
        await watched.sign_in(server.admin_key)
        for path, few in (("/keys", 3), (f"/subscriptions/{made['id']}", 2), ("", 2)):
            await watched.go(path)
            whole = watched.page.locator("main .whole")
            lines = await whole.evaluate_all("all => all.map(each => each.getClientRects().length)")
            assert len(lines) >= few, path
            assert set(lines) == {1}, path
        await watched.go("/keys")
        await watched.shot(f"keys-{size['width']}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_what_replays_a_group_of_dead_letters_is_in_sight_wherever_the_table_is_scrolled(
    browser: Browser, server: Server, receiver: Receiver, scheme: Scheme
) -> None:
    """It was in the last column: a telephone showed a table of which there was nothing to do."""
    letter = await one_dead(server, receiver)
    async with opened(browser, server, scheme, NARROW) as watched:
        page = watched.page
        await watched.sign_in(server.admin_key)
        await watched.go("/dead-letters")
        region = page.get_by_role("region", name="Groups of dead letters")
        row = page.locator(f"[id='row-{letter['subscriptionId']}-{letter['reason']}']")
        replay = row.get_by_role("link", name="Replay…")
        for place in (0, 1000):
            await region.evaluate("(it, left) => { it.scrollLeft = left; }", place)
            box = await replay.bounding_box()
            assert box is not None
            assert box["x"] >= NARROW["width"] / 2, place
            assert box["x"] + box["width"] <= NARROW["width"], place
            await watched.shot(f"{scheme}-dead-letters-{place}")
        assert await grave(page) == []
        await region.evaluate("it => { it.scrollLeft = 0; }")
        reason = row.get_by_role("link", name="attempts exhausted")
        await reason.evaluate("it => { it.textContent = 'subscription disabled'; }")  # the longest
        clearance = await row.evaluate(
            """it => it.querySelector("td.actions").getBoundingClientRect().left
                - it.querySelector("a[href*='reason=']").getBoundingClientRect().right"""
        )
        assert clearance >= 0, "What replays lies on the reason."
        await expect(row.locator(".slim")).to_contain_text("1")
        await expect(row.locator(".slim")).to_be_visible()
        await replay.click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Replay")
