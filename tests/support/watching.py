"""Clients that follow a log: by Server-Sent Events, WebSocket, long poll and the feed.

Each gives events as (place, bytes) from a place on, and may be left at any moment.
"""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedOK

#: Seconds that a long poll of a test waits.
WAIT = 5
#: Seconds without a byte of a stream after which a test gives up.
SILENCE = 30.0


@dataclass(frozen=True)
class Seen:
    """One event as it came: how to resume behind it, and the JSON text."""

    place: str
    name: str
    text: bytes

    @property
    def id(self) -> str:
        return str(json.loads(self.text)["id"])

    @property
    def sequence(self) -> int:
        return int(json.loads(self.text)["sequence"])


async def messages(answer: httpx.Response) -> AsyncGenerator[Seen]:
    """Server-Sent Events as WHATWG HTML, 9.2.6, reads them, comments and retries read over."""
    fields: dict[str, list[str]] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, text = line.partition(":")
            fields.setdefault(name, []).append(text.removeprefix(" "))
            continue
        if "data" in fields:
            data = "\n".join(fields["data"]).encode()
            yield Seen(fields.get("id", [""])[-1], fields.get("event", ["message"])[-1], data)
        fields = {}


async def by_sse(client: httpx.AsyncClient, path: str, after: str) -> AsyncGenerator[Seen]:
    """Events of a stream, to its end; nothing when there is nothing left to come (204)."""
    headers = {"last-event-id": after} if after else {}
    async with client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code in (200, 204), answer.status_code
        async with aclosing(messages(answer)) as found:
            async for message in found:
                yield message


async def by_socket(client: httpx.AsyncClient, path: str, after: str) -> AsyncGenerator[Seen]:
    """Events of a WebSocket, to its end."""
    query = {"after": after} if after else {}
    url = client.base_url.copy_with(scheme="ws", path=path, params=query)
    key = {"authorization": client.headers["authorization"]}
    async with connect(str(url), additional_headers=key, open_timeout=SILENCE) as socket:
        try:
            while True:
                text = await socket.recv()
                assert isinstance(text, str)
                yield Seen(str(json.loads(text)["sequence"]), "", text.encode())
        except ConnectionClosedOK:
            return
        finally:
            socket.transport.abort()  # who leaves early says no goodbye


async def by_long_poll(client: httpx.AsyncClient, path: str, after: str) -> AsyncGenerator[Seen]:
    """Events of a log, asked for again and again."""
    while True:
        query = {"after": after or "0", "wait": str(WAIT), "limit": "7"}
        answer = await client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        for event in answer.json()["data"]:
            after = str(event["sequence"])
            yield Seen(after, "", json.dumps(event).encode())


async def by_feed(client: httpx.AsyncClient, path: str, after: str) -> AsyncGenerator[Seen]:
    """Events of the feed; the place is the cursor, which a page has one of."""
    while True:
        query = {"wait": str(WAIT), "limit": "20", **({"after": after} if after else {})}
        answer = await client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        before, after = after, page["pagination"]["nextCursor"]
        for number, event in enumerate(page["data"], 1):
            place = after if number == len(page["data"]) else before
            yield Seen(place, "", json.dumps(event).encode())


Way = Callable[[httpx.AsyncClient, str, str], AsyncGenerator[Seen]]
