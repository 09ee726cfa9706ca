"""Pages are live: a stream says that one shows other things than before, to who may look at it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, Final

import httpx
import pytest

from service.console.looking import MOST_OF_A_SESSION
from tests.console.test_portal_browser import link
from tests.support.console import OWN, Document, Visitor
from tests.support.receiver import Receiver, Reply
from tests.support.server import LOCAL, Server
from tests.support.watching import Seen, followed_by, messages

pytestmark = pytest.mark.anyio

#: Seconds within which a change is told: looks are 2 s apart, and machines may be busy.
SOON: Final = 10.0
#: Seconds of a few looks.
QUIET: Final = 7.0


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("live")
    with Server(folder, {**LOCAL, "RINGBACK_RETRY_SCHEDULE": "0"}) as server:
        yield server


@asynccontextmanager
async def somebody(server: Server, key: str = "") -> AsyncIterator[Visitor]:
    """Somebody with a browser, signed in with a key if there is one."""
    async with httpx.AsyncClient(base_url=server.url, timeout=30.0) as client:
        visitor = Visitor(client)
        if key:
            own = {**OWN, "origin": server.url}
            answer = await client.post("/console/sign-in", data={"key": key}, headers=own)
            assert answer.status_code == httpx.codes.SEE_OTHER
        yield visitor


def stream_of(page: Document) -> str:
    """Where a page listens."""
    (live,) = [had for _, had in page.tags if had.get("id") == "live"]
    return str(live["data-stream"])


@asynccontextmanager
async def listening(visitor: Visitor, path: str) -> AsyncIterator[AsyncGenerator[Seen]]:
    """What the stream of a page says, which was loaded just now."""
    address = stream_of(await visitor.get(path))
    async with visitor.client.stream("GET", address) as answer:
        assert answer.status_code == httpx.codes.OK
        assert answer.headers["content-type"].startswith("text/event-stream")
        async with aclosing(messages(answer)) as said:
            yield said


async def told(said: AsyncGenerator[Seen]) -> str:
    """What is said next."""
    async with asyncio.timeout(SOON):
        return (await anext(said)).name


async def is_quiet(said: AsyncGenerator[Seen]) -> bool:
    """Whether nothing is said for a few looks; nothing can be heard after that."""
    try:
        async with asyncio.timeout(QUIET):
            await anext(said)
    except TimeoutError:
        return True
    return False


async def send(server: Server, kind: str, tenant: str = "default") -> None:
    async with server.client() as client:
        event = {"operationId": kind, "type": kind}
        headers = {"ringback-tenant": tenant}
        assert (await client.post("/v1/events", json=event, headers=headers)).is_success


async def subscribed(
    server: Server, url: str, tenant: str = "default", **more: object
) -> dict[str, Any]:
    async with server.client() as client:
        headers = {"ringback-tenant": tenant}
        answer = await client.post("/v1/subscriptions", json={"url": url, **more}, headers=headers)
        made: dict[str, Any] = answer.json()
        return made


async def key_for(server: Server, *scopes: str, tenant: str = "default") -> dict[str, Any]:
    async with server.client() as client:
        body = {"tenantId": tenant, "name": "people", "scopes": scopes}
        made: dict[str, Any] = (await client.post("/v1/api-keys", json=body)).json()
        return made


async def settled(server: Server, status: str) -> None:
    """Wait until a delivery has this status."""
    async with server.client() as client, asyncio.timeout(SOON):
        while not (await client.get(f"/v1/deliveries?status={status}")).json()["data"]:  # noqa: ASYNC110  another process settles it
            await asyncio.sleep(0.05)


async def test_a_delivery_is_told_and_then_nothing_while_nothing_changes(
    server: Server, receiver: Receiver
) -> None:
    await subscribed(server, receiver.url("/hook"))
    async with somebody(server, server.admin_key) as visitor:
        async with listening(visitor, "/console/deliveries?live=true") as said:
            await send(server, "first")
            assert await told(said) == "changed"
        await settled(server, "delivered")
        # its age is on the page, and grows
        async with listening(visitor, "/console/deliveries?live=true") as said:
            assert await is_quiet(said)


@pytest.mark.parametrize("path", ["/dead-letters", ""])
async def test_a_dead_letter_is_told(server: Server, receiver: Receiver, path: str) -> None:
    receiver.script = lambda _: Reply(500)
    await subscribed(server, receiver.url("/hook"))
    async with (
        somebody(server, server.admin_key) as visitor,
        listening(visitor, f"/console{path}") as said,
    ):
        await send(server, "dies")
        assert await told(said) == "changed"
        await settled(server, "dead")


async def test_nothing_is_told_of_pages_on_which_nothing_changes(server: Server) -> None:
    async def look(path: str) -> tuple[str, bool]:
        async with (
            somebody(server, server.admin_key) as visitor,
            listening(visitor, f"/console{path}") as said,
        ):
            return path, await is_quiet(said)

    paths = ("/dead-letters", "/system", "/operations")
    assert dict(await asyncio.gather(*map(look, paths))) == dict.fromkeys(paths, True)


async def test_what_changed_before_the_stream_was_opened_is_told(server: Server) -> None:
    async with somebody(server, server.admin_key) as visitor:
        address = stream_of(await visitor.get("/console/operations"))
        await send(server, "between")
        async with (
            visitor.client.stream("GET", address) as answer,
            aclosing(messages(answer)) as said,
        ):
            assert await told(said) == "changed"


async def test_a_revoked_key_ends_what_it_listens_to(server: Server) -> None:
    made = await key_for(server, "operations:read")
    async with (
        somebody(server, made["key"]) as visitor,
        listening(visitor, "/console/operations") as said,
    ):
        async with server.client() as client:
            assert (await client.delete(f"/v1/api-keys/{made['id']}")).is_success
        assert await told(said) == "ended"
        with pytest.raises(StopAsyncIteration):
            await told(said)


async def sign_out(server: Server, visitor: Visitor, root: str) -> None:
    token = (await visitor.get(root)).token
    own = {**OWN, "origin": server.url}
    answer = await visitor.client.post(f"{root}/sign-out", data={"token": token}, headers=own)
    assert answer.status_code == httpx.codes.SEE_OTHER


async def test_who_signs_out_is_told_nothing_more(server: Server) -> None:
    await send(server, "STARTED")
    async with (
        somebody(server, server.admin_key) as visitor,
        listening(visitor, "/console/operations") as page,
        listening(visitor, "/console/operations/STARTED") as operation,
        somebody(server, server.admin_key) as other,
        listening(other, "/console/operations") as theirs,
    ):
        await sign_out(server, visitor, "/console")
        assert await told(page) == "ended"
        for said in (page, operation):
            with pytest.raises(StopAsyncIteration):
                await told(said)
        await send(server, "more")
        assert await told(theirs) == "changed"


async def test_who_signs_out_of_the_portal_is_told_nothing_more(server: Server) -> None:
    own = {**OWN, "origin": server.url}
    async with somebody(server) as guest:
        form = {"link": (await link(server)).partition("#")[2]}
        answer = await guest.client.post("/portal/enter", data=form, headers=own)
        guest.client.headers["cookie"] = answer.headers["set-cookie"].partition(";")[0]
        async with listening(guest, "/portal/dead-letters") as said:
            await sign_out(server, guest, "/portal")
            assert await told(said) == "ended"


async def test_who_listens_to_pages_is_counted(server: Server) -> None:
    async with (
        server.client() as client,
        somebody(server, server.admin_key) as visitor,
        listening(visitor, "/console/operations"),
        listening(visitor, "/console"),
    ):
        await followed_by(client, 2)
        assert (await visitor.get("/console/system")).says("was read: 2, of 1,000 at most")
    async with server.client() as client:
        await followed_by(client, 0)


async def test_a_page_that_will_change_no_more_ends_its_stream(
    server: Server, receiver: Receiver
) -> None:
    made = await subscribed(server, receiver.url("/hook"))
    async with server.client() as client:
        await client.post(f"/v1/subscriptions/{made['id']}/pause")
        await send(server, "waits")
        (one,) = (await client.get("/v1/deliveries")).json()["data"]
        async with somebody(server, server.admin_key) as visitor:
            path = f"/console/deliveries/{one['id']}"
            address = stream_of(await visitor.get(path))
            async with listening(visitor, path) as said:
                await client.post(f"/v1/subscriptions/{made['id']}/resume")
                while (name := await told(said)) != "ended":
                    assert name == "changed"
            # 204 keeps a browser from coming again
            assert (await visitor.client.get(address)).status_code == httpx.codes.NO_CONTENT


async def test_only_who_may_look_may_listen(server: Server, receiver: Receiver) -> None:
    async with server.client() as client:
        await client.post("/v1/tenants", json={"id": "other", "name": "Other"})
    theirs = await subscribed(server, receiver.url("/theirs"), "other")
    made = await key_for(server, "subscriptions:read")
    own = await subscribed(server, receiver.url("/own"))
    async with somebody(server, made["key"]) as visitor, somebody(server) as stranger:
        address = stream_of(await visitor.get(f"/console/subscriptions/{own['id']}"))
        foreign = address.replace(own["id"], theirs["id"])
        for who, where, status in (
            (visitor, foreign, 404),
            (visitor, "/console/live?page=%2Fconsole%2Fsystem", 403),
            (visitor, "/console/live?page=%2Fconsole%2Flive", 404),
            (visitor, "/console/live?page=%2Fv1%2Fstats", 404),
            (visitor, "/console/live?page=%2F%2Felsewhere%2Fconsole", 404),
            (visitor, "/console/live?page=%5B%00%C3%A9%3F%00", 404),
            (visitor, "/console/live?page=%2Fconsole%2Foperations%2Fx%2Fstream", 403),
            (visitor, "/console/live", 404),
            (visitor, f"{address}&more=1", 422),
            (stranger, address, 401),
            (stranger, "/portal/live?page=%2Fportal", 401),
        ):
            answer = await who.client.get(where)
            assert answer.status_code == status, (where, answer.status_code)
            assert "text/event-stream" not in answer.headers.get("content-type", "")
        assert (await visitor.client.post(address)).status_code in (403, 404)
        assert (await visitor.client.head(address)).content == b""


async def test_who_has_one_subscription_in_the_portal_listens_to_that_alone(
    server: Server, receiver: Receiver
) -> None:
    mine = await subscribed(server, receiver.url("/mine"), eventTypes=["mine"])
    theirs = await subscribed(server, receiver.url("/theirs"), eventTypes=["theirs"])
    own = {**OWN, "origin": server.url}
    async with somebody(server) as guest:
        url = await link(server, subscriptionId=mine["id"])
        form = {"link": url.partition("#")[2]}
        answer = await guest.client.post("/portal/enter", data=form, headers=own)
        # plain http: a browser keeps it all the same for loopback, this client does not
        guest.client.headers["cookie"] = answer.headers["set-cookie"].partition(";")[0]
        address = stream_of(await guest.get(f"/portal/subscriptions/{mine['id']}"))
        for where in (
            address.replace(mine["id"], theirs["id"]),
            "/portal/live?page=%2Fportal%2Foperations",
        ):
            assert (await guest.client.get(where)).status_code == httpx.codes.NOT_FOUND
        async with listening(guest, "/portal/deliveries?live=true") as said:
            await send(server, "theirs")
            assert await is_quiet(said)
        async with listening(guest, "/portal/deliveries?live=true") as said:
            await send(server, "mine")
            assert await told(said) == "changed"


async def test_one_session_has_so_many_streams_at_most(server: Server) -> None:
    async with somebody(server, server.admin_key) as visitor:
        address = stream_of(await visitor.get("/console/operations"))
        async with AsyncExitStack() as stack:
            for _ in range(MOST_OF_A_SESSION):
                answer = await stack.enter_async_context(visitor.client.stream("GET", address))
                assert answer.status_code == httpx.codes.OK
            refused = await visitor.client.get(address)
            assert refused.status_code == httpx.codes.TOO_MANY_REQUESTS
            assert Document(refused.text).says("as many")
        async with asyncio.timeout(SOON):  # those that were left are free again
            while not await opens(visitor, address):  # noqa: ASYNC110  another process notices
                await asyncio.sleep(0.1)


async def opens(visitor: Visitor, address: str) -> bool:
    async with visitor.client.stream("GET", address) as answer:
        return answer.status_code == httpx.codes.OK


async def test_a_service_that_stops_does_not_wait_for_who_listens(server: Server) -> None:
    async with (
        somebody(server, server.admin_key) as visitor,
        listening(visitor, "/console/system") as said,
    ):
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        with pytest.raises(StopAsyncIteration):
            await told(said)
        assert await stopping == 0
