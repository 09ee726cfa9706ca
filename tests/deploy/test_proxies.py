"""A real proxy before a real service, where one is installed: streams, large bodies, secrets."""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from service.web.bodies import MAX_BODY
from tests.console.test_live import stream_of
from tests.support.blackbox import Blackbox
from tests.support.console import OWN, Document
from tests.support.deployment import DEPLOY
from tests.support.server import Server, free_port
from tests.support.watching import Way, by_socket, by_sse, messages

pytestmark = pytest.mark.anyio

#: Neither waits for who is still connected when it gets this.
_AT_ONCE: Final = {"caddy": signal.SIGQUIT, "nginx": signal.SIGTERM}
_READY: Final = 15.0
#: Seconds that an event may take to its reader.
_SOON: Final = 5.0
#: Where it keeps what it writes when it is told nothing; here all of it is in the test's folder.
_TEMPORARY: Final = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True)
class Proxied:
    """A service behind a proxy."""

    server: Server
    url: str
    folder: Path

    @property
    def logs(self) -> str:
        """All that the proxy wrote about requests, and all that it said."""
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))

    def client(self) -> httpx.AsyncClient:
        key = {"authorization": f"Bearer {self.server.admin_key}"}
        return httpx.AsyncClient(base_url=self.url, headers=key, timeout=30)


