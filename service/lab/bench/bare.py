"""The bare client: aiohttp posting the same bodies to the same receiver, and nothing else.

    python -m service.lab.bench.bare BOARD

It signs each request, as whoever sends webhooks has to, and sends the headers that deliveries
have. Nothing is stored, looked up or guarded: this is what the client library costs.
"""

import asyncio
import hashlib
import hmac
import time
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp

from service.lab.bench import stamps, tools
from service.lab.bench.board import Board

_SECRET: Final = b"a secret that everybody knows"


def headers_of(number: int, body: bytes) -> dict[str, str]:
    """The headers of a delivery."""
    moment = str(int(time.time()))
    signed = b64encode(hmac.digest(_SECRET, b"%d.%b" % (number, body), hashlib.sha256))
    return {
        "content-type": "application/json",
        "user-agent": "Ringback/bare",
        "webhook-id": f"evt_{number:024x}",
        "webhook-timestamp": moment,
        "webhook-signature": f"v1,{signed.decode()}",
        "x-webhook-signature": f"sha256={hmac.digest(_SECRET, body, hashlib.sha256).hex()}",
        "x-webhook-event": stamps.EVENT_TYPE,
        "x-operation-id": f"op_{number:024x}",
        "x-operation-sequence": "1",
        "x-webhook-delivery": f"dlv_{number:024x}",
        "x-webhook-attempt": "1",
        "accept-encoding": "identity",
    }


class Client:
    """The tool."""

    def __init__(self) -> None:
        self._running = False
        self._tasks: list[asyncio.Task[None]] = []

    def skills(self) -> tools.Skills:
        """What it can do."""
        return {"start": self.start, "stop": self.stop}

    async def start(self, url: str, connections: int) -> Mapping[str, Any]:
        """Post on so many connections at once, for as long as nobody says stop."""
        self._running = True
        connector = aiohttp.TCPConnector(limit=connections)
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar()
        )
        self._numbers = iter(range(1 << 60))
        self._tasks = [asyncio.create_task(self._post(url)) for _ in range(connections)]
        return {}

    async def stop(self) -> Mapping[str, Any]:
        """Post no more."""
        self._running = False
        await asyncio.gather(*self._tasks)
        await self._session.close()
        return {}

    async def _post(self, url: str) -> None:
        while self._running:
            number = next(self._numbers)
            body = stamps.event(b"bare", number, stamps.now())
            answer = await self._session.post(url, data=body, headers=headers_of(number, body))
            await answer.read()


async def _make(path: Path) -> tools.Skills:
    Board(path)  # there is nothing to count that the receiver does not count
    return Client().skills()


if __name__ == "__main__":
    tools.serve(_make)
