"""A real server of ours around any application, and how to talk to it word by word."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

import uvicorn
from starlette.types import ASGIApp

from service.runtime.protocol import Bounds, GuardedProtocol
from service.web.problems import Problems

TOLD = Problems("http://ringback.test")


@asynccontextmanager
async def serving(
    application: ASGIApp,
    keep_alive: float = 5,
    ws: Literal["none", "websockets-sansio"] = "none",
    **bounds: Any,  # noqa: ANN401  members of many types
) -> AsyncIterator[int]:
    """A server within these bounds, and seconds that it waits for another request; its port."""
    given = Bounds(TOLD, **{"connections": 100, **bounds})
    http: Any = partial(GuardedProtocol, given)
    config = uvicorn.Config(
        application,
        http=http,
        lifespan="off",
        log_config=None,
        ws=ws,
        timeout_keep_alive=keep_alive,  # type: ignore[arg-type]  # parts of a second do as well
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server._serve([listener]))  # noqa: SLF001  without its signals
        while not server.started:  # noqa: ASYNC110  it has nothing to wait for
            await asyncio.sleep(0.001)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def said(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """The next answer: status, headers, body."""
    async with asyncio.timeout(10):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in head[1:])}
        body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, body
