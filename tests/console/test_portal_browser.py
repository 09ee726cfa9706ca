"""The portal in a real Chromium: in a tab of its own, and embedded in a page of another site."""

from typing import Any

import pytest
from playwright.async_api import (
    Browser,
    FrameLocator,
    Page,
    Route,
    ViewportSize,
    expect,
)

from tests.console.test_browser import (
    NARROW,
    WIDE,
    Scheme,
    Watched,
    one_dead,
    opened,
    server,
)
from tests.support.browsing import needs_chromium
from tests.support.receiver import Received, Receiver, Reply
from tests.support.server import Server

__all__ = ["server"]

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
        "subscription-replay": f"/subscriptions/{letter['subscriptionId']}/replay"
        "?only=all&reach=604800000",
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


def embedder(receiver: Receiver) -> str:
    """The origin of a page on this machine that browsers take for another site than the service."""
    return f"http://localhost:{receiver.port}"


async def embedding(page: Page, receiver: Receiver, src: str) -> FrameLocator:
    """A page of another site, with the portal in it."""
    style = "width: 100%; max-width: 1200px; height: 800px; box-sizing: border-box"
    html = f'<!doctype html><title>App</title><iframe src="{src}" style="{style}">'

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


async def is_unused(server: Server, url: str) -> bool:
    """Whether a link opens the portal yet; it does not any more afterwards."""
    form = {"link": url.partition("#")[2]}
    async with server.client() as client:
        own = {"origin": server.url}
        answer = await client.post("/portal/enter", data=form, headers=own)
    return answer.status_code == 303


@needs_chromium
@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_a_page_that_the_tenant_did_not_name_is_told_and_the_link_stays(
    browser: Browser, server: Server, receiver: Receiver, size: ViewportSize
) -> None:
    """The link was used up, and the browser said that the service refused to connect."""
    tenant = f"closed-{size['width']}"
    await allow(server, tenant, "https://app.acme.example")
    url = await link(server, tenant)
    context = await browser.new_context(viewport=size)
    page = await context.new_page()

    frame = await embedding(page, receiver, url)

    heading = frame.get_by_role("heading", name="The portal may not be embedded here")
    await expect(heading).to_be_visible()
    await expect(frame.get_by_text(embedder(receiver))).to_be_visible()
    await expect(frame.get_by_text("portalOrigins")).to_be_visible()
    assert await context.cookies() == []
    await Watched(page, server.url).shot(f"portal-unfit-{size['width']}")
    assert await is_unused(server, url)
    await context.close()


@needs_chromium
async def test_once_the_origin_is_named_the_same_link_opens_there(
    strict_browser: Browser, server: Server, receiver: Receiver
) -> None:
    await allow(server, "late")
    page = await strict_browser.new_page()
    frame = await embedding(page, receiver, await link(server, "late"))
    again = frame.get_by_role("button", name="Try again")
    await again.click()
    await expect(again).to_be_visible()

    async with server.client() as client:
        body = {"portalOrigins": [embedder(receiver)]}
        assert (await client.patch("/v1/tenants/late", json=body)).status_code == 200
    await again.focus()
    await page.keyboard.press("Enter")

    await expect(frame.get_by_role("heading", name="Overview")).to_be_visible()
    await page.close()


@needs_chromium
async def test_a_frame_around_the_one_that_is_named_is_seen_too(
    browser: Browser, server: Server, receiver: Receiver
) -> None:
    """Browsers show it only where all pages around are named; only they know them."""
    named = f"http://127.0.0.1:{receiver.port}"
    await allow(server, "inside", named)
    url = await link(server, "inside")
    page = await browser.new_page()
    inner = f'<!doctype html><title>In</title><iframe src="{url}" width=1100 height=700></iframe>'
    outer = f'<!doctype html><title>Out</title><iframe src="{named}/in" width=1200 height=800>'

    def answer(request: Received) -> Reply:
        html = inner if request.path == "/in" else outer
        return Reply(200, (("content-type", "text/html"),), html.encode())

    receiver.script = answer
    await page.goto(f"{embedder(receiver)}/out")

    frame = page.frame_locator("iframe").frame_locator("iframe")
    await expect(frame.get_by_text("may not be embedded here")).to_be_visible()
    await expect(frame.locator("#around")).to_contain_text(embedder(receiver))
    assert await is_unused(server, url)
    await page.close()


