"""Whichever way one follows, and however often one is cut off, one sees the same events."""

import asyncio
import json
import random
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.support.blackbox import Blackbox
from tests.support.receiver import Receiver
from tests.support.server import Server
from tests.support.watching import Seen, Way, by_feed, by_long_poll, by_socket, by_sse

pytestmark = pytest.mark.anyio

SEED = 20
OPERATIONS = 20
EVENTS = 50
ENDS = ("COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED")


@dataclass
class Watcher:
    """Follows, is cut off after a few events, comes again from what it has seen last."""

    client: httpx.AsyncClient
    way: Way
    path: str
    chance: random.Random
    is_done: Callable[[list[Seen]], bool]
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0

    async def run(self) -> None:
        await asyncio.sleep(self.chance.random())
        ids: set[str] = set()
        place = ""
        while not self.is_done(self.seen):
            self.connections += 1
            left = self.chance.randint(1, 60)
            async with aclosing(self.way(self.client, self.path, place)) as coming:
                async for each in coming:
                    place = each.place
                    if each.id not in ids:
                        ids.add(each.id)
                        self.seen.append(each)
                    left -= 1
                    if left <= 0 or self.is_done(self.seen):
                        break

    @property
    def what(self) -> list[tuple[str, int]]:
        return [(each.id, each.sequence) for each in self.seen]


def names(kind: str) -> list[str]:
    return [f"{kind}-{number}" for number in range(OPERATIONS)]


async def produce(api: Blackbox, operation: str, kind: str, chance: random.Random) -> None:
    """Fifty events, one after the other or a few at a time, the last one an end."""
    types = ["STARTED", *("STATUS_UPDATE", "page.rendered") * 24, chance.choice(ENDS)]
    assert len(types) == EVENTS
    while types:
        count = chance.randint(1, 4)
        some, types = types[:count], types[count:]
        body = [
            {"operationId": operation, "operationType": kind, "type": each, "data": [1, each]}
            for each in some
        ]
        await api.post("/v1/events", body)
        await asyncio.sleep(chance.random() / 50)


def is_over(seen: list[Seen]) -> bool:
    return bool(seen) and json.loads(seen[-1].text)["type"] in ENDS


def has_all(seen: list[Seen]) -> bool:
    return len(seen) == OPERATIONS * EVENTS


def crowd(client: httpx.AsyncClient, kind: str) -> dict[str, list[Watcher]]:
    """A hundred watchers: four of each operation, and twenty of the feed."""

    def made(way: Way, path: str, number: int, is_done: Callable[[list[Seen]], bool]) -> Watcher:
        return Watcher(client, way, path, random.Random(SEED + number), is_done)  # noqa: S311  no secret

    one = {
        "sse": (by_sse, "/v1/operations/{}/stream"),
        "sse again": (by_sse, "/v1/operations/{}/stream"),
        "socket": (by_socket, "/v1/operations/{}/status"),
        "long poll": (by_long_poll, "/v1/operations/{}/events"),
    }
    watchers = {
        label: [
            made(way, path.format(name), place * OPERATIONS + number, is_over)
            for number, name in enumerate(names(kind))
        ]
        for place, (label, (way, path)) in enumerate(one.items())
    }
    feed = f"?operationType={kind}"
    for label, way, path in (("feed", by_feed, ""), ("feed stream", by_sse, "/stream")):
        watchers[label] = [
            made(way, f"/v1/events{path}{feed}", 100 + n, has_all) for n in range(10)
        ]
    return watchers


async def test_every_way_shows_the_same_events(
    server: Server, api: Blackbox, receiver: Receiver, kind: str
) -> None:
    await api.subscribe(receiver.url("/all"), operationTypes=[kind])
    for name in names(kind):
        await api.post("/v1/operations", {"operationId": name, "type": kind})
    chance = random.Random(SEED)  # noqa: S311  no secret
    async with (
        server.client(limits=httpx.Limits()) as client,
        asyncio.timeout(100),
        asyncio.TaskGroup() as group,
    ):
        watchers = crowd(client, kind)
        for each in (watcher for some in watchers.values() for watcher in some):
            group.create_task(each.run())
        for name in names(kind):
            group.create_task(produce(api, name, kind, random.Random(chance.random())))  # noqa: S311  no secret

    logs = {name: await log_of(api, name) for name in names(kind)}
    for log in logs.values():
        assert [sequence for _, sequence in log] == list(range(1, EVENTS + 1))
    for label in ("sse", "sse again", "socket", "long poll"):
        assert [watcher.what for watcher in watchers[label]] == list(logs.values()), label
    for label in ("feed", "feed stream"):
        first, *others = [watcher.what for watcher in watchers[label]]
        assert all(other == first for other in others)
        assert per_operation(watchers[label][0].seen) == logs
    assert sum(each.connections for some in watchers.values() for each in some) > 300
    assert await webhooks(receiver) == {pair for log in logs.values() for pair in log}


async def log_of(api: Blackbox, name: str) -> list[tuple[str, int]]:
    log = await api.all(f"/v1/operations/{name}/events")
    return [(event["id"], event["sequence"]) for event in log]


def per_operation(seen: list[Seen]) -> dict[str, list[tuple[str, int]]]:
    found: dict[str, list[tuple[str, int]]] = {}
    for each in seen:
        found.setdefault(json.loads(each.text)["operationId"], []).append((each.id, each.sequence))
    return dict(sorted(found.items(), key=lambda item: int(item[0].rsplit("-", 1)[1])))


async def webhooks(receiver: Receiver) -> set[tuple[str, int]]:
    """What was delivered, once all is."""

    def delivered() -> set[tuple[str, int]]:
        events: list[Any] = [json.loads(request.body) for request in receiver.requests]
        return {(event["id"], event["sequence"]) for event in events}

    async with asyncio.timeout(20):
        while len(delivered()) < OPERATIONS * EVENTS:  # noqa: ASYNC110  the receiver counts
            await asyncio.sleep(0.05)
    return delivered()
