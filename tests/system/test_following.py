"""Streams of an operation from outside: what they say, where they resume, how they end."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.blackbox import Blackbox, blackbox, problem
from tests.support.receiver import Receiver
from tests.support.server import Server
from tests.support.watching import (
    Seen,
    Way,
    by_long_poll,
    by_socket,
    by_sse,
    followed_by,
    messages,
    socket_url,
)
from tests.system.conftest import StartServer

pytestmark = pytest.mark.anyio

#: The name of the stream's message for each type of event.
NAMES = {
    "STARTED": "status-update",
    "STATUS_UPDATE": "status-update",
    "ProcessingStarted": "event",
    "payment.fraud_check.started": "event",
    "COMPLETED": "completed",
    "COMPLETED_WITH_ERRORS": "completed",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
}
ENDS = ("COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED")
#: What a parser would change, and line ends that are none in an event stream.
EXACT = (
    '{"price" : 1.10, "huge": 1e400, "exact":12345678901234567890.1234567, '
    '"name":"Grüße\N{LINE SEPARATOR}\N{NEXT LINE}緑"}'
)


def three_ways(name: str) -> list[tuple[Way, str]]:
    return [
        (by_sse, f"/v1/operations/{name}/stream"),
        (by_socket, f"/v1/operations/{name}/status"),
        (by_long_poll, f"/v1/operations/{name}/events"),
    ]


async def whole(api: Blackbox, way: Way, path: str, after: str = "") -> list[Seen]:
    """All there is to see, up to the end of the operation."""
    found = []
    async with asyncio.timeout(20), aclosing(way(api.http, path, after)) as coming:
        async for each in coming:
            found.append(each)
            if json.loads(each.text)["type"] in ENDS:
                break
    return found


async def post_operation(api: Blackbox, name: str, end: str = "COMPLETED") -> None:
    for kind in [each for each in NAMES if each not in ENDS] + [end]:
        await api.event(name, kind)


@pytest.mark.parametrize("end", ENDS)
async def test_messages_have_the_sequence_as_id_and_a_name(
    api: Blackbox, kind: str, end: str
) -> None:
    await post_operation(api, kind, end)
    found = await whole(api, by_sse, f"/v1/operations/{kind}/stream")

    assert [each.place for each in found] == ["1", "2", "3", "4", "5"]
    types = [json.loads(each.text)["type"] for each in found]
    assert [each.name for each in found] == [NAMES[each] for each in types]
    assert types[-1] == end


async def test_every_way_shows_the_same_bytes(api: Blackbox, receiver: Receiver, kind: str) -> None:
    await api.subscribe(receiver.url("/"), operationTypes=[kind])
    head = f'{{"operationId":"{kind}","operationType":"{kind}"'
    for text in (
        f'{head},"type":"STARTED","message":"a\N{LINE SEPARATOR}b"}}',
        f'{head},"type":"step","data":{EXACT}}}',
        f'{head},"type":"COMPLETED","result":{EXACT},"warnings":[{EXACT}]}}',
    ):
        await api.send("/v1/events", text.encode())

    requests = await receiver.wait_for(3)
    sent = {request.headers["x-operation-sequence"]: request.body for request in requests}
    wanted = [sent[number] for number in ("1", "2", "3")]
    assert EXACT.encode() in wanted[1]
    for way, path in three_ways(kind)[:2]:
        assert [each.text for each in await whole(api, way, path)] == wanted
    for path in (f"/v1/operations/{kind}/events", f"/v1/events?operationType={kind}"):
        log = (await api.http.get(path)).content
        assert log.startswith(b'{"data":[' + b",".join(wanted) + b"]")
    for event in wanted:
        one = await api.http.get(f"/v1/events/{json.loads(event)['id']}")
        assert one.content == event
    feed = await api.get("/v1/events", operationType=kind)
    assert [event["sequence"] for event in feed["data"]] == [1, 2, 3]


async def test_they_resume_behind_what_was_seen(api: Blackbox, kind: str) -> None:
    await post_operation(api, kind)
    for way, path in three_ways(kind):
        assert [each.sequence for each in await whole(api, way, path)] == [1, 2, 3, 4, 5]
        assert [each.sequence for each in await whole(api, way, path, "3")] == [4, 5]
    stream = f"/v1/operations/{kind}/stream"
    assert [each.sequence for each in await whole(api, by_sse, f"{stream}?after=3")] == [4, 5]
    # a browser that reconnects keeps the query it began with, and adds the header
    last = await whole(api, by_sse, f"{stream}?after=1", "4")
    assert [each.sequence for each in last] == [5]


async def test_events_come_as_they_are_posted(api: Blackbox, kind: str) -> None:
    """No event is lost between subscribing and the first event, nor between any two."""
    await api.post("/v1/operations", {"type": kind, "operationId": kind})
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        tasks = [group.create_task(whole(api, *each)) for each in three_ways(kind) * 3]
        await followed_by(api.http, 9)
        for number in range(30):
            await api.event(kind, "step", data=number)
        await api.event(kind, "COMPLETED")
    for task in tasks:
        assert [each.sequence for each in task.result()] == list(range(1, 32))


async def test_who_comes_in_the_middle_of_it_misses_nothing(api: Blackbox, kind: str) -> None:
    """Watchers subscribe at any moment of a burst: where the past ends, the present begins."""

    async def produce() -> None:
        for _ in range(60):
            await api.event(kind, "step")
        await api.event(kind, "COMPLETED")

    await api.event(kind, "STARTED")
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        producing = group.create_task(produce())
        tasks: list[asyncio.Task[list[Seen]]] = []
        while not producing.done() and len(tasks) < 45:
            tasks += [group.create_task(whole(api, *each)) for each in three_ways(kind)]
            await api.http.get("/livez")
    assert len(tasks) > 10
    for task in tasks:
        assert [each.sequence for each in task.result()] == list(range(1, 63))


async def test_a_stream_ends_after_the_end(api: Blackbox, kind: str) -> None:
    path = f"/v1/operations/{kind}/stream"
    await api.event(kind, "STARTED")
    async with asyncio.timeout(20), api.http.stream("GET", path) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        async with aclosing(messages(answer)) as coming:
            assert (await anext(coming)).sequence == 1
            await api.event(kind, "FAILED", error={"title": "No"})
            assert (await anext(coming)).name == "failed"
            with pytest.raises(StopAsyncIteration):
                await anext(coming)
    assert (await api.http.get(path, headers={"last-event-id": "2"})).status_code == 204


async def test_a_socket_closes_normally_after_the_end(
    server: Server, api: Blackbox, kind: str
) -> None:
    await api.event(kind, "STARTED")
    async with asyncio.timeout(20), opened(server, kind) as socket:
        assert json.loads(await socket.recv())["sequence"] == 1
        await api.event(kind, "COMPLETED")
        assert json.loads(await socket.recv())["type"] == "COMPLETED"
        assert await code_of(socket) == 1000
    # nothing is left to say: the same at once
    async with asyncio.timeout(20), opened(server, kind, "?after=2") as socket:
        assert await code_of(socket) == 1000


@asynccontextmanager
async def opened(server: Server, name: str, query: str = "") -> AsyncIterator[ClientConnection]:
    """A WebSocket, by the admin's key unless the query holds a ticket."""
    url = socket_url(httpx.URL(server.url), f"/v1/operations/{name}/status{query}")
    key = {} if "ticket=" in query else {"authorization": f"Bearer {server.admin_key}"}
    async with connect(url, additional_headers=key) as socket:
        yield socket


