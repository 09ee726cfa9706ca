"""The receiver: takes deliveries, answers 200, and knows how long each was under way.

    python -m service.lab.bench.receiver BOARD

A raw protocol on uvloop with httptools' parser, which is not even told to read headers.
"""

import asyncio
import gc
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import httptools

from service.lab.bench import stamps, tools
from service.lab.bench.board import Board, Slot
from service.lab.bench.processes import HOST
from service.lab.bench.shares import shares

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_BACKLOG = 4096


class Inbox:
    """What came since it was emptied last."""

    def __init__(self, board: Board) -> None:
        self._board = board
        #: How long an answer takes.
        self.seconds = 0.0
        self.empty()

    def empty(self) -> None:
        """Forget what came."""
        #: Microseconds from when each was to be posted.
        self.delays = array("q")
        self.last_at = 0
        #: By path, the numbers of the events that came.
        self._seen: dict[bytes, set[int]] = {}

    def take(self, url: bytes, body: bytes) -> None:
        """Note one request."""
        at = stamps.now()
        self.last_at = at
        stamp = stamps.read(body)
        if stamp is not None:
            self.delays.append(at - stamp.moment)
            seen = self._seen.get(url)
            if seen is None:
                seen = self._seen[url] = set()
            if stamp.number in seen:
                self._board.add(Slot.DOUBLED)
            seen.add(stamp.number)
        self._board.add(Slot.RECEIVED)


class Exchange(asyncio.Protocol):
    """One connection."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._take = inbox.take
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        # uvloop's transports are of no class of asyncio's
        self._write = cast("asyncio.WriteTransport", transport).write

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Keep the path: subscriptions have one each."""
        self._url = url

    def on_body(self, body: bytes) -> None:
        """Keep the body, which may come in parts."""
        self._body += body

    def on_message_complete(self) -> None:
        """Note it and answer."""
        self._take(self._url, self._body)
        self._body = b""
        if self._inbox.seconds:
            asyncio.get_running_loop().call_later(self._inbox.seconds, self._write, _ANSWER)
        else:
            self._write(_ANSWER)


class Receiver:
    """The tool."""

    def __init__(self, board: Board) -> None:
        self._inbox = Inbox(board)

    async def listen(self) -> tools.Skills:
        """Take connections from now on."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Exchange(self._inbox), HOST, 0, backlog=_BACKLOG)
        self._port = server.sockets[0].getsockname()[1]
        gc.disable()  # nothing here refers to itself, and a collection would be seen as a delay
        return {
            "port": self.port,
            "empty": self.empty,
            "linger": self.linger,
            "report": self.report,
        }

    async def port(self) -> Mapping[str, Any]:
        """Where it listens."""
        return {"port": self._port}

    async def empty(self) -> Mapping[str, Any]:
        """Forget what came."""
        self._inbox.empty()
        return {}

    async def linger(self, seconds: float) -> Mapping[str, Any]:
        """Take so long for each answer from now on."""
        self._inbox.seconds = seconds
        return {}

    async def report(self) -> Mapping[str, Any]:
        """How long deliveries were under way (ms), and the moment of the last one."""
        return {"delays": shares(self._inbox.delays), "last_at": self._inbox.last_at}


async def _make(path: Path) -> tools.Skills:
    return await Receiver(Board(path)).listen()


if __name__ == "__main__":
    tools.serve(_make)
