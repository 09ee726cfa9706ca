"""Whole answers are the bytes that uvicorn makes of two messages; who asks no more is let go."""

import asyncio
import os
import socket
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from service.runtime.hosting import run
from service.web.whole import WHOLE
from tests.support.http_server import connected, said, serving

pytestmark = pytest.mark.anyio

GET = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"
HEAD = b"HEAD /a HTTP/1.1\r\nhost: x\r\n\r\n"
CLOSE = b"GET /a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
OLD = b"GET /a HTTP/1.0\r\n\r\n"
#: Seconds of keep-alive here, and those in which it is over on a machine that is busy.
BRIEF, LONG = 0.3, 5.0
#: A body of one byte is to follow.
POST = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n"
UPGRADE = (
    b"GET /b HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Answering:
    """Answers everything with the same, whole or apart."""

    def __init__(self, status: int, body: bytes, *, whole: bool = True, seconds: float = 0) -> None:
        length = [] if status in (204, 304) else [(b"content-length", b"%d" % len(body))]
        self.answer: dict[str, Any] = {
            "status": status,
            "headers": [(b"cache-control", b"no-store"), *length],
            "body": body,
        }
        self._whole = whole
        self._seconds = seconds
        self.asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        assert WHOLE in scope["extensions"]
        await receive()
        await asyncio.sleep(self._seconds)
        body = b"" if scope["method"] == "HEAD" else self.answer["body"]
        if self._whole:
            await send({**self.answer, "type": WHOLE, "body": body})
        else:
            await send({**self.answer, "type": "http.response.start"})
            await send({"type": "http.response.body", "body": body})


async def bytes_of(app: Answering, *asked: bytes) -> bytes:
    """All that is said to these requests until the connection ends, but for the time."""
    async with serving(app) as port, connected(port) as (reader, writer):
        writer.write(b"".join(asked))
        async with asyncio.timeout(10):
            text = await reader.read()
    lines = text.split(b"\r\n")
    return b"\r\n".join(each for each in lines if not each.startswith(b"date: "))


@settings(max_examples=12, deadline=None)
@given(
    status=st.sampled_from([200, 202, 204, 207, 304, 404, 503]),
    body=st.binary(max_size=300),
    asked=st.lists(st.sampled_from([GET, HEAD]), max_size=3),
    last=st.sampled_from([CLOSE, OLD]),
)
def test_a_whole_answer_is_what_its_parts_are(
    status: int, body: bytes, asked: list[bytes], last: bytes
) -> None:
    body = b"" if status in (204, 304) else body
    apart, whole = (
        asyncio.run(bytes_of(Answering(status, body, whole=each), *asked, last))
        for each in (False, True)
    )
    assert whole == apart
    assert whole.count(b"HTTP/1.1 %d " % status) >= len(asked) + 1
    assert b"connection: close" in whole


async def test_who_reads_late_gets_every_whole_answer() -> None:
    app = Answering(200, b"x" * 1_000_000)
    async with serving(app) as port, connected(port) as (reader, writer):
        writer.write(GET * 20)
        await asyncio.sleep(0.2)
        bodies = [(await said(reader))[2] for _ in range(20)]
    assert bodies == [b"x" * 1_000_000] * 20


async def test_who_went_away_is_answered_nothing() -> None:
    app = Answering(200, b"x", seconds=0.1)
    async with serving(app) as port:
        async with connected(port) as (_, writer):
            writer.write(GET)
            while not app.asked:  # noqa: ASYNC110  it has nothing to wait for
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.2)
        async with connected(port) as (reader, writer):
            writer.write(GET)
            assert (await said(reader))[2] == b"x"


async def test_two_whole_answers_to_one_request_are_a_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        answer: Message = {"type": WHOLE, "status": 200, "headers": [(b"content-length", b"0")]}
        await send({**answer, "body": b""})
        await send({**answer, "body": b""})

    async with serving(app) as port, connected(port) as (reader, writer):
        writer.write(GET)
        assert (await said(reader))[0] == 200
        async with asyncio.timeout(10):
            assert await reader.read() == b""
    assert "after response already completed" in caplog.text


