"""Charts in a real Chromium: drawn in both colour schemes, live, and not missed without scripts."""

import json
import math
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Final

import httpx
import pytest
from playwright.async_api import Browser, Page, ViewportSize, expect

from service.domain import tallies
from service.domain.traffic import EVERYBODY, HOUR, MINUTE
from tests.console.test_accessibility import grave
from tests.console.test_browser import (
    NARROW,
    WIDE,
    Scheme,
    opened,
)
from tests.console.test_portal_browser import link as link_into
from tests.support.browsing import needs_chromium
from tests.support.receiver import Receiver
from tests.support.server import LOCAL, Server

pytestmark = [pytest.mark.anyio, needs_chromium]

_INSERT: Final = (
    "INSERT INTO traffic (tenant_id, length, slice_at, accepted, delivered, failed, dead, "
    "in_flight, due, oldest_due_age, dead_letters_open, took_5, took_9) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SLICE: Final = (
    "INSERT INTO attempt_tallies (subscription_no, slice_at, bucket, succeeded, failed) "
    "VALUES (?, ?, ?, ?, ?)"
)
_HOUR: Final = (
    "INSERT INTO attempt_hours (subscription_no, hour_at, succeeded, failed, took) "
    "VALUES (?, ?, ?, ?, ?)"
)
#: Of each chart: of each line the colour that it should have, and whether any pixel has it.
_COLOURS: Final = """() => [...document.querySelectorAll(".chart")].map((chart) => {
  const canvas = chart.querySelector("canvas");
  const { width, height } = canvas;
  const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  const found = new Set();
  for (let n = 0; n < data.length; n += 4)
    if (data[n + 3] === 255) found.add(`rgb(${data[n]}, ${data[n + 1]}, ${data[n + 2]})`);
  return [...chart.querySelectorAll("[data-line]")].map((mark) => {
    const { color } = getComputedStyle(mark);
    return [color, found.has(color)];
  });
})"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that looks back on a month."""
    folder = tmp_path_factory.mktemp("charts")
    server = Server(folder, LOCAL)
    hook = {"url": "https://receiver.test/hook", "eventTypes": ["never.sent"]}
    with server:
        key = {"authorization": f"Bearer {server.admin_key}"}
        httpx.post(f"{server.url}/v1/subscriptions", json=hook, headers=key).raise_for_status()
    with closing(sqlite3.connect(server.database)) as file:
        ((no,),) = file.execute("SELECT no FROM subscriptions").fetchall()
        file.executemany(_SLICE, [each for back in range(1, 144) for each in slices(no, back)])
        file.executemany(_HOUR, [hour(no, back) for back in range(25, 30 * 24)])
        for length, count in ((MINUTE, 24 * 60), (HOUR, 30 * 24)):
            file.executemany(_INSERT, [row(length, back) for back in range(2, count)])
        file.commit()
    with server:
        yield server


