"""A TCP proxy that cuts connections at random, in the middle of whatever is being said."""

import asyncio
import math
import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

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
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1")
        self.own_port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.own_port}"

    async def _serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("served outside a task")
        self._tasks.add(task)
        try:
            await self._forward(client, answers)
        except OSError:
            pass  # one of the two hung up, or the service is not there
        except asyncio.CancelledError:
            pass  # the proxy is closing; the server would log it as an error
        finally:
            self._tasks.discard(task)
            answers.close()

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