@needs_chromium
@pytest.mark.parametrize(
    ("sandbox", "said"),
    [
        ("", "Nothing happens?"),
        ("allow-scripts", "Nothing happens?"),
        ("allow-scripts allow-forms", "Nothing happens?"),
        ("allow-scripts allow-same-origin", "needs allow-forms too"),
    ],
)
async def test_a_sandbox_that_forbids_too_much_is_named_and_the_link_stays(
    browser: Browser, server: Server, receiver: Receiver, sandbox: str, said: str
) -> None:
    tenant = f"sandbox-{len(sandbox)}"
    await allow(server, tenant, embedder(receiver))
    url = await link(server, tenant)
    page = await browser.new_page()

    frame = await embedding(page, receiver, f'{url}" sandbox="{sandbox}')

    await expect(frame.get_by_text(said)).to_be_visible()
    await Watched(page, server.url).shot(f"portal-{tenant}")
    assert await is_unused(server, url)
    await page.close()


@needs_chromium
async def test_a_link_that_is_spent_says_so_in_a_frame_as_in_a_tab(
    browser: Browser, server: Server, receiver: Receiver
) -> None:
    await allow(server, "spent", embedder(receiver))
    url = await link(server, "spent")
    assert await is_unused(server, url)
    page = await browser.new_page()

    frame = await embedding(page, receiver, url)

    await expect(frame.get_by_role("heading", name="There is no session")).to_be_visible()
    await expect(frame.get_by_role("alert")).to_contain_text("opened already")
    await Watched(page, server.url).shot("portal-spent-in-a-frame")
    await page.close()


@needs_chromium
async def test_a_service_that_is_away_is_not_taken_for_one_that_refuses(
    browser: Browser, server: Server, receiver: Receiver
) -> None:
    await allow(server, "away", embedder(receiver))
    url = await link(server, "away")
    page = await browser.new_page()
    async with page.expect_request("**/portal/enter/look"):
        await page.route("**/portal/enter/look", lambda route: route.abort())
        await page.route(f"{server.url}/portal/enter", refuse_heads)
        frame = await embedding(page, receiver, url)

    await expect(frame.get_by_role("heading", name="The portal does not open")).to_be_visible()
    await Watched(page, server.url).shot("portal-away-in-a-frame")
    await page.unroute_all()
    await frame.get_by_role("button", name="Try again").click()
    await expect(frame.get_by_role("heading", name="Overview")).to_be_visible()
    await page.close()


@needs_chromium
async def test_what_a_proxy_says_for_a_service_that_is_away_leaves_nobody_waiting(
    browser: Browser, server: Server, receiver: Receiver
) -> None:
    await allow(server, "proxied", embedder(receiver))
    url = await link(server, "proxied")
    page = await browser.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda fault: faults.append(str(fault)))

    async def proxy(route: Route) -> None:
        body = "<html><title>502 Bad Gateway</title><center>nginx</center></html>"
        await route.fulfill(status=502, content_type="text/html", body=body)

    await page.route("**/portal/enter/look", proxy)
    frame = await embedding(page, receiver, url)

    await expect(frame.get_by_role("heading", name="The portal does not open")).to_be_visible()
    assert faults == []
    await page.unroute_all()
    await frame.get_by_role("button", name="Try again").click()
    await expect(frame.get_by_role("heading", name="Overview")).to_be_visible()
    await page.close()


async def refuse_heads(route: Route) -> None:
    """Let nobody ask whether the service is there."""
    await (route.abort() if route.request.method == "HEAD" else route.continue_())
