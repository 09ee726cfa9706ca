"""axe finds no serious fault on any page of the console or the portal, in light and in dark."""

import asyncio
from typing import Any, Final

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from tests.console import test_browser, test_portal_browser
from tests.console.test_browser import (
    NARROW,
    WIDE,
    Scheme,
    Watched,
    one_dead,
    opened,
    server,
)
from tests.console.test_portal_browser import link
from tests.support.browsing import needs_chromium
from tests.support.receiver import Receiver
from tests.support.server import Server

__all__ = ["server"]

#: axe looks at a page for a second, or several where the machine has much else to do.
pytestmark = [pytest.mark.anyio, needs_chromium]

GRAVE: Final = ("serious", "critical")
SCHEMES: Final[tuple[Scheme, ...]] = ("light", "dark")
#: Roles that say nothing: a name on them is not to be heard.
NOTHING: Final = ("", "generic", "none", "presentation")
#: What takes the focus without being asked for by the keyboard.
BY_NATURE: Final = ("RootWebArea", "main", "option", "MenuListOption")
#: Pages that tell of a fault.
FAULTS: Final = ("/none", "/deliveries?status=none")


async def grave(page: Page) -> list[str]:
    """The serious and critical faults of a page, each with the first element that has it."""
    found: dict[str, Any] = (await Axe().run(page)).response
    assert found["testEngine"]["name"] == "axe-core"
    return [
        f"{each['id']}: {each['nodes'][0]['html']}"
        for each in found["violations"]
        if each["impact"] in GRAVE
    ]


async def unnamed(page: Page) -> list[str]:
    """What the keyboard comes to without a reader of the screen saying what it is."""
    talk = await page.context.new_cdp_session(page)
    nodes = (await talk.send("Accessibility.getFullAXTree"))["nodes"]
    await talk.detach()
    found = []
    for node in nodes:
        role = node.get("role", {}).get("value", "")
        properties = {
            each["name"]: each["value"].get("value") for each in node.get("properties", [])
        }
        if node["ignored"] or not properties.get("focusable") or role in BY_NATURE:
            continue
        if role in NOTHING or not node.get("name", {}).get("value", "").strip():
            found.append(f"{role}: {node.get('name')}")
    return found


async def all_of(watched: Watched, root: str, paths: list[str]) -> dict[str, list[str]]:
    """The faults of these pages, where there are any."""
    found = {}
    for path in paths:
        await watched.page.goto(f"{watched.origin}{root}{path}")
        await watched.page.evaluate(
            "for (const each of document.querySelectorAll('details')) each.open = true"
        )
        found[path] = [*await grave(watched.page), *await unnamed(watched.page)]
    # the pages about faults have the status of the fault, which the browser notes
    watched.faults = [each for each in watched.faults if "status of 4" not in each]
    return {path: faults for path, faults in found.items() if faults}


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_every_page_of_the_console(
    browser: Browser, server: Server, receiver: Receiver, scheme: Scheme
) -> None:
    letter = await one_dead(server, receiver)
    size = WIDE if scheme == "light" else NARROW
    async with opened(browser, server, scheme, size) as watched:
        assert await all_of(watched, "/console", ["/sign-in"]) == {}
        await watched.sign_in(server.admin_key)
        paths = [*test_browser.paths(letter).values(), *FAULTS]
        assert await all_of(watched, "/console", paths) == {}


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_every_page_of_the_portal(
    browser: Browser, server: Server, receiver: Receiver, scheme: Scheme
) -> None:
    letter = await one_dead(server, receiver)
    size = NARROW if scheme == "light" else WIDE
    async with opened(browser, server, scheme, size) as watched:
        assert await all_of(watched, "/portal", [""]) == {}
        paths = [*test_portal_browser.paths(letter).values(), *FAULTS]
        # where there is one subscription only, these are others
        fewer = ["", "/dead-letters/all", "/deliveries", "/subscriptions"]
        for body, which in (({}, paths), ({"subscriptionId": letter["subscriptionId"]}, fewer)):
            await watched.page.goto("about:blank")
            await watched.page.goto(await link(server, **body))
            await expect(watched.page.get_by_role("heading", name="Overview")).to_be_visible()
            assert await all_of(watched, "/portal", which) == {}


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_what_forms_answer_with(
    browser: Browser, server: Server, receiver: Receiver, scheme: Scheme
) -> None:
    letter = await one_dead(server, receiver)
    async with opened(browser, server, scheme) as watched:
        page = watched.page
        await watched.sign_in(server.admin_key)
        home = f"/subscriptions/{letter['subscriptionId']}"
        for button in ("Rotate", "Send a test event"):
            await watched.go(home)
            await page.get_by_text("Rotate…").click()
            await page.get_by_role("button", name=button).click()
            await expect(page.get_by_role("link", name="To the subscription")).to_be_visible()
            assert await grave(page) == [], button


async def test_a_thing_without_a_name_is_found(browser: Browser) -> None:
    page = await browser.new_page()
    await page.set_content(
        "<pre tabindex=0 aria-label=Text>x</pre><button></button><button>Go</button>"
    )

    async with asyncio.timeout(30):
        assert len(await unnamed(page)) == 2
    await page.close()


async def test_a_fault_is_found(browser: Browser) -> None:
    page = await browser.new_page()
    await page.set_content("<html><body><img src='x.png'><input></body></html>")

    async with asyncio.timeout(30):
        assert any(each.startswith("image-alt") for each in await grave(page))
    await page.close()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_forms_with_faults(browser: Browser, server: Server, scheme: Scheme) -> None:
    async with opened(browser, server, scheme, NARROW) as watched:
        page = watched.page
        await watched.sign_in(server.admin_key)
        for path, button, filled in (
            ("/subscriptions/new", "Create", {"URL": "ftp://x", "Event types": "a b"}),
            ("/keys", "Create", {"Name": "x"}),
            ("/tenants", "Create", {"Id": "a b", "Name": "x"}),
        ):
            await watched.go(path)
            if path != "/subscriptions/new":
                await page.locator("summary.main").click()
            for label, text in filled.items():
                await page.get_by_label(label, exact=True).fill(text)
            await page.get_by_role("button", name=button).click()
            await expect(page.get_by_role("alert")).to_be_visible()
            await watched.shot(f"{scheme}-fault{path.replace('/', '-')}")
            assert await grave(page) == [], path
        watched.faults = [each for each in watched.faults if "status of 4" not in each]
