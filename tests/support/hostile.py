"""Receivers that misbehave: scripts for :class:`tests.support.receiver.Receiver`."""

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field

_OK = b"HTTP/1.1 200 OK\r\n"


async def hang(_: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def never_read(writer: asyncio.StreamWriter) -> None:
    """Take nothing in, and never answer."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it
    await hang(writer)


async def reset(writer: asyncio.StreamWriter) -> None:
    """Break the connection off with RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def close(_: asyncio.StreamWriter) -> None:
    """Close without an answer."""


async def close_mid_status_line(writer: asyncio.StreamWriter) -> None:
    """Close within the status line."""
    writer.write(b"HTTP/1.1 2")
    await writer.drain()


async def status_line_then_hang(writer: asyncio.StreamWriter) -> None:
    """Send a status line and nothing after it."""
    writer.write(_OK)
    await hang(writer)


async def headers_then_hang(writer: asyncio.StreamWriter) -> None:
    """Send all headers, and nothing of the body they promise."""
    writer.write(_OK + b"content-length: 10\r\n\r\n")
    await hang(writer)


async def status_drip(writer: asyncio.StreamWriter) -> None:
    """Send a status line that never ends, a byte at a time."""
    writer.write(b"HTTP/1.1 200 ")
    await _drip(writer, b"O")


async def header_drip(writer: asyncio.StreamWriter) -> None:
    """Send headers for ever, a byte at a time."""
    writer.write(_OK + b"content-type: text/plain\r\nx-slow: ")
    await _drip(writer, b"a")


async def body_drip(writer: asyncio.StreamWriter) -> None:
    """Send a body for ever, a byte at a time."""
    writer.write(_OK + b"content-length: 1000000\r\n\r\n")
    await _drip(writer, b"b")


async def endless_body(writer: asyncio.StreamWriter) -> None:
    """Send a body as fast as it is taken, until the end of the connection."""
    writer.write(_OK + b"\r\n")
    await _flood(writer, b"e" * 65_536)


async def endless_headers(writer: asyncio.StreamWriter) -> None:
    """Send headers as fast as they are taken."""
    writer.write(b"HTTP/1.1 ")
    await _flood(writer, b"x" * 65_536)


async def tiny_headers(writer: asyncio.StreamWriter) -> None:
    """Send the shortest of headers as fast as they are taken."""
    writer.write(_OK)
    await _flood(writer, b"a:\r\n" * 10_000)


async def tiny_chunks(writer: asyncio.StreamWriter) -> None:
    """Send a body in the shortest of chunks as fast as they are taken."""
    writer.write(_OK + b"transfer-encoding: chunked\r\n\r\n")
    await _flood(writer, b"1\r\na\r\n" * 10_000)


async def many_answers(writer: asyncio.StreamWriter) -> None:
    """Answer one request thousands of times."""
    await _flood(writer, (_OK + b"content-length: 0\r\n\r\n") * 5_000)


async def interim_flood(writer: asyncio.StreamWriter) -> None:
    """Send 103 answers as fast as they are taken."""
    await _flood(writer, b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 1000)


async def interim_drip(writer: asyncio.StreamWriter) -> None:
    """Send a 103 answer now and then, for ever."""
    await _drip(writer, b"HTTP/1.1 103 Early Hints\r\n\r\n")


async def bad_chunking(writer: asyncio.StreamWriter) -> None:
    """Answer 200 with a body whose chunk size is none."""
    writer.write(_OK + b"transfer-encoding: chunked\r\n\r\nnot a size\r\n")
    await hang(writer)


async def short_body(writer: asyncio.StreamWriter) -> None:
    """Close before the body promised has come."""
    writer.write(_OK + b"content-length: 100\r\n\r\nshort")
    await writer.drain()


async def no_http(writer: asyncio.StreamWriter) -> None:
    """Speak something else."""
    writer.write(b"220 mail.example.com ESMTP ready\r\n")
    await hang(writer)


@dataclass
class TwoAnswers:
    """Answers, and a moment later again though nothing was asked, until the connection ends."""

    #: Set once the connection has ended.
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        writer.write(_OK + b"content-length: 0\r\n\r\n")
        with suppress(OSError):
            while not writer.is_closing():
                await asyncio.sleep(0.1)
                writer.write(_OK + b"x-stray: yes\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
        self.ended.set()


async def _drip(writer: asyncio.StreamWriter, drop: bytes) -> None:
    while not writer.is_closing():
        writer.write(drop)
        await writer.drain()
        await asyncio.sleep(0.02)


async def _flood(writer: asyncio.StreamWriter, wave: bytes) -> None:
    while not writer.is_closing():
        writer.write(wave)
        await writer.drain()
