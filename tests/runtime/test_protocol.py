"""Heads too large or too slow, connections too many, and what is no HTTP: problems, in time."""

import asyncio
import json
from contextlib import suppress

import pytest
from starlette.types import Receive, Scope, Send

from service.domain.errors import RefusalKind
from service.runtime import protocol
from service.runtime.protocol import most_connections
from service.web.problems import MEDIA_TYPE
from tests.support.http_server import connected, said, serving

pytestmark = pytest.mark.anyio

OK = b"GET /a HTTP/1.1\r\nhost: x\r\n"
#: A body of two bytes is to follow.
POST = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n"
#: One in chunks is to.
CHUNKED = b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_LINGER", 0.1)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Says how long the body was, once all of it is there."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    text = f"{scope['path']} {size}".encode()
    headers = [(b"content-length", str(len(text)).encode()), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


async def reading(scope: Scope, receive: Receive, send: Send) -> None:
    """Does not begin to read until long after a body may be late."""
    await asyncio.sleep(0.3)
    await app(scope, receive, send)


async def uninterested(_: Scope, __: Receive, send: Send) -> None:
    """Answers without reading."""
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def problem(
    reader: asyncio.StreamReader, status: int, kind: RefusalKind, instance: str = "/"
) -> dict[str, str]:
    """The headers of a problem, after which the connection ends."""
    told, headers, body = await said(reader)
    document = json.loads(body)
    assert told == status
    assert headers["content-type"] == MEDIA_TYPE
    assert headers["connection"] == "close"
    assert document["type"] == f"http://ringback.test/problems/{kind}"
    assert document["status"] == status
    assert document["instance"] == instance
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    return headers


async def test_requests_within_bounds_go_through_one_after_the_other() -> None:
    async with serving(app, head_bytes=300) as port, connected(port) as (reader, writer):
        for number in range(5):
            body = b"x" * 1_000 * number
            head = f"POST /{number} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            status, _, text = await said(reader)
            assert (status, text) == (200, f"/{number} {len(body)}".encode())
        writer.write((OK + b"\r\n") * 3)
        assert [(await said(reader))[2] for _ in range(3)] == [b"/a 0"] * 3


@pytest.mark.parametrize(
    "head",
    [
        OK + b"x-large: " + b"a" * 2_000 + b"\r\n\r\n",
        OK + b"".join(b"x-%d: a\r\n" % number for number in range(300)) + b"\r\n",
        b"GET /" + b"a" * 2_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        OK + b"x-endless: " + b"a" * 1_000_000,
        b"GET /" + b"a" * 100_000,
    ],
    ids=["a header", "many headers", "the address", "a header without end", "an endless address"],
)
async def test_a_head_too_large_is_told_so(head: bytes) -> None:
    async with serving(app, head_bytes=1_500) as port, connected(port) as (reader, writer):
        writer.write(head)
        await problem(reader, 431, RefusalKind.HEAD_TOO_LARGE)


async def test_a_later_head_too_large_is_told_so_too() -> None:
    async with serving(app, head_bytes=1_500) as port, connected(port) as (reader, writer):
        writer.write(OK + b"\r\n")
        assert (await said(reader))[0] == 200
        writer.write(OK + b"x-endless: " + b"a" * 100_000)
        await problem(reader, 431, RefusalKind.HEAD_TOO_LARGE)


async def test_a_head_too_slow_is_told_so() -> None:
    async with serving(app, head_seconds=0.05) as port, connected(port) as (reader, writer):
        writer.write(OK)
        await problem(reader, 408, RefusalKind.REQUEST_TIMEOUT)


async def test_a_head_that_drips_is_not_waited_for() -> None:
    async def drip() -> None:
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"a")
                await asyncio.sleep(0.01)

    async with serving(app, head_seconds=0.2) as port, connected(port) as (reader, writer):
        writer.write(OK + b"x-long: ")
        dripping = asyncio.create_task(drip())
        await problem(reader, 408, RefusalKind.REQUEST_TIMEOUT)
        dripping.cancel()
        await asyncio.wait([dripping])


