"""A TCP proxy that does harm on order: cuts, delays, stalls, is not there."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

from service.lab.processes import HOST

#: Bytes that may wait for one who does not read before the other one is no longer read from.
_HIGH_WATER: Final = 256 * 1024


@dataclass(slots=True)
class Harm:
    """What happens to what goes through. Seconds, and bytes of answers."""

    delay: float = 0.0
    #: New connections end in the middle of their answers, after so many bytes at most.
    limit: int | None = None
    #: Connections that are there are cut, and new ones as soon as they come.
    is_down: bool = False


@dataclass(eq=False)
class FaultProxy:
    """Forwards to a port of this machine from a port of its own.

    Attributes:
        port: where it listens.
        target: where the connections go.
        cuts: connections cut so far while an answer was due on them: what became of the request
            is for the one who sent it to find out.
    """

    port: int
    target: int
    dice: random.Random
    harm: Harm = field(default_factory=Harm)
    cuts: int = 0
    _server: asyncio.Server | None = None
    _pairs: set["_Pair"] = field(default_factory=set)
    _nobody: asyncio.Event = field(default_factory=asyncio.Event)
    _is_closed: bool = False

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, HOST, self.port, backlog=1024)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_closed = True
        if self._server is not None:
            self._server.close()
        for pair in tuple(self._pairs):
            pair.abort()
        if self._pairs:  # resets are done by the loop, in its next rounds
            self._nobody.clear()
            await self._nobody.wait()

    def cut(self) -> None:
        """Reset every connection that is there."""
        for pair in tuple(self._pairs):
            self.count(pair)
            pair.abort()

    def hang(self) -> None:
        """Let nothing more through on any connection that is there, and tell nobody.

        New ones work: so it is after a firewall forgot those that it knew.
        """
        for pair in self._pairs:
            pair.hang()

    def count(self, pair: "_Pair") -> None:
        """Count a connection that is cut, if it leaves somebody in doubt."""
        self.cuts += pair.is_awaiting

    def suffer(self, harm: Harm) -> None:
        """Do this harm from now on; ``Harm()`` ends it."""
        self.harm = harm
        if harm.is_down:
            self.cut()
        if harm.limit is None:
            for pair in self._pairs:
                pair.lift()

    @property
    def is_open(self) -> bool:
        """Whether it takes connections."""
        return not (self._is_closed or self.harm.is_down)

    def forget(self, pair: "_Pair") -> None:
        """Both connections of the pair are closed."""
        self._pairs.discard(pair)
        if not self._pairs:
            self._nobody.set()

    def _accept(self) -> asyncio.Protocol:
        pair = _Pair(self)
        if not self._is_closed:  # the loop itself drops some that come as late as that
            self._pairs.add(pair)
        return pair.client


class _Pair:
    """A connection and the one it is forwarded to."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        limit = proxy.harm.limit
        self._left = None if limit is None else proxy.dice.randint(0, limit)
        self._is_hanging = False
        self.is_awaiting = False
        self.client = _Side(self._connect, self._asked, self._ended)
        self.server = _Side(lambda: None, self._answered, self._ended)
        self._connecting: asyncio.Task[None] | None = None

    def lift(self) -> None:
        """Let it live as long as it likes."""
        self._left = None

    def hang(self) -> None:
        """Let nothing more through."""
        self._is_hanging = True

    def abort(self) -> None:
        """Reset both sides."""
        if self._connecting is not None:
            self._connecting.cancel()
        for side in (self.client, self.server):
            side.abort()

    def _connect(self) -> None:
        if not self._proxy.is_open:
            self.abort()
            return
        self._connecting = asyncio.create_task(self._open())
        self._connecting.add_done_callback(lambda _: self._forget_closed())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self.server, HOST, self._proxy.target)
        except OSError:
            self.abort()
            return
        self.client.peer, self.server.peer = self.server, self.client
        self.client.flush()

    def _asked(self, data: bytes) -> None:
        self.is_awaiting = True
        if not self._is_hanging:
            self.client.forward(data, self._proxy.harm.delay)

    def _answered(self, data: bytes) -> None:
        if self._is_hanging:
            return
        if self._left is not None:
            data, self._left = data[: self._left], self._left - len(data)
        self.server.forward(data, self._proxy.harm.delay)
        if self._left is not None and self._left <= 0:
            self._proxy.count(self)
            self.server.after_forwarding(self.abort)
        else:
            self.is_awaiting = False

    def _ended(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        self.client.end()
        self.server.end()
        self._forget_closed()

    def _forget_closed(self) -> None:
        """One who reads nothing keeps its side open after the end of the other one."""
        is_connecting = self._connecting is not None and not self._connecting.done()
        if not (is_connecting or self.client.is_open or self.server.is_open):
            self._proxy.forget(self)


class _Side(asyncio.Protocol):
    """One of the two connections of a pair."""

    def __init__(
        self,
        opened: Callable[[], None],
        received: Callable[[bytes], None],
        ended: Callable[[], None],
    ) -> None:
        self._opened, self._received, self._ended = opened, received, ended
        self._transport: asyncio.Transport | None = None
        self.is_open = False
        self._early: list[bytes] = []
        #: Loop time before which nothing more is forwarded: later bytes never overtake.
        self._not_before = 0.0
        self.peer: _Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            self.is_open = True
            transport.set_write_buffer_limits(_HIGH_WATER)
        self._opened()

    def data_received(self, data: bytes) -> None:
        """Hand it to the pair."""
        self._received(data)

    def connection_lost(self, _error: Exception | None) -> None:
        """The other side is to end as well."""
        self.is_open = False
        self._ended()

    def pause_writing(self) -> None:
        """The one who reads here is slow: read less of the other."""
        if self.peer is not None and self.peer._transport is not None:  # noqa: SLF001  one of its own kind
            self.peer._transport.pause_reading()  # noqa: SLF001  as above

    def resume_writing(self) -> None:
        """Read the other again."""
        if self.peer is not None and self.peer._transport is not None:  # noqa: SLF001  one of its own kind
            self.peer._transport.resume_reading()  # noqa: SLF001  as above

    def forward(self, data: bytes, delay: float) -> None:
        """Give what came here to the other side, after ``delay`` seconds."""
        if self.peer is None:
            self._early.append(data)
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not delay and self._not_before <= now:
            self.peer.write(data)
            return
        self._not_before = max(self._not_before, now + delay)
        loop.call_at(self._not_before, self.peer.write, data)

    def after_forwarding(self, act: Callable[[], None]) -> None:
        """Do something once all that was forwarded is on its way."""
        loop = asyncio.get_running_loop()
        loop.call_at(max(self._not_before, loop.time()), act)

    def flush(self) -> None:
        """Forward what came before there was another side."""
        early, self._early = self._early, []
        for data in early:
            self.forward(data, 0.0)

    def write(self, data: bytes) -> None:
        """Send."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def end(self) -> None:
        """Close, once what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Reset."""
        if self._transport is not None:
            self._transport.abort()