async def code_of(socket: ClientConnection) -> int | None:
    """Why the other side closes; it says nothing before."""
    with pytest.raises(ConnectionClosed) as closed:
        await socket.recv()
    return closed.value.rcvd.code if closed.value.rcvd else None


# --- tickets


async def ticket(api: Blackbox, **body: str) -> str:
    return str((await api.post("/v1/stream-tickets", body, 201))["ticket"])


async def test_a_ticket_opens_one_operation_as_often_as_it_takes(
    server: Server, api: Blackbox, kind: str
) -> None:
    await post_operation(api, kind)
    query = f"?ticket={await ticket(api, operationId=kind)}"
    async with httpx.AsyncClient(base_url=server.url) as nobody:
        for after in ("", "&after=2"):
            answer = await nobody.get(f"/v1/operations/{kind}/stream{query}{after}")
            assert answer.status_code == 200
            assert answer.text.count("\nid: ") == (5 if not after else 3)
            async with asyncio.timeout(20), opened(server, kind, query + after) as socket:
                assert json.loads(await socket.recv())["sequence"] == (1 if not after else 3)
        log = await nobody.get(f"/v1/operations/{kind}/events{query}")
        assert len(log.json()["data"]) == 5
        # with what was opened by it one can only read
        cancel = await nobody.post(f"/v1/operations/{kind}/cancel{query}")
        problem(cancel, 401, "unauthenticated")


