"""Connections to allowed addresses only.

The guard sits where sockets are made, because that is the only place every address passes, and
looks again at the far end of what came about.
"""

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Sequence
from time import perf_counter

from service.domain.addresses import plain_ip
from service.domain.targets import TargetPolicy, check_address
from service.sender.attempt import Attempt
from service.sender.channel import Channel
from service.sender.errors import (
    ConnectionLostError,
    NotConnectedError,
    NotResolvedError,
    TargetRefusedError,
)
from service.sender.exchange import Exchange, Route
from service.sender.fair_threads import FairThreads
from service.sender.identities import Credentials
from service.sender.owners import owner_of
from service.sender.resolver import GuardedResolver

#: How long one address is tried before the next one is tried beside it (RFC 8305, 5).
_HEAD_START_SECONDS = 0.25


class GuardedConnector:
    """Makes connections; made on the loop that uses it."""

    def __init__(
        self, policy: TargetPolicy, resolver: GuardedResolver, threads: FairThreads
    ) -> None:
        self._policy = policy
        self._resolver = resolver
        self._threads = threads
        self._loop = asyncio.get_running_loop()

    async def connect(self, exchange: Exchange, attempt: Attempt) -> None:
        """Connect ``exchange`` along its route, if the far end is allowed.

        Raises:
            ssl.SSLError: TLS takes no such certificate as is to be shown.
            NotConnectedError: it did not come about.
            ConnectionLostError: it did, and ended at once.
            TargetRefusedError: the policy forbids it.
        """
        route = exchange.route
        addresses = await self._find(route, attempt)
        try:
            sock = await self._dial(addresses, attempt)
        except OSError as error:
            raise NotConnectedError(error) from error
        attempt.connected = perf_counter()
        if route.tls is None:
            await self._join(sock, exchange, attempt)
        else:
            await self._secure(sock, exchange, route.tls, attempt)

    async def _secure(
        self, sock: socket.socket, exchange: Exchange, credentials: Credentials, attempt: Attempt
    ) -> None:
        host = exchange.route.host
        try:
            context = await credentials.context(self._threads)
            # the certificate is checked against the name; an address needs one that names it
            channel = Channel(exchange, context, host)
        except BaseException:
            sock.close()
            raise
        await self._join(sock, channel, attempt)
        try:
            await channel.agree(self._threads, owner_of(host))
        except OSError as error:
            channel.abort()
            raise NotConnectedError(error) from error
        except BaseException:
            channel.abort()
            raise
        attempt.agreement = channel.late
        if channel.error is not None:
            raise ConnectionLostError(channel.error)

    async def _join(
        self, sock: socket.socket, protocol: Exchange | Channel, attempt: Attempt
    ) -> None:
        """Give the socket to the protocol, if it leads where it may."""
        try:
            transport, _ = await self._loop.create_connection(lambda: protocol, sock=sock)
        except OSError as error:
            raise NotConnectedError(error) from error
        try:
            self._check_peer(transport, attempt)
        except BaseException:
            transport.abort()
            raise

    async def _find(self, route: Route, attempt: Attempt) -> Sequence[str]:
        if plain_ip(route.host) is not None:
            return (route.host,)
        attempt.resolving = perf_counter()
        try:
            return await self._resolver.resolve(attempt)
        except TargetRefusedError:
            raise
        except OSError as error:
            raise NotResolvedError(error) from error
        finally:
            attempt.resolved = perf_counter()

    async def _dial(self, addresses: Sequence[str], attempt: Attempt) -> socket.socket:
        """TCP to the first address that takes it, by a small head start in their order."""
        if len(addresses) == 1:
            return await self._dial_one(addresses[0], attempt)
        left = deque(_interleaved(addresses))
        errors: list[BaseException] = []
        trying: set[asyncio.Task[socket.socket]] = set()
        try:
            while left or trying:
                if left:
                    one = self._dial_one(left.popleft(), attempt)
                    trying.add(self._loop.create_task(one))
                patience = _HEAD_START_SECONDS if left else None
                done, _ = await asyncio.wait(
                    trying, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    trying.discard(task)
                    error = task.exception()
                    if error is None:
                        return task.result()
                    errors.append(error)
        finally:
            for task in trying:
                task.add_done_callback(_close)
                task.cancel()
        raise errors[0]

    async def _dial_one(self, address: str, attempt: Attempt) -> socket.socket:
        if not self._may_call(address, attempt.port, attempt):
            raise TargetRefusedError
        attempt.dialled = attempt.dialled or perf_counter()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
            await self._loop.sock_connect(sock, (address, attempt.port))
        except BaseException:
            sock.close()
            raise
        return sock

    def _check_peer(self, transport: asyncio.Transport, attempt: Attempt) -> None:
        peer = far_end(transport)
        if peer is None:  # reset since: there is no telling whom the request would go to
            cause = ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            raise NotConnectedError(cause) if attempt.secure else ConnectionLostError(cause)
        if not self._may_call(*peer, attempt):
            raise TargetRefusedError

    def _may_call(self, address: str, port: int, attempt: Attempt) -> bool:
        allowed = port == attempt.port and check_address(address, port, self._policy, attempt.host)
        attempt.refused = attempt.refused or not allowed
        return allowed


def far_end(transport: asyncio.Transport) -> tuple[str, int] | None:
    """The address and port that a connection really leads to; ``None`` if it is gone."""
    peer = transport.get_extra_info("peername")
    return None if peer is None else (str(peer[0]), int(peer[1]))


def _interleaved(addresses: Sequence[str]) -> list[str]:
    """The addresses with their families in turn, so that one that leads nowhere costs little."""
    first = [each for each in addresses if (":" in each) == (":" in addresses[0])]
    others = [each for each in addresses if each not in first]
    rank = {
        each: (index, kind)
        for kind, some in enumerate((first, others))
        for index, each in enumerate(some)
    }
    return sorted(rank, key=rank.__getitem__)


def _close(task: asyncio.Task[socket.socket]) -> None:
    """Close the connection that came about too late."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
