"""What stands before a PostgreSQL server as a pooler does, for one who connects.

It lends nobody's connection to anybody, but tells of no process of the server's, as poolers do.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest

from tests.support.streams import Converse, StreamServer

#: What a session is given at least; the rest are limits.
_GIVEN: Final = {b"user", b"database", b"client_encoding"}
#: What begins the message with the process and the secret of a session (BackendKeyData).
_KEY: Final = b"K\x00\x00\x00\x0c"
_REFUSAL: Final = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: jit\0\0"
_CHUNK: Final = 65_536

#: Makes of a URL one that says whether there is a pooler.
Spelled = Callable[[str], str]


def as_it_is(url: str) -> str:
    """Without one."""
    return url


def with_flag(url: str) -> str:
    """With one."""
    return f"{url}{'&' if '?' in url else '?'}pgbouncer=true"


SPELLED: Final = pytest.mark.parametrize("spelled", [as_it_is, with_flag])


@asynccontextmanager
async def pooler(socket: str, *, keeps_limits: bool = True) -> AsyncIterator[int]:
    """One that hands limits on, or drops them; the port that leads to a server's socket file."""

    async def lend(client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        service, requests = await asyncio.open_unix_connection(socket)
        if not keeps_limits:
            requests.write(_without_limits(await _startup(client)))
        up = asyncio.create_task(_copy(client, requests))
        try:
            while chunk := await service.read(_CHUNK):
                at = chunk.find(_KEY) + len(_KEY)
                is_key = at >= len(_KEY)
                answers.write(chunk[:at] + b"\0\0\0\1" + chunk[at + 4 :] if is_key else chunk)
                await answers.drain()
        finally:
            up.cancel()
            requests.transport.abort()

    async with _serving(lend) as port:
        yield port


@asynccontextmanager
async def strict_pooler() -> AsyncIterator[int]:
    """One that refuses limits that are given when connecting; its port."""

    async def refuse(client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        await _startup(client)
        answers.write(b"E" + struct.pack("!i", len(_REFUSAL) + 4) + _REFUSAL)
        await answers.drain()

    async with _serving(refuse) as port:
        yield port


async def _startup(client: asyncio.StreamReader) -> bytes:
    """The message that begins a session, without its length."""
    length = struct.unpack("!i", await client.readexactly(4))[0]
    return await client.readexactly(length - 4)


def _without_limits(startup: bytes) -> bytes:
    """The whole message, of which only what it must say is left."""
    words = startup[4:].split(b"\0")
    given = {k: v for k, v in zip(words[::2], words[1::2], strict=False) if k in _GIVEN}
    said = b"".join(k + b"\0" + v + b"\0" for k, v in given.items()) + b"\0"
    return struct.pack("!i", len(said) + 8) + startup[:4] + said


@asynccontextmanager
async def _serving(converse: Converse) -> AsyncIterator[int]:
    server = StreamServer(converse)
    try:
        yield await server.start()
    finally:
        await server.stop()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while chunk := await source.read(_CHUNK):
        target.write(chunk)
        await target.drain()
    target.transport.abort()
