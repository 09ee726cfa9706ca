"""A webhook receiver over a real socket: records every request in full before it answers.

In a test, in the test's own loop::

    async with Receiver() as receiver:
        receiver.script = lambda request: Reply(503)
        ...
        requests = await receiver.wait_for(1)

As a process that outlives the one it serves::

    python -m tests.support.receiver --port 0 --log FILE [--fail-first N] [--status S]

prints ``listening on http://127.0.0.1:PORT`` and, before it answers a request, appends a JSON line.
"""

import argparse
import asyncio
import base64
import contextlib
import hashlib
import itertools
import json
import ssl
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Self

from tests.support.streams import StreamServer

_MAX_HEAD = 256 * 1024


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came over the wire."""

    method: str
    path: str
    #: Names in lower case; of a repeated header the last.
    headers: dict[str, str]
    #: Names, order and repetitions as sent.
    raw_headers: tuple[tuple[str, str], ...]
    body: bytes
    #: Counts the receiver's connections from 1: equal numbers mean a reused connection.
    connection: int
    #: Seconds of the monotonic and of the wall clock when the body was complete.
    at: float
    wall: float


@dataclass(frozen=True, slots=True)
class Reply:
    """A proper answer, after ``delay`` seconds. ``content-length`` is added."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    delay: float = 0.0
    #: Say ``connection: close`` and do so.
    close: bool = False


#: Writes whatever it likes; the connection is closed when it returns.
Act = Callable[[asyncio.StreamWriter], Awaitable[None]]
Script = Callable[[Received], Reply | Act]


def _ok(_: Received) -> Reply:
    return Reply()


@dataclass(slots=True)
class Receiver:
    """An HTTP/1.1 server with keep-alive on an ephemeral port of 127.0.0.1.

    Attributes:
        script: decides the answer to each request.
        greeting: run instead of reading a request, on every new connection.
        requests: everything received so far.
    """

    script: Script = _ok
    greeting: Act | None = None
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    port: int = 0
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    _server: StreamServer = field(init=False)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self._server = StreamServer(self._serve)

    async def __aenter__(self) -> Self:
        self.port = await self._server.start(self.host, self.port, self.tls, _MAX_HEAD)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()

    def url(self, path: str = "/", host: str | None = None) -> str:
        """An absolute URL of this receiver, by another name if ``host`` is given."""
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://{host or self.host}:{self.port}{path}"

    async def wait_for(
        self,
        count: int,
        timeout: float = 30.0,  # noqa: ASYNC109 - every wait in a test has a limit it can set
    ) -> list[Received]:
        """The requests, as soon as there are ``count``; TimeoutError after ``timeout`` seconds."""
        async with asyncio.timeout(timeout), self._news:
            await self._news.wait_for(lambda: len(self.requests) >= count)
        return list(self.requests)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await self._converse(reader, writer, self.connections)

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        if self.greeting is not None:
            await self.greeting(writer)
            return
        open_ = True
        while open_:
            request = await _read(reader, connection)
            async with self._news:
                self.requests.append(request)
                self._news.notify_all()
            answer = self.script(request)
            if isinstance(answer, Reply):
                await _write(writer, answer)
                open_ = not answer.close
            else:
                await answer(writer)
                open_ = False


async def _read(reader: asyncio.StreamReader, connection: int) -> Received:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    pairs = [line.split(":", 1) for line in lines]
    raw = tuple((name, value.strip()) for name, value in pairs)
    headers = {name.lower(): value for name, value in raw}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, raw, body, connection, time.monotonic(), time.time())


async def _write(writer: asyncio.StreamWriter, reply: Reply) -> None:
    if reply.delay:
        await asyncio.sleep(reply.delay)
    writer.write(render(reply))
    await writer.drain()


def render(reply: Reply) -> bytes:
    """The answer's bytes."""
    known = {status.value: status.phrase for status in HTTPStatus}
    lines = [f"HTTP/1.1 {reply.status} {known.get(reply.status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in reply.headers]
    lines.append(f"content-length: {len(reply.body)}")
    lines += ["connection: close"] if reply.close else []
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + reply.body


def log_line(request: Received) -> bytes:
    """A request as one JSON line: what is needed to check deliveries after any crash."""
    facts = {
        "webhook-id": request.headers.get("webhook-id"),
        "x-webhook-attempt": request.headers.get("x-webhook-attempt"),
        "method": request.method,
        "path": request.path,
        "sha256": hashlib.sha256(request.body).hexdigest(),
        "headers": request.headers,
        "body": base64.b64encode(request.body).decode("ascii"),
        "connection": request.connection,
        "time": request.wall,
    }
    return json.dumps(facts).encode() + b"\n"


async def _run(options: argparse.Namespace) -> None:
    seen: Counter[str] = Counter()
    # Unbuffered and in one write: a line is in the file, whole, before its request is answered.
    with options.log.open("ab", buffering=0) as log:

        def script(request: Received) -> Reply:
            log.write(log_line(request))
            name = request.headers.get("webhook-id", request.path)
            seen[name] += 1
            return Reply(503 if seen[name] <= options.fail_first else options.status)

        async with Receiver(script, port=options.port) as receiver:
            sys.stdout.write(f"listening on {receiver.url('')}\n")
            sys.stdout.flush()
            for _ in itertools.count():
                receiver.requests.clear()  # the file has them
                await asyncio.sleep(1)


def main() -> None:
    """Run as a process until told to stop."""
    parser = argparse.ArgumentParser(description="A webhook receiver that logs every request.")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--log", type=Path, required=True, help="file to append JSON lines to")
    parser.add_argument(
        "--fail-first",
        type=int,
        default=0,
        metavar="N",
        help="answer the first N requests of each webhook-id with 503",
    )
    parser.add_argument("--status", type=int, default=200, help="the answer otherwise")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
