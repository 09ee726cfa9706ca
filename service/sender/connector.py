"""Connections to allowed addresses only, whose answers are bounded from the start.

The guard sits where sockets are made, because that is the only place every address passes: the
HTTP library hands addresses written in a URL straight to it, past any resolver.
"""

import asyncio
import errno
import functools
import os
import socket
import ssl
from time import perf_counter
from typing import TYPE_CHECKING

from aiohttp import ClientRequest, ClientTimeout, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import AddrInfoType, Connection
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

from service.domain.outcome import MAX_RESPONSE_BYTES
from service.domain.targets import TargetPolicy, check_address
from service.sender.attempt import Attempt, current
from service.sender.identities import IdentityContext
from service.sender.resolver import GuardedResolver, TargetRefusedError

if TYPE_CHECKING:
    from aiohttp.tracing import Trace

#: Status lines and headers of one answer, interim ones included.
MAX_HEAD_BYTES = 64 * 1024
#: Interim (1xx) answers before the final one.
MAX_INTERIM = 100
#: Bytes of a body as they come over the wire: chunks may be less to keep than to parse.
_MAX_BODY_BYTES = 2 * MAX_RESPONSE_BYTES
#: Bytes that are parsed at once. A read may bring 256 KiB, which can be thousands of answers,
#: headers or chunks: 40 ms of parsing in which no other receiver is served.
_PORTION = 4 * 1024

#: The version whose client certificates are judged after the handshake, seen from here.
_LATE = "TLSv1.3"
_SWITCHING_PROTOCOLS = 101
_FIRST_FINAL_STATUS = 200
_DNS_CACHE_SECONDS = 10
_KEEPALIVE_SECONDS = 30.0


class AnswerTooLongError(Exception):
    """What comes before the answer's body is more than is read; the text says what."""


