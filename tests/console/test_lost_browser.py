"""Pages that stay open while what is behind them goes away, in a real Chromium."""

import asyncio
from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.console.test_accessibility import grave
from tests.console.test_browser import NARROW, WIDE, opened
from tests.console.test_portal_browser import allow, embedder, embedding, link
from tests.support.browsing import needs_chromium
from tests.support.receiver import Receiver
from tests.support.server import LOCAL, Server

pytestmark = [pytest.mark.anyio, needs_chromium]

#: Milliseconds: a page that is followed by a stream is read anew by itself in 30 s only.
SOON = 12_000


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("lost"), LOCAL) as server:
        yield server


async def test_a_stream_that_breaks_is_said_at_once_and_found_again(
    browser: Browser, server: Server
) -> None:
    """For half a minute an operation's page showed what was old, as if it were so."""
    async with opened(browser, server, "light", NARROW) as watched:
        async with server.client() as client:
            await client.post("/v1/operations/job/events", json={"type": "STARTED"})
        page = watched.page
        await watched.sign_in(server.admin_key)
        async with page.expect_response("**/stream*"):
            await watched.go("/operations/job")
        lost = page.get_by_text("The service does not answer")
        await asyncio.to_thread(server.kill)
        await expect(lost).to_be_visible(timeout=SOON)
        await watched.shot("lost-operation")
        await asyncio.to_thread(server.start)
        await expect(lost).to_be_hidden(timeout=SOON)
        async with server.client() as client:
            event = {"type": "STATUS_UPDATE", "progress": 40}
            await client.post("/v1/operations/job/events", json=event)
        await expect(page.get_by_text("40 %").first).to_be_visible(timeout=SOON)
        watched.faults.clear()  # that nobody answered is what the browser notes


async def test_who_got_an_event_is_followed_until_it_is_settled(
    browser: Browser, server: Server, receiver: Receiver
) -> None:
    async with server.client() as client, opened(browser, server, "dark", NARROW) as watched:
        made = (await client.post("/v1/subscriptions", json={"url": receiver.url("/hook")})).json()
        await client.post(f"/v1/subscriptions/{made['id']}/pause")
        event = {"operationId": "got", "type": "report.made", "id": "evt-got"}
        assert (await client.post("/v1/events", json=event)).is_success
        await watched.sign_in(server.admin_key)
        await watched.go("/events/evt-got")
        row = watched.page.get_by_role("row").filter(has_text=made["id"])
        await expect(row).to_contain_text("pending")
        await client.post(f"/v1/subscriptions/{made['id']}/resume")
        await expect(row).to_contain_text("delivered")
        assert await watched.page.locator("[data-every]").count() == 0


async def test_what_was_deleted_under_a_page_is_said(browser: Browser, server: Server) -> None:
    """It stayed as it was, for ever."""
    async with server.client() as client, opened(browser, server, "dark", NARROW) as watched:
        made = (await client.post("/v1/subscriptions", json={"url": "http://127.0.0.1:9/"})).json()
        page = watched.page
        await watched.sign_in(server.admin_key)
        await watched.go(f"/subscriptions/{made['id']}")
        await client.delete(f"/v1/subscriptions/{made['id']}")

        await expect(page.get_by_text("is not there any more")).to_be_visible()

        await watched.shot("gone-subscription")
        await expect(page.get_by_text("The service does not answer")).to_be_hidden()
        await page.get_by_role("link", name="Load it again").click()
        await expect(page.get_by_role("heading", name="Deleted")).to_be_visible()
        await page.get_by_role("link", name="its deliveries").click()
        await expect(page.get_by_role("heading", name="Deliveries")).to_be_visible()
        watched.faults = [each for each in watched.faults if "status of 410" not in each]


async def test_a_store_that_is_away_is_said_too(browser: Browser, server: Server) -> None:
    async def unavailable(route: Route) -> None:
        await route.fulfill(status=503, body="<p>away</p>", content_type="text/html")

    async with opened(browser, server) as watched:
        page = watched.page
        await watched.sign_in(server.admin_key)
        await page.route("**/console", unavailable)
        # as if the stream, which goes another way, had told of something; what it tells before the
        # page listens, or while it is being renewed, is told in vain
        async with asyncio.timeout(20):
            while not await page.get_by_text("The service does not answer").is_visible():
                await page.evaluate(
                    "document.getElementById('live').dispatchEvent(new CustomEvent('refresh'))"
                )
                await asyncio.sleep(0.2)
        await asyncio.sleep(0.5)
        await expect(page.get_by_text("The service does not answer")).to_be_visible()
        await page.unroute_all()
        await expect(page.get_by_text("The service does not answer")).to_be_hidden()
        watched.faults = [each for each in watched.faults if "status of 503" not in each]


async def unanswered(route: Route) -> None:
    """Leave a part read anew without an answer: who is signed out would be led elsewhere."""
    if "hx-request" not in route.request.headers:
        await route.continue_()


async def test_who_signed_out_elsewhere_comes_back_to_where_he_was(
    browser: Browser, server: Server
) -> None:
    async with server.client() as client, opened(browser, server) as watched:
        made = (await client.post("/v1/subscriptions", json={"url": "http://127.0.0.1:9/"})).json()
        page = watched.page
        await watched.sign_in(server.admin_key)
        await watched.go(f"/subscriptions/{made['id']}")
        await page.route("**/console/**", unanswered)
        await page.context.clear_cookies()
        await page.get_by_role("button", name="Pause").click()
        await expect(page.get_by_text("The session is over, and nothing was done")).to_be_visible()
        await page.get_by_role("link", name="Sign in").click()
        await page.get_by_label("API key").fill(server.admin_key)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name=made["id"])).to_be_visible()
        watched.faults = [each for each in watched.faults if "status of 401" not in each]


