"""The connections that are open: at most so many are in use, and, idle ones included, open."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from contextlib import suppress

from service.sender.attempt import Attempt
from service.sender.exchange import Exchange, Route

_KEEPALIVE_SECONDS = 30.0
#: A process that stops does not wait for what has nothing left to send.
_CLOSE_SECONDS = 2.0

Dial = Callable[[Exchange, Attempt], Awaitable[None]]


class Pool:
    """Connections by where they lead; made on the loop that uses it.

    Args:
        dial: Makes the connection of an exchange.
        most: How many may be open.
    """

    def __init__(self, dial: Dial, most: int) -> None:
        self._dial = dial
        self._most = most
        self._free = asyncio.Semaphore(most)
        self._loop = asyncio.get_running_loop()
        self._open: set[Exchange] = set()
        self._empty = asyncio.Event()
        #: Idle connections by route, and with the time since when, both in the order of last use.
        self._idle: dict[Route, dict[Exchange, None]] = {}
        self._since: dict[Exchange, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        # The timer outlives the attempt that set it and must not keep its variables alive.
        self._context = contextvars.Context()

    async def take(self, route: Route, attempt: Attempt) -> Exchange:
        """A connection for one request, to be put back afterwards.

        Raises:
            NotConnectedError: none came about.
            TargetRefusedError: the policy forbids where it leads.
        """
        await self._free.acquire()
        try:
            # The one used last: the others may grow old and go.
            exchange = None if attempt.fresh else self._wake(route)
            return exchange or await self._open_one(route, attempt)
        except BaseException:
            self._free.release()
            raise

    def put(self, exchange: Exchange) -> None:
        """Keep a connection for the next request, or close it if there cannot be one."""
        self._free.release()
        if not exchange.reusable:
            exchange.close()
            return
        self._idle.setdefault(exchange.route, {})[exchange] = None
        self._since[exchange] = self._loop.time()
        if self._timer is None:
            self._set_timer(_KEEPALIVE_SECONDS)

    def close_retired(self) -> None:
        """Close what is idle and was made for identities that are used no more."""
        for exchange in [each for each in self._since if each.retired]:
            self._drop(exchange)

    async def close(self) -> None:
        """Close every connection."""
        if self._timer is not None:
            self._timer.cancel()
        for exchange in self._open:
            exchange.close()
        if self._open:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), _CLOSE_SECONDS)

    def _wake(self, route: Route) -> Exchange | None:
        idle = self._idle.get(route)
        while idle:
            exchange, _ = idle.popitem()
            del self._since[exchange]
            if not idle:
                del self._idle[route]
            if exchange.reusable:
                return exchange
            exchange.close()
        return None

    async def _open_one(self, route: Route, attempt: Attempt) -> Exchange:
        exchange = Exchange(route, self._count, self._forget)
        try:
            await self._dial(exchange, attempt)
        except BaseException:
            # interrupted in the turn in which it came about, the loop closes it and tells nobody
            exchange.close()
            self._forget(exchange)
            raise
        while len(self._open) > self._most and self._since:
            self._drop(next(iter(self._since)))
        return exchange

    def _count(self, exchange: Exchange) -> None:
        """Take note that a connection is there."""
        self._open.add(exchange)
        self._empty.clear()

    def _forget(self, exchange: Exchange) -> None:
        """Take note that a connection has ended."""
        self._open.discard(exchange)
        if not self._open:
            self._empty.set()
        self._remove(exchange)

    def _drop(self, exchange: Exchange) -> None:
        self._open.discard(exchange)
        self._remove(exchange)
        exchange.close()

    def _remove(self, exchange: Exchange) -> None:
        if self._since.pop(exchange, None) is None:
            return
        idle = self._idle[exchange.route]
        del idle[exchange]
        if not idle:
            del self._idle[exchange.route]

    def _set_timer(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._expire, context=self._context)

    def _expire(self) -> None:
        self._timer = None
        last = self._loop.time() - _KEEPALIVE_SECONDS
        for exchange in [each for each, since in self._since.items() if since <= last]:
            self._drop(exchange)
        if self._since:
            self._set_timer(next(iter(self._since.values())) - last)