class Exchange(ResponseHandler):
    """One connection. Says when things happened, bounds the head, and hangs up on stray bytes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, opened: dict["Exchange", None]) -> None:
        super().__init__(loop)
        self._opened = opened
        #: Whose answer is read, and the same until its header block is complete.
        self._reader: Attempt | None = None
        self._attempt: Attempt | None = None
        self._interim = 0
        self._body_bytes = 0
        self.used = False
        attempt = current.get()
        if attempt is not None:  # TCP is connected by now, TLS is not
            attempt.connected = perf_counter()

    def begin(self, attempt: Attempt) -> None:
        """Listen for the answer to ``attempt``."""
        if not self.used and attempt.secure:
            attempt.agreement = self._agreement()
        attempt.reused, self.used = self.used, True
        attempt.ready = perf_counter()
        self._reader = self._attempt = attempt
        self._interim = self._body_bytes = 0
        # The dictionary is kept in the order of last use.
        self._opened.pop(self, None)
        self._opened[self] = None

    @property
    def idle(self) -> bool:
        """Whether no answer is awaited or being read."""
        return self._attempt is None and (self._payload is None or self._payload.is_eof())

    @property
    def retired(self) -> bool:
        """Whether it was made for an identity that is used no more."""
        context = None if self.transport is None else self.transport.get_extra_info("sslcontext")
        return isinstance(context, IdentityContext) and context.retired

    @property
    def should_close(self) -> bool:
        """Whether it is not to go back into the pool."""
        return super().should_close or self.retired

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count as open."""
        super().connection_made(transport)
        self._opened[self] = None

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count no longer."""
        self._opened.pop(self, None)
        self._reader = self._attempt = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what the receiver sent, and no more of it than is wanted."""
        if len(data) <= _PORTION:
            self._take(data)
            return
        for start in range(0, len(data), _PORTION):
            self._take(data[start : start + _PORTION])
            if not self.is_connected():
                return

    def _take(self, data: bytes) -> None:
        attempt = self._attempt
        if attempt is not None:
            attempt.hear(data, perf_counter())
            super().data_received(data)
            self._bound_head(attempt)
        elif data and self.idle:
            # Nobody asked: the next request would take this for its answer.
            self.close()
        else:
            self._body_bytes += len(data)
            super().data_received(data)
            self._bound_body()

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Pass on a complete header block."""
        code = data[0].code
        if code >= _FIRST_FINAL_STATUS or code == _SWITCHING_PROTOCOLS:
            self._attempt = None
        else:
            self._interim += 1
        super().feed_data(data, size)

    def _agreement(self) -> ssl.SSLObject | None:
        tls = None if self.transport is None else self.transport.get_extra_info("ssl_object")
        return tls if isinstance(tls, ssl.SSLObject) and tls.version() == _LATE else None

    def _bound_head(self, attempt: Attempt) -> None:
        if self._attempt is None:
            return  # it is complete
        if len(attempt.head) > MAX_HEAD_BYTES:
            self._hang_up(f"The headers were more than {MAX_HEAD_BYTES} bytes.")
        elif self._interim > MAX_INTERIM:
            self._hang_up(f"More than {MAX_INTERIM} interim answers came before the answer.")

    def _hang_up(self, why: str) -> None:
        self.set_exception(AnswerTooLongError(why))
        if self.transport is not None:
            self.transport.abort()

    def _bound_body(self) -> None:
        """End what is more than is kept, and leave what there is of it to its reader."""
        payload = self._payload
        if self._body_bytes > _MAX_BODY_BYTES and payload is not None and not payload.is_eof():
            if self._reader is not None:
                self._reader.overrun = True
            self.force_close()
            self._parser = None  # what it has not parsed yet is not wanted either
            payload.feed_eof()
            self.close()


class GuardedConnector(TCPConnector):
    """The connection pool: at most ``connections`` in use, and, idle ones included, open."""

    def __init__(
        self,
        policy: TargetPolicy,
        resolver: GuardedResolver,
        connections: int,
        tls: ssl.SSLContext,
    ) -> None:
        super().__init__(
            resolver=resolver,
            ttl_dns_cache=_DNS_CACHE_SECONDS,
            limit=connections,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            socket_factory=self._make_socket,
            ssl=tls,
        )
        self._policy = policy
        self._most = connections
        self._opened: dict[Exchange, None] = {}
        self._factory = functools.partial(self._make_exchange)

    async def connect(
        self,
        req: ClientRequest,
        traces: list["Trace"],
        timeout: ClientTimeout,  # noqa: ASYNC109 - the library's signature
    ) -> Connection:
        """A connection for ``req`` whose far end is allowed.

        Raises:
            TargetRefusedError: it is not.
        """
        attempt = current.get()
        if attempt is None:
            raise TargetRefusedError
        connection = await super().connect(req, traces, timeout)
        exchange = _exchange(connection)
        while attempt.fresh and exchange.used:
            connection.close()
            connection = await super().connect(req, traces, timeout)
            exchange = _exchange(connection)
        if not exchange.used:
            self._check_peer(connection, attempt)
        exchange.begin(attempt)
        self._close_surplus()
        return connection

    def close_retired(self) -> None:
        """Close what is idle and was made for identities that are used no more."""
        for exchange in [each for each in self._opened if each.retired and each.idle]:
            exchange.close()

    def _make_exchange(self) -> ResponseHandler:
        return Exchange(self._loop, self._opened)

    def _make_socket(self, info: AddrInfoType) -> socket.socket:
        family, kind, proto, _, (address, port, *_) = info
        attempt = current.get()
        if attempt is None or not self._may_call(str(address), int(port), attempt):
            raise TargetRefusedError
        attempt.dialled = attempt.dialled or perf_counter()
        return socket.socket(family, kind, proto)

    def _check_peer(self, connection: Connection, attempt: Attempt) -> None:
        transport = connection.transport
        peer = transport.get_extra_info("peername") if transport is not None else None
        if peer is None:  # reset since: there is no telling whom the request would go to
            connection.close()
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        if not self._may_call(str(peer[0]), int(peer[1]), attempt):
            connection.close()
            raise TargetRefusedError

    def _may_call(self, address: str, port: int, attempt: Attempt) -> bool:
        allowed = port == attempt.port and check_address(address, port, self._policy, attempt.host)
        attempt.refused = attempt.refused or not allowed
        return allowed

    def _close_surplus(self) -> None:
        """Close the connections unused longest; the library bounds only those in use."""
        while len(self._opened) > self._most:
            oldest = next((exchange for exchange in self._opened if exchange.idle), None)
            if oldest is None:
                return
            self._opened.pop(oldest)
            oldest.close()


def _exchange(connection: Connection) -> Exchange:
    exchange = connection.protocol
    if not isinstance(exchange, Exchange):
        raise TypeError("the pool gave out a connection that was not made here")
    return exchange