async def test_what_was_typed_is_there_beside_the_way_in(browser: Browser, server: Server) -> None:
    long = "https://example.com/" + "a" * 300
    async with opened(browser, server, size=NARROW) as watched:
        page = watched.page
        await watched.sign_in(server.admin_key)
        await watched.go("/subscriptions/new")
        await page.get_by_label("URL").fill(long)
        await page.get_by_label("Description").fill("The sales team's")
        await page.context.clear_cookies()
        await page.get_by_role("button", name="Create").click()
        await expect(page.get_by_role("group", name="URL")).to_have_text(long)
        assert await grave(page) == []
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= NARROW["width"]
        async with page.expect_popup() as opening:
            await page.get_by_role("link", name="Sign in").click()
        door = await opening.value
        await door.get_by_label("API key").fill(server.admin_key)
        await door.keyboard.press("Enter")
        await expect(door.get_by_label("Description")).to_have_value("")
        await expect(page.get_by_role("group", name="Description")).to_have_text("The sales team's")
        watched.faults = [each for each in watched.faults if "status of 401" not in each]


async def test_a_secret_is_copied_in_a_frame_too(
    strict_browser: Browser, server: Server, receiver: Receiver
) -> None:
    """A frame may not write to the clipboard by itself, and so the button did nothing."""
    await allow(server, "acme", embedder(receiver))
    async with server.client() as client:
        headers = {"ringback-tenant": "acme"}
        hook = {"url": receiver.url("/hook")}
        made = (await client.post("/v1/subscriptions", json=hook, headers=headers)).json()
    context = await strict_browser.new_context(viewport=WIDE)
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    frame = await embedding(page, receiver, await link(server, "acme"))
    await frame.get_by_role("link", name=made["id"]).click()
    await frame.get_by_text("Rotate…").click()
    await frame.get_by_role("button", name="Rotate").click()
    copy = frame.locator("button[data-copy]").first
    await copy.click()

    await expect(copy).to_have_text("Copied")
    assert faults == []
    await context.grant_permissions(["clipboard-read"], origin=embedder(receiver))
    secret = await frame.get_by_label("Secret 1").inner_text()
    assert await page.evaluate("navigator.clipboard.readText()") == secret
    await context.close()


async def reloaded(page: Page) -> None:
    """Load it again once it is whole: before that its scripts did not run."""
    await page.wait_for_load_state()
    await page.reload()


async def test_what_a_form_did_is_not_done_again_by_loading_the_page_again(
    browser: Browser, server: Server, receiver: Receiver
) -> None:
    """A page with a new secret made another subscription, or key; one with a test, another test."""
    async with server.client() as client, opened(browser, server) as watched:
        page = watched.page
        await watched.sign_in(server.admin_key)
        await watched.go("/subscriptions/new")
        await page.get_by_label("URL").fill(receiver.url("/hook"))
        await page.get_by_role("button", name="Create").click()
        await expect(page.get_by_label("Secret 1")).to_be_visible()
        await reloaded(page)
        (made,) = (await client.get("/v1/subscriptions")).json()["data"]
        await expect(page.get_by_role("heading", name=made["id"])).to_be_visible()

        await page.get_by_role("button", name="Send a test event").click()
        await expect(page.get_by_role("heading", name="Test event")).to_be_visible()
        await reloaded(page)
        await expect(page.get_by_role("heading", name=made["id"])).to_be_visible()
        await page.get_by_text("Rotate…").click()
        await page.get_by_role("button", name="Rotate").click()
        await expect(page.get_by_label("Secret 1")).to_be_visible()
        await reloaded(page)
        await expect(page.get_by_role("heading", name=made["id"])).to_be_visible()
        kept = (await client.get(f"/v1/subscriptions/{made['id']}/secret")).json()
        assert len(kept["secrets"]) == 2

        await watched.go("/keys")
        await page.locator("summary.main").click()
        await page.get_by_label("Name").fill("backend")
        await page.get_by_label("operations:read").check()
        await page.get_by_role("button", name="Create").click()
        await expect(page.get_by_label("The key")).to_be_visible()
        await reloaded(page)
        await expect(page.get_by_role("heading", name="API keys")).to_be_visible()
        keys = (await client.get("/v1/api-keys")).json()["data"]
        assert [each["name"] for each in keys].count("backend") == 1
    assert len(receiver.requests) == 1


async def test_who_is_out_of_the_portal_is_told_how_to_come_in(
    browser: Browser, server: Server
) -> None:
    async with server.client() as client, opened(browser, server) as watched:
        made = (await client.post("/v1/subscriptions", json={"url": "http://127.0.0.1:9/"})).json()
        page = watched.page
        await page.goto(await link(server, subscriptionId=made["id"]))
        await page.get_by_role("link", name=made["id"]).first.click()
        await expect(page.get_by_role("heading", name=made["id"])).to_be_visible()
        answer = asyncio.Event()

        async def held(route: Route) -> None:
            await answer.wait()
            await route.continue_()

        await page.route("**/pause", held)
        await page.context.clear_cookies()
        async with page.expect_response(lambda response: response.status == 401):
            # what the page asks by itself meanwhile is answered first, and leads out
            await page.get_by_role("button", name="Pause").evaluate(
                "button => { button.click();"
                " document.getElementById('live').dispatchEvent(new CustomEvent('refresh')) }"
            )
        await page.wait_for_timeout(300)
        answer.set()
        said = page.get_by_role("alert")
        await expect(said).to_contain_text("nothing was done. Open the portal again from the app")
        watched.faults = [each for each in watched.faults if "status of 401" not in each]