def nginx(folder: Path, port: int, upstream: str) -> list[str]:
    conf = (DEPLOY / "proxy" / "nginx.conf").read_text()
    paths = "".join(f"    {each}_temp_path {folder}/{each};\n" for each in _TEMPORARY)
    for old, new in (
        ("http://api:8080", upstream),
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        ("pid /tmp/", f"pid {folder}/"),
        ("/var/log/nginx/", f"{folder}/"),
        ("http {\n", f"http {{\n{paths}"),
    ):
        assert old in conf, old
        conf = conf.replace(old, new)
    (folder / "nginx.conf").write_text(conf)
    mine = "user root; " if os.geteuid() == 0 else ""  # nobody else may look into the folder
    files = ["-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    return ["nginx", "-p", str(folder), *files, "-g", f"{mine}daemon off;"]


def caddy(folder: Path, port: int, upstream: str) -> list[str]:
    conf = (DEPLOY / "proxy" / "Caddyfile").read_text()
    for old, new in (
        ("\n{\n", "\n{\n\tadmin off\n"),
        ("hooks.example.com {", f"http://127.0.0.1:{port} {{"),
        ("reverse_proxy 127.0.0.1:8080", f"reverse_proxy {upstream.removeprefix('http://')}"),
    ):
        assert old in conf, old
        conf = conf.replace(old, new)
    (folder / "Caddyfile").write_text(conf)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


@contextmanager
def running(command: list[str], folder: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "said.log").open("ab") as said:
        home = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        process = subprocess.Popen(command, env={**os.environ, **home}, stdout=said, stderr=said)
    try:
        end = time.monotonic() + _READY
        while not _answers(url):
            assert process.poll() is None, (folder / "said.log").read_text()
            assert time.monotonic() < end, (folder / "said.log").read_text()
            time.sleep(0.02)
        yield process
    finally:
        process.send_signal(_AT_ONCE[command[0]])
        try:
            process.wait(10)
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module", params=_AT_ONCE)
def proxied(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxied]:
    name = str(request.param)
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    folder = tmp_path_factory.mktemp(name)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with Server(tmp_path_factory.mktemp("behind")) as server:
        command = {"caddy": caddy, "nginx": nginx}[name](folder, port, server.url)
        with running(command, folder, url):
            yield Proxied(server, url, folder)


async def test_a_body_as_large_as_the_service_takes_passes(proxied: Proxied) -> None:
    async with proxied.client() as client:
        client.headers["content-type"] = "application/json"
        whole = await client.post("/v1/events", content=b"[]".rjust(MAX_BODY))

    # it was read, and has no event
    assert whole.status_code == httpx.codes.UNPROCESSABLE_ENTITY


@pytest.mark.parametrize(
    ("way", "path"), [(by_sse, "stream"), (by_socket, "status")], ids=["SSE", "WebSocket"]
)
async def test_a_stream_passes_as_it_comes(proxied: Proxied, way: Way, path: str) -> None:
    operation = f"op_{path}"
    async with proxied.client() as client:
        box = Blackbox(client)
        await box.event(operation, "STARTED")
        async with aclosing(way(client, f"/v1/operations/{operation}/{path}", "0")) as seen:
            assert (await anext(seen)).sequence == 1
            # while it is open, and each before the next is posted
            for sequence in (2, 3):
                await box.event(operation, "STATUS_UPDATE")
                async with asyncio.timeout(_SOON):
                    assert (await anext(seen)).sequence == sequence


@pytest.mark.parametrize(
    ("page", "name"),
    [("/console/operations", "changed"), ("/console/operations/op_live", "moved")],
    ids=["page", "operation"],
)
async def test_a_live_page_is_told_of_what_comes(proxied: Proxied, page: str, name: str) -> None:
    """Each message before the next thing happens, and the comment between them in its time."""
    async with proxied.client() as client:
        box = Blackbox(client)
        await box.event("op_live", "STARTED")
        key = {"key": proxied.server.admin_key}
        own = {**OWN, "origin": proxied.url}
        entered = await client.post("/console/sign-in", data=key, headers=own)
        assert entered.status_code == httpx.codes.SEE_OTHER
        address = stream_of(Document((await client.get(page)).text))
        async with client.stream("GET", address) as answer:
            assert answer.status_code == httpx.codes.OK
            async with aclosing(messages(answer)) as said:
                for _ in range(2):
                    await box.event("op_live", "STATUS_UPDATE")
                    async with asyncio.timeout(_SOON):
                        assert (await anext(said)).name == name


async def test_a_live_page_of_the_portal_is_told_of_what_comes(proxied: Proxied) -> None:
    async with proxied.client() as client:
        made = (await client.post("/v1/portal-links", json={})).json()
        own = {**OWN, "origin": proxied.url}
        form = {"link": made["url"].partition("#")[2]}
        entered = await client.post("/portal/enter", data=form, headers=own)
        assert entered.status_code == httpx.codes.SEE_OTHER
        # plain http: a browser keeps it all the same for loopback, this client does not
        client.headers["cookie"] = entered.headers["set-cookie"].partition(";")[0]
        del client.headers["authorization"]
        address = stream_of(Document((await client.get("/portal/operations")).text))
        assert address.startswith("/portal/live?")
        async with client.stream("GET", address) as answer, proxied.client() as producer:
            assert answer.status_code == httpx.codes.OK
            async with aclosing(messages(answer)) as said:
                await Blackbox(producer).event("op_portal", "STARTED")
                async with asyncio.timeout(_SOON):
                    assert (await anext(said)).name == "changed"


async def test_numbers_are_for_who_runs_it(proxied: Proxied) -> None:
    async with proxied.client() as client:
        assert (await client.get("/metrics")).status_code == httpx.codes.NOT_FOUND
        assert (await client.get("/readyz")).status_code == httpx.codes.OK


async def test_a_ticket_is_not_logged(proxied: Proxied) -> None:
    async with proxied.client() as client:
        made = (await client.post("/v1/stream-tickets", json={})).json()
        path = f"/v1/events?ticket={made['ticket']}"
        del client.headers["authorization"]
        assert (await client.get(path)).status_code == httpx.codes.OK
        proxied.server.kill()
        assert (await client.get(path)).status_code == httpx.codes.BAD_GATEWAY
        proxied.server.start()

    assert made["ticket"] not in proxied.logs


async def test_caddy_stops_although_somebody_follows(tmp_path: Path) -> None:
    """Without a limit it waits for whoever is still connected."""
    if shutil.which("caddy") is None:
        pytest.skip("caddy is not installed")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with Server(tmp_path / "behind") as server:
        command = caddy(tmp_path, port, server.url)
        conf = tmp_path / "Caddyfile"
        assert "grace_period 10s" in conf.read_text()
        conf.write_text(conf.read_text().replace("grace_period 10s", "grace_period 1s"))
        with running(command, tmp_path, url) as process:
            async with Proxied(server, url, tmp_path).client() as client:
                await client.post("/v1/events", json={"operationId": "o", "type": "STARTED"})
                async with client.stream("GET", "/v1/operations/o/stream") as stream:
                    assert stream.status_code == httpx.codes.OK
                    process.terminate()
                    assert await asyncio.to_thread(process.wait, 10) == 0