async def test_a_ticket_opens_nothing_else_and_is_never_logged(
    server: Server, api: Blackbox, kind: str
) -> None:
    await api.event(kind, "STARTED")
    await api.event(f"{kind}-2", "STARTED")
    mine, feed = await ticket(api, operationId=kind), await ticket(api)
    async with httpx.AsyncClient(base_url=server.url) as nobody:
        for path, given in (
            (f"/v1/operations/{kind}-2/stream", mine),
            ("/v1/events", mine),
            ("/v1/events/stream", mine),
            (f"/v1/operations/{kind}/stream", feed),
            (f"/v1/operations/{kind}/events", feed),
        ):
            refused = await nobody.get(path, params={"ticket": given})
            said = problem(refused, 403, "forbidden")
            assert given not in json.dumps(said)
        for given in (mine, feed):
            with pytest.raises(InvalidStatus) as refusal:
                async with opened(server, f"{kind}-2", f"?ticket={given}"):
                    pass
            assert refusal.value.response.status_code == 403
        pulled = await nobody.get("/v1/events", params={"ticket": feed, "limit": "1"})
        assert len(pulled.json()["data"]) == 1
        assert feed not in pulled.headers["link"]
    assert mine not in server.output
    assert feed not in server.output


# --- the service stops


async def test_on_a_stop_everybody_is_told_to_come_again(start_server: StartServer) -> None:
    server = start_server()
    path = "/v1/operations/op-1"
    async with blackbox(server) as api, asyncio.timeout(30):
        await api.event("op-1", "STARTED")
        async with (
            opened(server, "op-1", "?after=1") as socket,
            api.http.stream("GET", f"{path}/stream") as stream,
            api.http.stream("GET", "/v1/events/stream") as feed,
            asyncio.TaskGroup() as group,
        ):
            polls = [
                group.create_task(api.http.get(path + rest))
                for rest in ("?wait=60", "/events?after=1&wait=60")
            ]
            await followed_by(api.http, 5)
            stopping = group.create_task(asyncio.to_thread(server.stop, signal.SIGTERM, 10))
            assert await code_of(socket) == 1012
            for answer in (stream, feed):
                text = (await answer.aread()).decode()  # to its proper end
                assert text.rpartition("data: ")[2].count("retry: ") == 1
            answers = [await poll for poll in polls]
            assert await stopping == 0
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[1].json()["data"] == []


async def test_after_a_crash_watchers_go_on_without_gap_or_doubling(
    start_server: StartServer,
) -> None:
    server, up = start_server(), asyncio.Event()
    up.set()
    async with server.client() as client, asyncio.timeout(100), asyncio.TaskGroup() as group:
        await post_safely(client, up, 1, "STARTED")
        tasks = [
            group.create_task(watch_through(client, up, *each)) for each in three_ways("op-1") * 3
        ]
        for number in range(2, 81):
            if number in (20, 50):
                group.create_task(crash(server, up))
            await post_safely(client, up, number, "step")
        await post_safely(client, up, 81, "COMPLETED")
    assert [task.result() for task in tasks] == [list(range(1, 82))] * 9
    assert len(server.start_seconds) == 3


async def crash(server: Server, up: asyncio.Event) -> None:
    up.clear()
    server.kill()
    await asyncio.to_thread(server.start)
    up.set()


async def watch_through(
    client: httpx.AsyncClient, up: asyncio.Event, way: Way, path: str
) -> list[int]:
    """The sequences as they came, over all connections."""
    seen: list[int] = []
    while True:
        await up.wait()
        try:
            async with aclosing(way(client, path, str(seen[-1]) if seen else "")) as coming:
                async for each in coming:
                    seen.append(each.sequence)
                    if json.loads(each.text)["type"] in ENDS:
                        return seen
        except (httpx.TransportError, ConnectionClosed, OSError):
            continue


async def post_safely(client: httpx.AsyncClient, up: asyncio.Event, number: int, kind: str) -> None:
    """Until it is accepted; its id keeps it from being taken twice."""
    while True:
        await up.wait()
        try:
            event = {"id": f"e-{number}", "type": kind}
            answer = await client.post("/v1/operations/op-1/events", json=event)
        except httpx.TransportError:
            continue
        assert answer.status_code == 202, answer.text
        assert answer.json()["data"][0]["sequence"] == number
        return