async def test_who_asks_no_more_is_let_go() -> None:
    app, answered = Answering(200, b"x"), 0.0
    async with serving(app, keep_alive=BRIEF) as port, connected(port) as (reader, writer):
        for _ in range(4):  # each before the time is over, and all of them beyond it
            writer.write(GET)
            assert (await said(reader))[0] == 200
            answered = time.monotonic()
            await asyncio.sleep(BRIEF / 2)
        async with asyncio.timeout(LONG):
            assert await reader.read() == b""
    assert time.monotonic() - answered >= BRIEF * 0.95


def test_who_has_asked_is_heard_however_late_it_is_looked() -> None:
    run(_asked_while_nobody_had_a_turn())  # on the service's loop, whose timers come before sockets


async def _asked_while_nobody_had_a_turn() -> None:
    near, far = socket.socketpair()
    app = Answering(200, b"x")
    async with serving(app, keep_alive=BRIEF) as port, connected(port) as (reader, writer):

        def stall() -> None:
            asyncio.get_running_loop().remove_reader(near)
            os.write(writer.get_extra_info("socket").fileno(), GET)
            time.sleep(BRIEF)  # the time is over meanwhile

        writer.write(GET)
        assert (await said(reader))[0] == 200
        await asyncio.sleep(BRIEF / 2)
        asyncio.get_running_loop().add_reader(near, stall)
        far.send(b"x")
        assert (await said(reader))[0] == 200
    near.close()
    far.close()


async def test_who_waits_for_an_answer_is_not_let_go() -> None:
    app = Answering(200, b"x", seconds=BRIEF * 2)
    async with serving(app, keep_alive=BRIEF) as port, connected(port) as (reader, writer):
        for _ in range(2):
            writer.write(GET)
            assert (await said(reader))[0] == 200
        async with asyncio.timeout(LONG):
            assert await reader.read() == b""


async def test_a_body_that_comes_after_its_answer_leaves_nobody_waiting_for_ever() -> None:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        headers = [(b"content-length", b"0")]
        await send({"type": WHOLE, "status": 200, "headers": headers, "body": b""})

    async with serving(app, keep_alive=BRIEF) as port, connected(port) as (reader, writer):
        for _ in range(2):
            writer.write(b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n1")
            assert (await said(reader))[0] == 200
            writer.write(b"2")
        async with asyncio.timeout(LONG):
            assert await reader.read() == b""


async def test_who_began_to_ask_before_an_answer_is_not_let_go() -> None:
    app = Answering(200, b"x", seconds=BRIEF / 2)
    async with serving(app, keep_alive=BRIEF) as port, connected(port) as (reader, writer):
        writer.write(GET + GET[:-2])
        assert (await said(reader))[0] == 200
        await asyncio.sleep(BRIEF * 2)
        writer.write(GET[-2:])
        assert (await said(reader))[0] == 200
        async with asyncio.timeout(LONG):
            assert await reader.read() == b""


@pytest.mark.parametrize(("before", "along"), [(b"", b""), (GET, b""), (POST, b"x")])
async def test_a_websocket_is_not_let_go_for_what_was_asked_before(
    before: bytes, along: bytes
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = [(b"content-length", b"0")]
            await send({"type": WHOLE, "status": 200, "headers": headers, "body": b""})
            return
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": "hi"})

    server = serving(app, keep_alive=BRIEF, ws="websockets-sansio")
    async with server as port, connected(port) as (reader, writer):
        if before:
            writer.write(before)
            assert (await said(reader))[0] == 200
        writer.write(along + UPGRADE)
        async with asyncio.timeout(LONG):
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(BRIEF * 2)
            writer.write(b"\x81\x81\0\0\0\0a")
            assert await reader.readexactly(4) == b"\x81\x02hi"
