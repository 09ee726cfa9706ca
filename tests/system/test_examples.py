"""The examples in service/docs do what they promise: every event once, however often cut off."""

import asyncio
import functools
import http.server
import json
import random
import shutil
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, async_playwright, expect

from service.docs.follow import follow
from tests.support.blackbox import Blackbox, blackbox
from tests.support.cutting import CuttingProxy
from tests.support.server import ROOT, Server
from tests.system.conftest import StartServer

pytestmark = pytest.mark.anyio

DOCS = ROOT / "service" / "docs"
EVENTS = 60
#: Bytes for which a connection lives: from less than an answer's head to more than a few events.
LIFE = (300, 10_000)
CUTS = 5
NODE = shutil.which("node")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")

needs_node = pytest.mark.skipif(NODE is None, reason="node is not on PATH")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH")


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[CuttingProxy]:
    async with CuttingProxy(server.port, random.Random(11), LIFE) as proxy:  # noqa: S311  any will do
        yield proxy


async def produce(api: Blackbox, name: str) -> None:
    types = ["STARTED", *("STATUS_UPDATE", "page.rendered") * (EVENTS // 2 - 1), "COMPLETED"]
    await api.post(f"/v1/operations/{name}/events", [{"type": each} for each in types])


async def produce_until_cut(
    api: Blackbox, name: str, proxy: CuttingProxy, shown: Callable[[int], Awaitable[object]]
) -> int:
    """Post, a few at a time, until there were enough cuts, then the end; how many in all.

    ``shown`` waits until so many events were seen.
    """
    count = 0
    while proxy.cuts < CUTS:
        some = [{"type": "STATUS_UPDATE", "message": f"Page {count + n}"} for n in range(1, 4)]
        await api.post(f"/v1/operations/{name}/events", some)
        count += len(some)
        await shown(count)
    await api.post(f"/v1/operations/{name}/events", {"type": "COMPLETED"})
    await shown(count + 1)
    return count + 1


async def log_of(api: Blackbox, name: str) -> list[Any]:
    return await api.all(f"/v1/operations/{name}/events")


@dataclass
class Program:
    """A program as it runs, and the lines of JSON that it printed so far."""

    process: asyncio.subprocess.Process
    lines: list[Any] = field(default_factory=list)

    async def printed(self, count: int) -> list[Any]:
        """Everything, as soon as it is so much."""
        while len(self.lines) < count:
            assert await self.more(), await self.complaints()
        return self.lines

    async def to_its_end(self) -> list[Any]:
        """Everything."""
        while await self.more():
            pass
        assert await self.process.wait() == 0, await self.complaints()
        return self.lines

    async def more(self) -> bool:
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            line = await self.process.stdout.readline()
        self.lines += [json.loads(line)] if line else []
        return bool(line)

    async def complaints(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()


@asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[Program]:
    """Started in an environment without anything of the tests' own, and gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        *arguments,
        env={"PATH": str(Path(sys.executable).parent)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


# --- Python


@pytest.fixture
def script(tmp_path: Path) -> str:
    """A copy that stands alone."""
    return str(shutil.copy(DOCS / "follow.py", tmp_path / "follow.py"))


async def test_python_sees_every_event_once_however_often_it_is_cut_off(
    server: Server, api: Blackbox, proxy: CuttingProxy, kind: str, script: str
) -> None:
    await api.post("/v1/operations", {"type": kind, "operationId": kind})
    async with program(sys.executable, script, proxy.url, server.admin_key, kind) as following:
        count = await produce_until_cut(api, kind, proxy, following.printed)
        events = await following.to_its_end()
    assert len(events) == count
    assert events == await log_of(api, kind)


async def test_python_goes_on_after_a_crash_of_the_service(
    start_server: StartServer, script: str
) -> None:
    server = start_server()
    async with blackbox(server) as api:
        await api.event("op-1", "STARTED")
        arguments = (script, server.url, server.admin_key, "op-1")
        async with program(sys.executable, *arguments) as following:
            await following.printed(1)
            await asyncio.to_thread(server.restart)
            await api.event("op-1", "FAILED")
            assert await following.to_its_end() == await log_of(api, "op-1")


async def test_python_is_refused_what_is_not_there(server: Server, script: str) -> None:
    async with program(sys.executable, script, server.url, server.admin_key, "none") as following:
        assert "404" in await following.complaints()
        assert await following.process.wait() == 1


async def test_python_goes_on_behind_what_was_seen(
    server: Server, api: Blackbox, kind: str
) -> None:
    await produce(api, kind)

    def sequences(after: int) -> list[int]:
        key = {"authorization": f"Bearer {server.admin_key}"}
        with httpx.Client(base_url=server.url, headers=key) as client:
            return [event["sequence"] for event in follow(client, kind, after)]

    assert await asyncio.to_thread(sequences, 0) == list(range(1, EVENTS + 1))
    assert await asyncio.to_thread(sequences, 57) == [58, 59, 60]
    assert await asyncio.to_thread(sequences, EVENTS) == []


def test_python_is_short() -> None:
    lines = (DOCS / "follow.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 80


# --- the module for browsers, under Node


@pytest.fixture
def module(tmp_path: Path) -> str:
    """A copy that Node takes for a module; its address."""
    copy = tmp_path / "follow.mjs"
    shutil.copy(DOCS / "follow.js", copy)
    return copy.as_uri()


@asynccontextmanager
async def node(module: str, options: Mapping[str, object]) -> AsyncIterator[Program]:
    runner = str(ROOT / "tests" / "support" / "follow_in_node.mjs")
    async with program(NODE or "node", runner, module, json.dumps(options)) as following:
        yield following


@needs_node
@pytest.mark.parametrize("how", ["stream", "poll", "mute"])
async def test_the_module_sees_every_event_once_however_often_it_is_cut_off(
    server: Server, api: Blackbox, proxy: CuttingProxy, kind: str, module: str, how: str
) -> None:
    await api.post("/v1/operations", {"type": kind, "operationId": kind})
    options = {"url": proxy.url, "operation": kind, "key": server.admin_key, "how": how}
    async with node(module, options) as following:
        count = await produce_until_cut(api, kind, proxy, following.printed)
        *events, last = await following.to_its_end()
    assert len(events) == count
    assert events == await log_of(api, kind)
    assert last["tickets"] == 1


@needs_node
async def test_the_module_asks_for_a_new_ticket_when_the_one_it_has_is_too_old(
    server: Server, api: Blackbox, kind: str, module: str
) -> None:
    await produce(api, kind)
    options = {"url": server.url, "operation": kind, "key": server.admin_key, "how": "expired"}
    async with node(module, options) as following:
        *events, last = await following.to_its_end()
    assert events == await log_of(api, kind)
    assert last["tickets"] == 2


@needs_node
@pytest.mark.parametrize("how", ["stream", "poll"])
async def test_the_module_goes_on_behind_what_was_seen(
    server: Server, api: Blackbox, kind: str, module: str, how: str
) -> None:
    await produce(api, kind)
    for after, count in ((0, EVENTS), (57, 3), (EVENTS, 0)):
        options = {"url": server.url, "operation": kind, "key": server.admin_key, "how": how}
        async with node(module, {**options, "after": after}) as following:
            *events, _ = await following.to_its_end()
        assert [each["sequence"] for each in events] == list(range(EVENTS - count + 1, EVENTS + 1))


@needs_node
@pytest.mark.parametrize("how", ["stream", "poll"])
async def test_the_module_ends_when_it_is_told_to(
    server: Server, api: Blackbox, kind: str, module: str, how: str
) -> None:
    await api.event(kind, "STARTED")
    options = {"url": server.url, "operation": kind, "key": server.admin_key, "how": how}
    async with node(module, {**options, "most": 2}) as following:
        await following.printed(1)
        await api.event(kind, "step")
        first, second, _ = await following.to_its_end()
    assert [first["sequence"], second["sequence"]] == [1, 2]
    assert (await api.get(f"/v1/operations/{kind}"))["status"] == "PROCESSING"


@needs_node
async def test_the_module_is_refused_what_the_ticket_does_not_open(
    server: Server, api: Blackbox, kind: str, module: str
) -> None:
    for name in (kind, f"{kind}-2"):
        await api.event(name, "STARTED")
    made = await api.post("/v1/stream-tickets", {"operationId": kind}, 201)
    options = {"url": server.url, "operation": f"{kind}-2", "ticket": made["ticket"]}
    async with node(module, options) as following:
        assert "Refused: 403 " in await following.complaints()
        assert await following.process.wait() == 1


# --- the page, in a browser


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    extensions_map = {".js": "text/javascript", ".html": "text/html"}  # noqa: RUF012  as the class has it

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    """Where the examples are served from: another origin than the service's."""
    handler = functools.partial(Quiet, directory=str(DOCS))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as files:
        thread = threading.Thread(target=files.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{files.server_port}"
        files.shutdown()
        thread.join()


@asynccontextmanager
async def browser_page() -> AsyncIterator[Page]:
    expect.set_options(timeout=20_000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield await browser.new_page()
        await browser.close()


@needs_chromium
async def test_the_page_shows_every_event_once_however_often_it_is_cut_off(
    start_server: StartServer, site: str
) -> None:
    server = start_server({"RINGBACK_CORS_ORIGINS": site})
    async with (
        blackbox(server) as api,
        CuttingProxy(server.port, random.Random(12), LIFE) as proxy,  # noqa: S311  any will do
        browser_page() as page,
    ):
        await api.post("/v1/operations", {"type": "report", "operationId": "op-1"})
        ticket = (await api.post("/v1/stream-tickets", {"operationId": "op-1"}, 201))["ticket"]
        await page.goto(f"{site}/follow.html#url={proxy.url}&operation=op-1&ticket={ticket}")
        items = page.get_by_role("listitem")

        async def shown(count: int) -> None:
            await page.wait_for_function(f"document.querySelectorAll('li').length >= {count}")

        count = await produce_until_cut(api, "op-1", proxy, shown)
        await expect(page.get_by_role("status")).to_have_text("COMPLETED")
        sequences = await items.evaluate_all("items => items.map((item) => item.value)")
        assert sequences == list(range(1, count + 1))
        assert await items.nth(1).text_content() == "STATUS_UPDATE: Page 2"
        assert ticket not in server.output


@needs_chromium
async def test_the_page_shows_how_far_it_is(start_server: StartServer, site: str) -> None:
    server = start_server({"RINGBACK_CORS_ORIGINS": site})
    async with blackbox(server) as api, browser_page() as page:
        await api.event("op-1", "STATUS_UPDATE", progress={"current": 1, "total": 4})
        ticket = (await api.post("/v1/stream-tickets", {"operationId": "op-1"}, 201))["ticket"]
        await page.goto(f"{site}/follow.html#url={server.url}&operation=op-1&ticket={ticket}")
        bar = page.get_by_role("progressbar")
        await expect(bar).to_have_js_property("value", 25)
        await api.event("op-1", "STATUS_UPDATE", progress=60)
        await expect(bar).to_have_js_property("value", 60)
        await api.event("op-1", "FAILED")
        await expect(page.get_by_role("status")).to_have_text("FAILED")


@needs_chromium
async def test_the_page_says_when_it_is_refused(start_server: StartServer, site: str) -> None:
    server = start_server({"RINGBACK_CORS_ORIGINS": site})
    async with browser_page() as page:
        await page.goto(f"{site}/follow.html#url={server.url}&operation=op-1&ticket=tk_unknown")
        await expect(page.get_by_role("status")).to_contain_text("Refused: 401")
