"""A TCP proxy that cuts connections at random, in the middle of whatever is being said."""

import asyncio
import math
import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from tests.support.streams import StreamServer

_CHUNK = 4096


@dataclass
class CuttingProxy:
    """Forwards to a port of this machine, from an ephemeral one.

    Attributes:
        port: where the connections go.
        chance: decides after how many bytes of the answers a connection is cut.
        life: the fewest and the most bytes that a connection lives for.
        cuts: how many were cut so far.
    """

    port: int
    chance: random.Random
    life: tuple[int, int]
    cuts: int = 0
    own_port: int = 0
    _server: StreamServer = field(init=False)

    def __post_init__(self) -> None:
        self._server = StreamServer(self._forward)

    async def __aenter__(self) -> Self:
        self.own_port = await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.own_port}"

    async def _forward(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        service, requests = await asyncio.open_connection("127.0.0.1", self.port)
        up = asyncio.create_task(_copy(client, requests))
        try:
            shortest, longest = map(math.log, self.life)
            left = round(math.exp(self.chance.uniform(shortest, longest)))  # short ones are many
            while left and (chunk := await service.read(min(_CHUNK, left))):
                answers.write(chunk)
                await answers.drain()
                left -= len(chunk)
            if not left:
                self.cuts += 1
                answers.transport.abort()
        finally:
            up.cancel()
            requests.transport.abort()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Forward until the source ends; then the target hears of it."""
    with suppress(OSError):
        while chunk := await source.read(_CHUNK):
            target.write(chunk)
            await target.drain()
        target.transport.abort()