async def test_who_says_nothing_at_all_is_let_go() -> None:
    async with serving(app, head_seconds=0.05) as port, connected(port) as (reader, _):
        async with asyncio.timeout(10):
            assert await reader.read() == b""


async def test_a_slow_body_is_not_a_slow_head() -> None:
    async with serving(app, head_seconds=0.05) as port, connected(port) as (reader, writer):
        writer.write(b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n1")
        async with connected(port) as (later, slow):
            slow.write(OK)
            await problem(later, 408, RefusalKind.REQUEST_TIMEOUT)
        writer.write(b"2")
        assert (await said(reader))[2] == b"/a 2"


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async with serving(app, body_seconds=0.05) as port, connected(port) as (reader, writer):
        writer.write(POST + b"1")
        await problem(reader, 408, RefusalKind.REQUEST_TIMEOUT, "/a")


async def test_a_later_body_that_does_not_come_is_not_waited_for_either() -> None:
    async with serving(app, body_seconds=0.05) as port, connected(port) as (reader, writer):
        writer.write(POST + b"12" + POST)
        assert (await said(reader))[2] == b"/a 2"
        await problem(reader, 408, RefusalKind.REQUEST_TIMEOUT, "/a")


async def test_a_large_body_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_PACE", 100)
    async with serving(app, body_seconds=0.05) as port, connected(port) as (reader, writer):
        head = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 20000\r\n\r\n"
        # What comes with the head pays for ten seconds: a stall of the machine is none of the body.
        writer.write(head + b"a" * 1_000)
        for _ in range(19):
            await asyncio.sleep(0.01)
            writer.write(b"a" * 1_000)
        assert (await said(reader))[2] == b"/a 20000"


async def test_an_application_that_does_not_read_keeps_nobody_from_being_answered() -> None:
    async with serving(reading, body_seconds=0.05) as port, connected(port) as (reader, writer):
        size = 1_000_000
        head = f"POST /slowly HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n"
        writer.write(head.encode() + b"a" * size)
        assert (await said(reader))[2] == b"/slowly 1000000"


async def test_a_body_that_nobody_wants_is_not_waited_for() -> None:
    async with (
        serving(uninterested, body_seconds=0.05) as port,
        connected(port) as (reader, writer),
    ):
        writer.write(POST + b"1")
        assert (await said(reader))[0] == 204
        async with asyncio.timeout(10):
            assert await reader.read() == b""


async def test_a_line_end_between_requests_is_not_waited_behind_for_ever() -> None:
    async with serving(app, head_seconds=0.05) as port, connected(port) as (reader, writer):
        writer.write(OK + b"\r\n")
        assert (await said(reader))[0] == 200
        writer.write(b"\r\n")
        async with asyncio.timeout(10):
            assert await reader.read() == b""


async def test_half_a_head_does_not_answer_the_request_before() -> None:
    async with serving(reading, head_seconds=0.05) as port, connected(port) as (reader, writer):
        writer.write(OK + b"\r\n" + OK)
        assert (await said(reader))[2] == b"/a 0"
        await problem(reader, 408, RefusalKind.REQUEST_TIMEOUT)


@pytest.mark.parametrize("framing", ["content-length: 10", "transfer-encoding: chunked"])
async def test_an_upgrade_with_a_body_is_refused(framing: str) -> None:
    async with serving(app) as port, connected(port) as (reader, writer):
        head = f"connection: upgrade\r\nupgrade: websocket\r\n{framing}\r\n\r\n"
        writer.write(OK + head.encode())
        await problem(reader, 400, RefusalKind.MALFORMED)


async def test_what_is_beyond_any_body_buys_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_PAID", 1_000)
    async with serving(app, body_seconds=0.05) as port, connected(port) as (reader, writer):
        writer.write(CHUNKED)

        async def extend() -> None:
            with suppress(ConnectionError):
                while not writer.is_closing():
                    writer.write(b"1;" + b"e" * 30_000 + b"\r\na\r\n")
                    await asyncio.sleep(0.01)

        extending = asyncio.create_task(extend())
        await problem(reader, 408, RefusalKind.REQUEST_TIMEOUT, "/a")
        extending.cancel()
        await asyncio.wait([extending])


#: What may follow a body, and what may stand beside a chunk's size; neither ends.
TRAILERS = b"1\r\na\r\n0\r\n" + b"x: a\r\n" * 20_000
TRAILER = b"0\r\nx: " + b"a" * 100_000
EXTENSION = b"1;x=" + b"e" * 100_000


@pytest.mark.parametrize("beside", [TRAILERS, TRAILER, EXTENSION])
async def test_what_comes_beside_a_body_is_bounded_too(beside: bytes) -> None:
    async with serving(app, head_bytes=1_500) as port, connected(port) as (reader, writer):
        writer.write(CHUNKED)
        await asyncio.sleep(0.05)
        with suppress(ConnectionError):
            for start in range(0, len(beside), 1_000):
                writer.write(beside[start : start + 1_000])
                await asyncio.sleep(0)
        await problem(reader, 431, RefusalKind.HEAD_TOO_LARGE, "/a")


async def test_much_beside_a_body_that_nobody_wants_ends_the_connection() -> None:
    async with (
        serving(uninterested, head_bytes=1_500) as port,
        connected(port) as (reader, writer),
    ):
        writer.write(CHUNKED)
        assert (await said(reader))[0] == 204
        writer.write(EXTENSION)
        with suppress(ConnectionError):
            assert await reader.read() == b""


async def test_trailers_are_none_of_a_requests_headers() -> None:
    seen: list[list[tuple[bytes, bytes]]] = []

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        seen.append(scope["headers"])

    async with serving(noting) as port, connected(port) as (reader, writer):
        for name in ("authorization", "x-forwarded-for"):
            writer.write(CHUNKED + f"1\r\na\r\n0\r\n{name}: me\r\n\r\n".encode())
            assert (await said(reader))[2] == b"/a 1"
    assert seen == [[(b"host", b"x"), (b"transfer-encoding", b"chunked")]] * 2


async def test_connections_too_many_are_told_so() -> None:
    async with serving(app, connections=2) as port:
        async with connected(port) as (one, first), connected(port) as (two, second):
            for reader, writer in ((one, first), (two, second)):
                writer.write(OK + b"\r\n")
                assert (await said(reader))[0] == 200
            async with connected(port) as (reader, writer):
                writer.write(OK + b"\r\n")
                headers = await problem(reader, 503, RefusalKind.UNAVAILABLE)
                assert headers["retry-after"] == "1"
            first.write(OK + b"\r\n")
            assert (await said(one))[0] == 200
        async with asyncio.timeout(10):
            while True:  # until the server has seen that they are gone
                async with connected(port) as (reader, writer):
                    writer.write(OK + b"\r\n")
                    if (await said(reader))[0] == 200:
                        break


async def test_a_flood_is_closed_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_TOLD", 0)
    async with serving(app, connections=0) as port, connected(port) as (reader, _):
        async with asyncio.timeout(10):
            assert await reader.read() == b""


@pytest.mark.parametrize(
    "text",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GET / HTTP/9.9\r\n\r\n",
        OK + b"\0\r\n",
    ],
)
async def test_what_is_no_http_is_a_problem(text: bytes) -> None:
    async with serving(app) as port, connected(port) as (reader, writer):
        writer.write(text)
        await problem(reader, 400, RefusalKind.MALFORMED)


async def test_a_body_that_breaks_off_is_a_problem() -> None:
    async with serving(app) as port, connected(port) as (reader, writer):
        writer.write(CHUNKED + b"1\r\nx\r\nno size\r\n")
        await problem(reader, 400, RefusalKind.MALFORMED)


def test_most_files_are_for_clients() -> None:
    most = most_connections()
    assert 0 < most <= 49_152
    assert most == most_connections()
