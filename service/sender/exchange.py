"""One connection: a request goes out, an answer comes in, and is bounded from the start."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from service.domain.outcome import MAX_RESPONSE_BYTES
from service.sender.attempt import Attempt
from service.sender.errors import AnswerTooLongError, BadAnswerError, ConnectionLostError
from service.sender.head import is_http
from service.sender.identities import Credentials
from service.sender.message import Message

#: Status lines and headers of one answer, interim ones included.
MAX_HEAD_BYTES = 64 * 1024
_MAX_HEADERS = 128
#: Interim (1xx) answers before the final one.
MAX_INTERIM = 100
#: Bytes of a body as they come over the wire: chunks may be less to keep than to parse.
_MAX_BODY_BYTES = 2 * MAX_RESPONSE_BYTES
#: Bytes that are parsed at once. A read may bring 256 KiB, which can be thousands of answers,
#: headers or chunks: 40 ms of parsing in which no other receiver is served.
_PORTION = 4 * 1024
#: Bytes of a request that are written at once, and encrypted, before others get a turn.
_PIECE = 256 * 1024

_HTTP = b"HTTP/"
_FIRST_STATUS = 100
_FIRST_FINAL_STATUS = 200
_SWITCHING_PROTOCOLS = 101
_FRAMED_BY = frozenset((b"content-length", b"transfer-encoding"))


class Route(NamedTuple):
    """What a connection leads to: only requests for the very same share it."""

    host: str
    port: int
    tls: Credentials | None


Notify = Callable[["Exchange"], None]


class Exchange(asyncio.Protocol):
    """A connection, for one request at a time.

    Args:
        route: Where it leads.
        made: Called when it is there, TLS included.
        lost: Called when it has ended.
    """

    def __init__(self, route: Route, made: Notify, lost: Notify) -> None:
        self.route = route
        self._made = made
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._parser: HttpResponseParser | None = None
        #: Whose answer is read.
        self._attempt: Attempt | None = None
        self._over: asyncio.Future[Exception | None] | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._used = False
        #: Whether another request may follow.
        self._keep = True
        self._bodiless = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._interim = 0
        self._body_bytes = 0

    @property
    def reusable(self) -> bool:
        """Whether it may carry another request."""
        transport = self._transport
        if not self._keep or transport is None or transport.is_closing():
            return False
        return not self.retired

    @property
    def retired(self) -> bool:
        """Whether it was made for an identity that is used no more."""
        return self.route.tls is not None and self.route.tls.retired

    async def ask(self, message: Message, attempt: Attempt) -> None:
        """Send a request; return when as much of the answer as is read is in ``attempt``.

        Raises:
            ConnectionLostError: there is no complete header block, and none will come.
            BadAnswerError: as before, for what came is not HTTP.
            AnswerTooLongError: as before, for too much came.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionLostError(None)
        over = self._begin(attempt)
        self._bodiless = message.bodiless
        try:
            if len(message.body) <= _PIECE:
                transport.write(message.head + message.body)
            else:
                await self._write(message, transport, over)
            error = await over
        finally:
            if self._attempt is attempt:  # interrupted
                self._attempt, self._keep = None, False
        if error is not None:
            raise error

    def close(self) -> None:
        """End the connection. Whatever was not sent yet is not sent any more."""
        self._keep = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready for a request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's claim no kinship
        self._parser = HttpResponseParser(self)
        # Receivers are taken as they are where no doubt arises about what they say.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_keep_alive=True,  # an interim answer may say "close", and the answer follows
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self._made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the answer, if one is awaited: without a length, that is how it ends."""
        self._transport = self._parser = None
        attempt = self._attempt
        if attempt is not None:
            framed = any(name.lower() in _FRAMED_BY for name, _ in attempt.headers)
            attempt.body_cut = framed or exc is not None
            self._end(ConnectionLostError(exc))
        self._lost(self)

    def pause_writing(self) -> None:
        """Wait with the rest of the request."""
        self._flowing.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._flowing.set()

    def data_received(self, data: bytes) -> None:
        """Take in what the receiver sent, and no more of it than is wanted."""
        if len(data) <= _PORTION:
            self._take(data)
            return
        for start in range(0, len(data), _PORTION):
            self._take(data[start : start + _PORTION])
            if self._attempt is None:
                # what is left is no answer to anything
                self._keep = self._keep and start + _PORTION >= len(data)
                return

    def on_message_begin(self) -> None:
        """Notice an answer; if nobody asked, the next request would take it for its own."""
        if self._attempt is None:
            self._keep = False
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those after the body, and of answers nobody asked for, are let go."""
        attempt = self._attempt
        if attempt is None or attempt.status is not None:
            return
        if b"\0" in value or len(self._headers) >= _MAX_HEADERS:
            raise BadAnswerError
        self._headers.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        """Know the status, unless this was an interim answer."""
        attempt, parser = self._attempt, self._parser
        if attempt is None or parser is None:
            return
        status = parser.get_status_code()
        if status < _FIRST_STATUS:
            raise BadAnswerError
        if status < _FIRST_FINAL_STATUS and status != _SWITCHING_PROTOCOLS:
            self._interim += 1
            return
        if (self._interim or attempt.head[:5] != _HTTP) and not is_http(
            attempt.head, self._interim
        ):
            raise BadAnswerError  # the parser takes RTSP and others as well
        attempt.status, attempt.headers = status, tuple(self._headers)
        self._keep = self._keep and parser.should_keep_alive()
        if self._bodiless or status == _SWITCHING_PROTOCOLS:
            attempt.body_cut = self._keep = False
            self._end(None)

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body."""
        attempt = self._attempt
        if attempt is not None:
            attempt.body += data
            if len(attempt.body) > MAX_RESPONSE_BYTES:
                self._cut()

    def on_message_complete(self) -> None:
        """End the answer, unless it was an interim one."""
        attempt = self._attempt
        if attempt is not None and attempt.status is not None:
            attempt.body_cut = False
            self._end(None)

    def _begin(self, attempt: Attempt) -> asyncio.Future[Exception | None]:
        attempt.reused, self._used = self._used, True
        attempt.ready = perf_counter()
        self._attempt = attempt
        self._interim = self._body_bytes = 0
        self._over = asyncio.get_running_loop().create_future()
        return self._over

    async def _write(
        self, message: Message, transport: asyncio.Transport, over: asyncio.Future[Exception | None]
    ) -> None:
        """Send a large request as fast as it is taken, or until it is answered."""
        transport.write(message.head)
        body = memoryview(message.body)
        for start in range(0, len(body), _PIECE):
            await asyncio.sleep(0)
            await self._flowing.wait()
            if over.done():
                self._keep = False
                return
            transport.write(body[start : start + _PIECE])

    def _take(self, data: bytes) -> None:
        attempt, parser = self._attempt, self._parser
        if attempt is None or parser is None:
            self.close()  # nobody asked: the next request would take this for its answer
            return
        if attempt.status is None:
            attempt.hear(data, perf_counter())
        else:
            self._body_bytes += len(data)
        try:
            parser.feed_data(data)
        except HttpParserUpgrade:
            self._keep = False
        except HttpParserError:
            self._keep = False
            self._end(BadAnswerError())
        else:
            self._bound(attempt)

    def _bound(self, attempt: Attempt) -> None:
        if self._attempt is None:
            return  # it is complete
        if attempt.status is not None:
            if self._body_bytes > _MAX_BODY_BYTES:
                self._cut()
        elif len(attempt.head) > MAX_HEAD_BYTES:
            self._hang_up(f"The headers were more than {MAX_HEAD_BYTES} bytes.")
        elif self._interim > MAX_INTERIM:
            self._hang_up(f"More than {MAX_INTERIM} interim answers came before the answer.")

    def _cut(self) -> None:
        """Leave what there is of the body to its reader, and the rest of it unread."""
        self._keep = False
        self._end(None)

    def _hang_up(self, why: str) -> None:
        self._keep = False
        self._end(AnswerTooLongError(why))

    def _end(self, error: Exception | None) -> None:
        """Let go whoever waits for the answer; once there is a status, no error matters."""
        attempt, over = self._attempt, self._over
        self._attempt = self._over = None
        self._flowing.set()
        if attempt is None or over is None or over.done():
            return
        over.set_result(None if attempt.status is not None else error)
