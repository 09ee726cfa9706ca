"""A server of byte streams, all of whose connections end when it does."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

Converse = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

#: Turns of the loop from a connection's being accepted to the start of its conversation.
_TURNS = 6


class StreamServer:
    """Runs ``converse`` for each connection; that a peer hangs up is no error."""

    def __init__(self, converse: Converse) -> None:
        self._converse = converse
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        limit: int = 2**16,
    ) -> int:
        """Listen; the port is returned. ``limit`` is the longest line that can be read."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=limit, ssl=tls)
        listening: int = self._server.sockets[0].getsockname()[1]
        return listening

    async def stop(self) -> None:
        """Hear no more, and end every connection: what is left open outlives the test."""
        if self._server is not None:
            self._server.close()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("served outside a task")
        self._tasks.add(task)
        try:
            await self._converse(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # one of the two hung up; some tests are about just that
        except asyncio.CancelledError:
            writer.transport.abort()  # what is not written yet would keep it open
        finally:
            self._tasks.discard(task)
            writer.close()
