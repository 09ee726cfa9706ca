"""Keys and tenants over real sockets: what is followed, what ends, what a restart keeps."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.blackbox import Blackbox, received
from tests.support.receiver import Receiver
from tests.support.server import Server
from tests.support.watching import SILENCE, by_feed, by_sse, messages
from tests.system.conftest import StartServer

pytestmark = pytest.mark.anyio

SCOPES = ["events:write", "operations:read", "subscriptions:write", "deliveries:read"]


async def tenant(api: Blackbox) -> tuple[str, str]:
    """A new tenant's id, and a key of its own."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    await api.post("/v1/tenants", {"id": name, "name": name}, 201)
    new = {"tenantId": name, "name": "all", "scopes": SCOPES}
    return name, (await api.post("/v1/api-keys", new, 201))["key"]


def client(server: Server, key: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=server.url, headers=headers, timeout=20.0)


@pytest.fixture
async def two(api: Blackbox, server: Server) -> AsyncIterator[list[Blackbox]]:
    """A client of each of two tenants."""
    made = [await tenant(api) for _ in range(2)]
    async with client(server, made[0][1]) as one, client(server, made[1][1]) as other:
        yield [Blackbox(one), Blackbox(other)]
    for name, _ in made:
        assert (await api.http.delete(f"/v1/tenants/{name}")).status_code == 204


async def test_tenants_follow_their_own_feed_only(two: list[Blackbox], receiver: Receiver) -> None:
    mine, theirs = two
    for box in two:  # the same names in both
        await box.event("op", "STARTED", id="first")
        await box.subscribe(receiver.url("/mine" if box is mine else "/theirs"))
    await theirs.event("op", "theirs", id="second")
    await theirs.event("theirs-only", "theirs", id="third")
    await mine.event("op", "mine", id="fourth")

    for ways in (by_sse(mine.http, "/v1/events/stream", ""), by_feed(mine.http, "/v1/events", "")):
        async with asyncio.timeout(SILENCE), aclosing(ways) as seen:
            assert [(await anext(seen)).id for _ in range(2)] == ["first", "fourth"]
    async with mine.http.stream("GET", "/v1/operations/op/stream") as answer:
        found = aclosing(messages(answer))
        async with asyncio.timeout(SILENCE), found as seen:
            assert [(await anext(seen)).id for _ in range(2)] == ["first", "fourth"]
    assert (await mine.http.get("/v1/operations/theirs-only/stream")).status_code == 404
    await received(receiver, "/theirs", 2)
    assert [r.headers["webhook-id"] for r in await received(receiver, "/mine", 1)] == ["fourth"]


async def test_a_handshake_for_another_tenants_operation_is_refused(
    two: list[Blackbox], server: Server
) -> None:
    mine, theirs = two
    await theirs.event("theirs", "STARTED")
    url = f"{server.url.replace('http', 'ws')}/v1/operations/theirs/status"
    statuses = []
    for box in (mine, theirs):
        key = {"authorization": box.http.headers["authorization"]}
        try:
            async with connect(url, additional_headers=key) as socket:
                await socket.recv()
                statuses.append(101)
        except InvalidStatus as refused:
            statuses.append(refused.response.status_code)
    assert statuses == [404, 101]


async def test_what_a_revoked_key_opened_ends(api: Blackbox, server: Server) -> None:
    name = f"op-{uuid.uuid4().hex}"
    await api.event(name, "STARTED")
    new = {"tenantId": "default", "name": "brief", "scopes": ["operations:read"]}
    key = await api.post("/v1/api-keys", new, 201)
    headers = {"authorization": f"Bearer {key['key']}"}
    url = f"{server.url.replace('http', 'ws')}/v1/operations/{name}/status"

    async with (
        client(server, key["key"]) as http,
        http.stream("GET", f"/v1/operations/{name}/stream") as stream,
        connect(url, additional_headers=headers) as socket,
    ):
        lines = stream.aiter_lines()
        async with asyncio.timeout(SILENCE):
            while not (await anext(lines)).startswith("data:"):
                pass
            await socket.recv()
            assert (await api.http.delete(f"/v1/api-keys/{key['id']}")).status_code == 204
            assert (await http.get(f"/v1/operations/{name}")).status_code == 401
            async for _ in lines:
                pass
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


async def test_a_restart_keeps_keys_revocations_and_last_uses(start_server: StartServer) -> None:
    server = start_server()
    async with server.client() as http:
        api = Blackbox(http)
        name, text = await tenant(api)
        used = (await api.get("/v1/api-keys", tenantId=name))["data"][0]
        async with client(server, text) as own:
            await Blackbox(own).event("op", "STARTED")
        new = {"tenantId": name, "name": "dead", "scopes": ["events:write"]}
        dead = await api.post("/v1/api-keys", new, 201)
        await http.delete(f"/v1/api-keys/{dead['id']}")
        path = f"/v1/api-keys/{used['id']}"
        noted = await api.until(path, lambda key: "lastUsedAt" in key)
        server.kill()
    server.start()
    async with server.client() as http, client(server, text) as own:
        assert (await Blackbox(http).get(path))["lastUsedAt"] == noted["lastUsedAt"]
        assert (await own.get("/v1/operations/op")).status_code == 200
        headers = {"authorization": f"Bearer {dead['key']}"}
        assert (await http.get("/v1/operations", headers=headers)).status_code == 401
    for kept in (server.output, server.database.read_bytes().decode("latin-1")):
        assert text not in kept
        assert dead["key"] not in kept


async def test_a_rate_limit_holds_for_each_key(start_server: StartServer) -> None:
    server = start_server({"RINGBACK_RATE_LIMIT": "0.01"})
    async with server.client() as http:
        answers = [await http.get("/v1/operations") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 429]
    for answer in answers:
        assert answer.headers["ratelimit-policy"] == '"key";q=1;w=100'
        assert answer.headers["ratelimit"].startswith('"key";r=0;t=')
    assert 0 < int(answers[1].headers["retry-after"]) <= 100
    assert answers[1].json()["type"].endswith("/problems/too-many-requests")


async def test_a_tenant_is_deleted_while_it_works(
    api: Blackbox, server: Server, receiver: Receiver
) -> None:
    name, text = await tenant(api)
    async with client(server, text) as http:
        own = Blackbox(http)
        await own.subscribe(receiver.url("/doomed"))
        statuses: set[int] = set()

        async def produce() -> None:
            number = 0
            while 401 not in statuses:
                number += 1
                body: dict[str, Any] = {"operationId": f"op-{number}", "type": "STARTED"}
                statuses.add((await http.post("/v1/events", json=body)).status_code)

        async with asyncio.timeout(SILENCE):
            producing = asyncio.create_task(produce())
            await received(receiver, "/doomed", 20)
            assert (await api.http.delete(f"/v1/tenants/{name}")).status_code == 204
            await producing
    assert statuses == {202, 401}
    count = len(receiver.requests)
    await api.until("/v1/tenants", lambda page: name not in {each["id"] for each in page["data"]})
    again = await api.http.post("/v1/tenants", json={"id": name, "name": name})
    assert again.status_code == 409
    assert len(receiver.requests) - count < 50  # what was in flight