def row(length: int, back: int) -> tuple[str | int, ...]:
    """A slice of a day like others, in which something went wrong a while ago."""
    at = (int(time.time() * 1000) // length - back) * length
    minutes = length // MINUTE
    accepted = int((40 + 25 * math.sin(at / 12 / HOUR * math.pi)) * minutes)
    wrong = 10 <= back < 25
    failed = accepted // 2 if wrong else accepted // 50
    counts = (accepted, accepted - failed, failed, wrong * back % 3)
    gauges = (accepted // minutes // 4, wrong * 300 + back % 7, wrong * 80_000 + 300, 12 + wrong)
    quick = (accepted - failed) * 9 // 10
    return (EVERYBODY, length, at, *counts, *gauges, quick, accepted - failed - quick)


def slices(no: int, back: int) -> Iterator[tuple[int, ...]]:
    """Attempts of one subscription in a slice, some of which took longer."""
    at = (int(time.time() * 1000) // tallies.OWN_SLICE - back) * tallies.OWN_SLICE
    good = int(30 + 20 * math.sin(at / 12 / HOUR * math.pi))
    wrong = 30 <= back < 50
    for bucket, count in ((9, good), (12, good // 3), (20, good // 9)):
        yield (no, at, bucket, count // 2 if wrong else count, count // 2 * wrong)


def hour(no: int, back: int) -> tuple[int | bytes, ...]:
    """Attempts of one subscription in an hour that is past its day."""
    at = (int(time.time() * 1000) // HOUR - back) * HOUR
    good = int(180 + 120 * math.sin(at / 12 / HOUR * math.pi))
    failed = good // 2 if 60 <= back < 80 else good // 40
    took = [[9, good], [12, good // 3], [20, good // 9]]
    total = sum(count for _, count in took)
    return (no, at, total - failed, failed, json.dumps(took).encode())


async def colours(page: Page, count: int = 6) -> list[list[tuple[str, bool]]]:
    """See the script; fails where a line was not drawn."""
    await expect(page.locator(".chart canvas")).to_have_count(count)
    found: list[list[tuple[str, bool]]] = await page.evaluate(_COLOURS)
    assert all(is_drawn for chart in found for _, is_drawn in chart), found
    return found


@pytest.mark.parametrize(("scheme", "size"), [("light", WIDE), ("dark", NARROW)])
async def test_every_line_is_drawn_in_the_colours_of_the_page(
    browser: Browser, server: Server, scheme: Scheme, size: ViewportSize
) -> None:
    async with opened(browser, server, scheme, size) as watched:
        page = watched.page
        await watched.sign_in(server.admin_key)
        before = None
        for name in ("1h", "6h", "24h", "7d", "30d"):
            await page.get_by_role("link", name=name, exact=True).click()
            await expect(page.get_by_role("link", name=name, exact=True)).to_have_attribute(
                "aria-current", "true"
            )
            before = await colours(page)
            width = await page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], name
            await watched.shot(f"{scheme}-charts-{name}")
        await page.get_by_text("The same as a table").click()
        assert await grave(page) == []
        other: Scheme = "dark" if scheme == "light" else "light"
        await page.get_by_role("button", name=other).click()
        assert await colours(page) != before
        assert await grave(page) == []


async def test_the_pointer_reads_values_off(browser: Browser, server: Server) -> None:
    async with opened(browser, server) as watched:
        await watched.sign_in(server.admin_key)
        await watched.go("?range=1h")
        charts = watched.page.locator(".chart")
        shown = charts.locator(".value")
        await expect(shown.first).not_to_be_empty()
        now = await shown.all_inner_texts()

        box = await charts.first.locator(".u-over").bounding_box()
        assert box is not None
        # a while ago, when half of it failed
        await watched.page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 20)

        await expect(shown.nth(2)).not_to_have_text(now[2])
        # all charts tell of the same moment
        assert [a != b for a, b in zip(now, await shown.all_inner_texts(), strict=True)][-1]


async def test_what_is_refreshed_around_them_leaves_them_and_asks_for_no_points(
    browser: Browser, server: Server
) -> None:
    async with opened(browser, server) as watched:
        page = watched.page
        asked: list[str] = []
        page.on("request", lambda each: asked.append(each.url))
        await watched.sign_in(server.admin_key)
        await watched.go("?range=24h")
        await colours(page)
        await page.evaluate("document.querySelector('canvas').kept = true")

        for _ in range(3):
            async with page.expect_response(lambda each: each.url.endswith("/console?range=24h")):
                await page.evaluate(
                    "document.getElementById('live').dispatchEvent(new CustomEvent('refresh'))"
                )
            await expect(page.locator("canvas")).to_have_count(6)

        assert await page.evaluate("document.querySelector('canvas').kept")
        await colours(page)
        assert len([each for each in asked if "/traffic?range=24h" in each]) == 1


@pytest.mark.parametrize(("scheme", "size"), [("dark", WIDE), ("light", NARROW)])
@pytest.mark.parametrize("site", ["console", "portal"])
async def test_of_one_subscription_as_far_back_as_of_all(
    browser: Browser, server: Server, scheme: Scheme, size: ViewportSize, site: str
) -> None:
    async with server.client() as client, opened(browser, server, scheme, size) as watched:
        page = watched.page
        listed = (await client.get("/v1/subscriptions")).json()["data"]
        name = next(each["id"] for each in listed if each["eventTypes"] == ["never.sent"])
        if site == "console":
            await watched.sign_in(server.admin_key)
            await watched.go(f"/subscriptions/{name}")
        else:
            await page.goto(await link_into(server, subscriptionId=name))
        totals = set()
        for each in ("6h", "7d", "30d", "24h"):
            ranges = page.get_by_role("navigation", name="How far back")
            link = ranges.get_by_role("link", name=each, exact=True)
            await link.click()
            await page.wait_for_url(re.compile(rf"\?range={each}$"))
            await expect(link).to_have_attribute("aria-current", "true")
            await colours(page, 2)
            totals.add(await page.locator(".figures.small dd").first.inner_text())
            width = await page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], each
            await watched.shot(f"{scheme}-{site}-attempts-{each}")
        assert len(totals) == 4
        await page.get_by_text("The same as a table").click()
        assert await grave(page) == []
        await watched.shot(f"{scheme}-{site}-attempts-table")


async def test_a_refresh_keeps_the_range_and_what_is_open(browser: Browser, server: Server) -> None:
    async with server.client() as client, opened(browser, server) as watched:
        page = watched.page
        listed = (await client.get("/v1/subscriptions")).json()["data"]
        name = next(each["id"] for each in listed if each["eventTypes"] == ["never.sent"])
        await watched.sign_in(server.admin_key)
        path = f"/subscriptions/{name}?range=30d"
        await watched.go(path)
        await colours(page, 2)
        await page.get_by_text("The same as a table").click()
        await page.evaluate("document.querySelector('canvas').kept = true")

        async with page.expect_response(lambda each: each.url.endswith(path)):
            await page.evaluate(
                "document.getElementById('live').dispatchEvent(new CustomEvent('refresh'))"
            )

        await expect(page.get_by_role("link", name="30d")).to_have_attribute("aria-current", "true")
        await expect(page.get_by_role("table", name="Attempts of the last 30d")).to_be_visible()
        assert await page.evaluate("document.querySelector('canvas').kept")
        link = page.get_by_role("link", name="7d", exact=True)
        await link.focus()
        await page.keyboard.press("Enter")
        await expect(link).to_have_attribute("aria-current", "true")


@pytest.mark.parametrize(("scheme", "size"), [("light", WIDE), ("dark", NARROW)])
async def test_a_subscriptions_attempts_are_drawn_as_soon_as_something_was_sent(
    browser: Browser, server: Server, receiver: Receiver, scheme: Scheme, size: ViewportSize
) -> None:
    kind = f"last.{scheme}"
    async with server.client() as client, opened(browser, server, scheme, size) as watched:
        page = watched.page
        hook = {"url": receiver.url("/hook"), "eventTypes": [kind]}
        made = (await client.post("/v1/subscriptions", json=hook)).json()
        await watched.sign_in(server.admin_key)
        await watched.go(f"/subscriptions/{made['id']}")
        await expect(page.get_by_text("No attempt was made in this time")).to_be_visible()

        await client.post("/v1/operations/job/events", json={"type": kind})

        await expect(page.locator(".chart canvas")).to_have_count(2)
        await expect(page.locator(".chart .value").first).not_to_be_empty()
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"]
        await page.get_by_text("The same as a table").click()
        assert await grave(page) == []


async def test_without_scripts_there_is_the_table(browser: Browser, server: Server) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{server.url}/console")
    await page.get_by_label("API key").fill(server.admin_key)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("link", name="24h").click()

    await expect(page.locator(".charts")).to_be_hidden()
    await page.get_by_text("The same as a table").click()
    lines = page.get_by_role("table").first.get_by_role("row")
    await expect(lines.nth(12)).to_be_visible()  # two hours each, below a head
    await context.close()
