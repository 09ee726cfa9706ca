"""The tenant's feed from outside: nothing ever appears behind a cursor that was handed out."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest

from tests.support.blackbox import Blackbox, blackbox
from tests.support.watching import by_sse, followed_by
from tests.system.conftest import StartServer

pytestmark = pytest.mark.anyio

PRODUCERS, EVENTS = 8, 50
ALL = PRODUCERS * EVENTS


async def produce(api: Blackbox, name: str, kind: str) -> None:
    """Events one by one and in batches, so that transactions of all sizes overlap."""
    sent = 0
    while sent < EVENTS:
        count = min(1 + sent % 5, EVENTS - sent)
        event = {"operationId": name, "operationType": kind, "type": f"step.{sent % 2}"}
        await api.post("/v1/events", [event] * count)
        sent += count


async def pulled(api: Blackbox, limit: int, **filters: str) -> list[tuple[str, int]]:
    """Every event, page after page, as soon as there is one."""
    found: list[Any] = []
    cursor: dict[str, str] = {}
    while len(found) < ALL:
        page = await api.get("/v1/events", limit=limit, wait=10, **filters, **cursor)
        assert len(page["data"]) <= limit
        found += page["data"]
        cursor = {"after": page["pagination"]["nextCursor"]}
    return named(found)


async def streamed(api: Blackbox, cut: int) -> list[str]:
    """The ids of every event by the stream, which is left and taken up again every so often."""
    found: list[str] = []
    place = ""
    while len(found) < ALL:
        async with aclosing(by_sse(api.http, "/v1/events/stream", place)) as coming:
            async for each in coming:
                found.append(each.id)
                place = each.place
                if len(found) % cut == 0 or len(found) == ALL:
                    break
    return found


def named(events: Sequence[Any]) -> list[tuple[str, int]]:
    return [(event["id"], event["sequence"]) for event in events]


async def test_nothing_appears_behind_a_cursor_while_eight_produce(
    start_server: StartServer,
) -> None:
    async with blackbox(start_server()) as api:
        async with asyncio.timeout(50), asyncio.TaskGroup() as group:
            pulls = [group.create_task(pulled(api, limit)) for limit in (1, 3, 50, 200)]
            streams = [group.create_task(streamed(api, cut)) for cut in (7, 1000)]
            for number in range(PRODUCERS):
                group.create_task(produce(api, f"op-{number}", f"kind-{number}"))

        # what was read while it grew is what stands there now: in the same order, without holes
        final = await pulled(api, 200)
        for pull in pulls:
            assert pull.result() == final
        for stream in streams:
            assert stream.result() == [name for name, _ in final]
        for number in range(PRODUCERS):
            log = named(await api.all(f"/v1/operations/op-{number}/events"))
            assert len(log) == EVENTS
            assert [pair for pair in final if pair in set(log)] == log


async def test_there_is_always_a_cursor_to_go_on_from(start_server: StartServer) -> None:
    async with blackbox(start_server()) as api:
        nothing = await api.get("/v1/events")
        assert nothing["data"] == []
        end = nothing["pagination"]["nextCursor"]
        assert await api.get("/v1/events", after=end) == nothing
        await api.event("op-1", "STARTED")
        first = await api.get("/v1/events", after=end)
        assert [event["type"] for event in first["data"]] == ["STARTED"]
        rest = await api.get("/v1/events", after=first["pagination"]["nextCursor"])
        assert rest["data"] == []
        assert rest["pagination"]["nextCursor"]


async def test_filters_take_patterns(api: Blackbox, kind: str) -> None:
    for number, each in enumerate(("sales.eu", "sales.us", "tax")):
        for event in ("STARTED", "payment.taken", "COMPLETED"):
            await api.event(f"{kind}-{number}", event, operationType=f"{kind}.{each}")

    async def found(**filters: str) -> list[str]:
        events, _ = await api.feed(**{"operationType": f"{kind}.*", **filters})
        return [f"{event['operationId'][-1]} {event['type']}" for event in events]

    assert len(await found()) == 9
    assert await found(types="COMPLETED") == ["0 COMPLETED", "1 COMPLETED", "2 COMPLETED"]
    sales = await found(operationType=f"{kind}.sales.*", types="payment.*,STARTED")
    assert sales == ["0 STARTED", "0 payment.taken", "1 STARTED", "1 payment.taken"]
    assert await found(types="none.*") == []


async def test_a_wait_is_for_what_is_wanted(api: Blackbox, kind: str) -> None:
    await api.event(kind, "STARTED", operationType=kind)
    await followed_by(api.http, 0)
    path = f"/v1/events?operationType={kind}&types=COMPLETED"
    _, end = await api.feed(operationType=kind, types="COMPLETED")
    waiting = asyncio.create_task(api.get(f"{path}&wait=30&after={end}"))
    await followed_by(api.http, 1)
    await api.event(f"{kind}-2", "COMPLETED")
    await api.event(kind, "STATUS_UPDATE")
    last = await api.event(kind, "COMPLETED")
    async with asyncio.timeout(10):
        page = await waiting
    assert [event["id"] for event in page["data"]] == [last["id"]]


async def test_the_stream_resumes_by_id(api: Blackbox, kind: str) -> None:
    posted = [(await api.event(kind, "step", operationType=kind))["id"] for _ in range(5)]
    path = f"/v1/events/stream?operationType={kind}"
    place, seen = "", []
    for name in posted:
        async with asyncio.timeout(20), aclosing(by_sse(api.http, path, place)) as coming:
            message = await anext(coming)
        seen.append((message.id, message.name))
        # an id is a cursor, to the stream and to the pull
        page = await api.get("/v1/events", after=message.place, operationType=kind)
        assert [each["id"] for each in page["data"]] == posted[posted.index(name) + 1 :]
        place = message.place
    assert seen == [(name, "event") for name in posted]
