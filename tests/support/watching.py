"""Clients that follow a log: by Server-Sent Events, WebSocket, long poll and the feed.

Each gives events as (place, bytes) from a place on, and may be left at any moment.
"""

import asyncio
import json
import re
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
    fields: dict[bytes, list[bytes]] = {}
    async for line in lines(answer):
        if line:
            name, _, text = line.partition(b":")
            fields.setdefault(name, []).append(text.removeprefix(b" "))
            continue
        if b"data" in fields:
            place, kind = (fields.get(each, [b""])[-1].decode() for each in (b"id", b"event"))
            yield Seen(place, kind or "message", b"\n".join(fields[b"data"]))
        fields = {}


async def lines(answer: httpx.Response) -> AsyncGenerator[bytes]:
    """Lines as an event stream has them; ``aiter_lines`` also parts at U+2028 and its like."""
    rest = b""
    async for chunk in answer.aiter_bytes():
        *found, rest = (rest + chunk).split(b"\n")
        for line in found:
            yield line.removesuffix(b"\r")


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
    url = socket_url(client.base_url, f"{path}?after={after}")
    key = {"authorization": client.headers["authorization"]}
    async with connect(url, additional_headers=key, open_timeout=SILENCE) as socket:
        try:
            while True:
                text = await socket.recv()
                assert isinstance(text, str)
                yield Seen(str(json.loads(text)["sequence"]), "", text.encode())
        except ConnectionClosedOK:
            return
        finally:
            socket.transport.abort()  # who leaves early says no goodbye


def socket_url(base: httpx.URL, path: str) -> str:
    """The URL of a WebSocket of the service at ``base``."""
    return f"ws://{base.netloc.decode()}{path}"


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
        # params= would take the place of the filters that the path has
        answer = await client.get(httpx.URL(path).copy_merge_params(query))
        assert answer.status_code == 200, answer.text
        page = answer.json()
        before, after = after, page["pagination"]["nextCursor"]
        for number, event in enumerate(page["data"], 1):
            place = after if number == len(page["data"]) else before
            yield Seen(place, "", json.dumps(event).encode())


Way = Callable[[httpx.AsyncClient, str, str], AsyncGenerator[Seen]]


async def followed_by(client: httpx.AsyncClient, count: int) -> None:
    """Wait until just so many streams, WebSockets and long polls are under way."""
    async with asyncio.timeout(SILENCE):
        while True:
            metrics = (await client.get("/metrics")).text
            found = re.search(r"^ringback_followers ([0-9.e+]+)$", metrics, re.MULTILINE)
            if found is not None and float(found[1]) == count:
                return
            await asyncio.sleep(0.01)
