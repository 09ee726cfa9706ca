"""The portal in a real Chromium: in a tab of its own, and embedded in a page of another site."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, FrameLocator, Page, async_playwright, expect

from tests.console.test_browser import (
    CHROMIUM,
    NARROW,
    WIDE,
    Scheme,
    Watched,
    browser,
    needs_chromium,
    one_dead,
    opened,
    server,
)
from tests.support.receiver import Received, Receiver, Reply
from tests.support.server import Server

__all__ = ["browser", "server"]

pytestmark = pytest.mark.anyio


async def link(server: Server, tenant: str = "default", **body: object) -> str:
    """A link into the portal."""
    async with server.client() as client:
        headers = {"ringback-tenant": tenant}
        answer = await client.post("/v1/portal-links", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["url"])


def paths(letter: dict[str, Any]) -> dict[str, str]:
    """Every page of a tenant's portal, by a name for its picture."""
    return {
        "overview": "",
        "dead-letters": "/dead-letters",
        "dead-letter-list": "/dead-letters/all",
        "dead-letter-one": f"/dead-letters/{letter['id']}",
        "replay": f"/dead-letters/replay?subscriptionId={letter['subscriptionId']}",
        "deliveries": "/deliveries",
        "deliveries-replay": "/deliveries/replay?status=dead",
        "delivery": f"/deliveries/{letter['deliveryId']}",
        "subscriptions": "/subscriptions",
        "subscription": f"/subscriptions/{letter['subscriptionId']}",
        "subscription-new": "/subscriptions/new",
        "subscription-edit": f"/subscriptions/{letter['subscriptionId']}/edit",
        "events": "/events",
        "event": f"/events/{letter['eventId']}",
    }


@needs_chromium
async def test_a_consumer_comes_by_a_link_and_replays_what_died(
    browser: Browser, server: Server, receiver: Receiver
) -> None:
    letter = await one_dead(server, receiver)
    async with opened(browser, server) as watched:
        page = watched.page
        asked: list[str] = []
        page.on("request", lambda request: asked.append(f"{request.url} {request.headers}"))
        url = await link(server, subscriptionId=letter["subscriptionId"])

        await page.goto(url)

        await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        assert page.url == f"{server.url}/portal"
        assert not any("pl_" in each for each in asked)
        await watched.shot("portal-bound-overview")
        await page.get_by_role("link", name="Dead letters", exact=True).click()
        await page.get_by_role("link", name="attempts exhausted").click()
        await page.get_by_role("link", name=letter["id"]).click()
        receiver.script = lambda _: Reply(200)
        await page.get_by_role("button", name="Replay").click()
        await expect(page.locator("#live > p .state")).to_have_text("delivered")
        await page.get_by_role("link", name="Subscriptions").click()
        await watched.shot("portal-bound-subscriptions")


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_of_the_portal_keeps_to_its_policy_and_to_the_width(
    browser: Browser, server: Server, receiver: Receiver, scheme: Scheme
) -> None:
    letter = await one_dead(server, receiver)
    size = WIDE if scheme == "light" else NARROW
    async with opened(browser, server, scheme, size) as watched:
        await watched.page.goto(await link(server))
        await expect(watched.page.get_by_role("heading", name="Overview")).to_be_visible()
        for name, path in paths(letter).items():
            await watched.page.goto(f"{server.url}/portal{path}")
            await watched.shot(f"portal-{scheme}-{name}")
            width = await watched.page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], name


# --- embedded


@pytest.fixture
async def strict_browser() -> AsyncIterator[Browser]:
    """A browser that keeps no cookies for embedded pages but those kept apart."""
    async with async_playwright() as playwright:
        arguments = ["--no-sandbox", "--test-third-party-cookie-phaseout"]
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        await browser.close()


def embedder(receiver: Receiver) -> str:
    """The origin of a page on this machine that browsers take for another site than the service."""
    return f"http://localhost:{receiver.port}"


async def embedding(page: Page, receiver: Receiver, src: str) -> FrameLocator:
    """A page of another site, with the portal in it."""
    html = f'<!doctype html><title>App</title><iframe src="{src}" width="1200" height="800">'

    def answer(request: Received) -> Reply:
        is_hook = request.path == "/hook"
        return (
            Reply(200) if is_hook else Reply(200, (("content-type", "text/html"),), html.encode())
        )

    receiver.script = answer
    await page.goto(f"{embedder(receiver)}/settings/webhooks")
    return page.frame_locator("iframe")


async def allow(server: Server, tenant: str, *origins: str) -> None:
    """Make a tenant whose portal these may embed."""
    async with server.client() as client:
        body = {"id": tenant, "name": "Acme", "portalOrigins": list(origins)}
        assert (await client.post("/v1/tenants", json=body)).status_code == 201


@needs_chromium
async def test_it_works_in_an_iframe_of_another_site_that_the_tenant_named(
    strict_browser: Browser, server: Server, receiver: Receiver
) -> None:
    await allow(server, "acme", embedder(receiver))
    async with server.client() as client:
        hook = {"url": receiver.url("/hook"), "description": "Orders of the shop"}
        headers = {"ringback-tenant": "acme"}
        made = (await client.post("/v1/subscriptions", json=hook, headers=headers)).json()
    context = await strict_browser.new_context(viewport=WIDE)
    page = await context.new_page()
    faults: list[str] = []
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)

    frame = await embedding(page, receiver, await link(server, "acme", subscriptionId=made["id"]))

    await expect(frame.get_by_role("heading", name="Overview")).to_be_visible()
    await frame.get_by_role("link", name=made["id"]).click()
    await frame.get_by_role("button", name="Send a test event").click()
    await expect(frame.get_by_text("HTTP 200")).to_be_visible()
    await Watched(page, server.url).shot("portal-embedded")
    await frame.get_by_role("button", name="dark").click()
    await expect(frame.locator("html")).to_have_attribute("data-theme", "dark")
    await frame.get_by_role("button", name="Sign out").click()
    await expect(frame.get_by_text("There is no session here")).to_be_visible()
    (cookie,) = [each for each in await context.cookies() if each["name"].endswith("theme")]
    assert cookie.get("partitionKey") == "http://localhost"
    # the page that says so is answered with 401, which a browser notes
    assert [each for each in faults if "401" not in each] == []
    await context.close()


@needs_chromium
async def test_no_page_that_the_tenant_did_not_name_embeds_it(
    browser: Browser, server: Server, receiver: Receiver
) -> None:
    await allow(server, "closed", "https://app.acme.example")
    context = await browser.new_context(viewport=WIDE)
    page = await context.new_page()
    refused: list[str] = []
    page.on("console", lambda said: refused.append(said.text))

    async with page.expect_event("console", lambda said: "frame-ancestors" in said.text):
        frame = await embedding(page, receiver, await link(server, "closed"))

    await expect(frame.get_by_role("heading", name="Overview")).to_have_count(0)
    assert any("frame-ancestors" in each for each in refused)
    await context.close()
