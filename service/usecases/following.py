"""One followed log: its channel, and those who follow it.

1. The log in the store is the truth; a channel is only told that it grew.
2. However many follow a log, each growth is read once; the channel keeps the last events it read.
3. A follower behind what is kept reads the store himself, a batch at a time. Nobody has a queue of
   his own, so a slow reader costs reads, never memory.
4. A channel begins with a read: what was committed before it listened is not missed.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Final

from service.domain.operation import Operation
from service.ports import EventView, StoreUnavailableError
from service.usecases.listening import Listener
from service.usecases.reporting import report

#: What a channel keeps at most; the newest event whatever its size.
_KEPT_EVENTS: Final = 256
_KEPT_BYTES: Final = 256 * 1024
#: Events read at a time; a follower begins with few and goes by their size.
_BATCH: Final = 100
_FIRST_BATCH: Final = 8
_BATCH_BYTES: Final = 256 * 1024


class Followed:
    """One event on its way to followers, and its place in what they follow."""

    __slots__ = ("event", "place", "rendered")

    def __init__(self, place: int, event: EventView) -> None:
        self.place = place
        self.event = event
        #: What doors made of it, by the door: made once for all who follow.
        self.rendered: dict[Hashable, bytes] = {}


#: Reads what comes after a place, so many events at most.
Read = Callable[[int, int], Awaitable[Sequence[Followed]]]


class Channel:
    """What is known of a log that is followed: everything after ``floor``, up to ``end``."""

    def __init__(self, key: int | str, read: Read, end: int) -> None:
        #: By which its end is asked for: an operation's key, or a tenant's id.
        self.key = key
        self.read = read
        self.end = end
        self.floor = end
        self.followers: set[Follower] = set()
        #: The operation, read when the log was as long as the number says.
        self.state: tuple[int, asyncio.Future[Operation | None]] | None = None
        self._kept: deque[Followed] = deque()
        self._bytes = 0
        self._grown = False
        self._reader: asyncio.Task[None] | None = None

    def grew(self) -> None:
        """Read on, soon; growths that come meanwhile are one."""
        self._grown = True
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read_on(), name="watch")

    def after(self, place: int) -> list[Followed]:
        """What is kept behind a place, which is not below the floor."""
        found = []
        for each in reversed(self._kept):
            if each.place <= place:
                break
            found.append(each)
        found.reverse()
        return found

    def wake(self) -> None:
        """Let everybody look again."""
        for each in tuple(self.followers):
            each.wake()

    def let_go(self) -> None:
        """Keep nothing that all who follow have seen."""
        seen = min((each.place for each in self.followers), default=self.end)
        while self._kept and self._kept[0].place <= seen:
            self._drop()

    def close(self) -> None:
        """Stop reading: nobody follows any more."""
        if self._reader is not None:
            self._reader.cancel()

    async def _read_on(self) -> None:
        while self._grown:
            self._grown = False
            try:
                found = await self.read(self.end, _BATCH)
            except StoreUnavailableError:
                return  # the hub looks again in a while
            except Exception as error:  # noqa: BLE001  those who follow other logs go on
                report("A followed log could not be read", error)
                return
            self._grown |= len(found) == _BATCH
            if found:
                self._keep(found)
                self.wake()

    def _keep(self, found: Sequence[Followed]) -> None:
        self._kept.extend(found)
        self._bytes += _size(found)
        self.end = found[-1].place
        while len(self._kept) > _KEPT_EVENTS or (self._bytes > _KEPT_BYTES and len(self._kept) > 1):
            self._drop()

    def _drop(self) -> None:
        oldest = self._kept.popleft()
        self._bytes -= len(oldest.event.body)
        self.floor = oldest.place


class Follower(Listener):
    """Somebody who follows one log; ``place`` is how far he is."""

    def __init__(self, channel: Channel, key_id: str, place: int, closing: asyncio.Event) -> None:
        super().__init__(closing)
        self._channel = channel
        #: The key on whose behalf he follows.
        self.key_id = key_id
        #: Whether that key may do so no longer.
        self.is_shut_out = False
        self._batch = _FIRST_BATCH
        self.place = place

    def shut_out(self) -> None:
        """Stop, since the key may follow no longer."""
        self.is_shut_out = True
        self.stop()

    async def next(self, seconds: float) -> Sequence[Followed]:
        """The next events as soon as there are any; none when ``seconds`` passed or it is over.

        Raises:
            StoreUnavailableError: they could not be read.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not self.is_over:
            found = await self._read()
            if found:
                self.place = found[-1].place
                return found
            left = until - loop.time()
            if left <= 0:
                break
            await self.pause(left)
        return ()

    async def operation(self, read: Callable[[], Awaitable[Operation | None]]) -> Operation | None:
        """The operation as it is after the last event seen: read once for all who ask now."""
        known = self._channel.state
        if known is None or known[0] < self.place or _failed(known[1]):
            place = max(self.place, self._channel.end)
            known = (place, asyncio.ensure_future(read()))
            self._channel.state = known
        return await asyncio.shield(known[1])

    async def _read(self) -> Sequence[Followed]:
        floor = self._channel.floor
        if self.place < floor:
            found = await self._channel.read(self.place, self._batch)
            if found:
                fair = _BATCH_BYTES * len(found) // max(_size(found), 1)
                self._batch = min(max(fair, 1), _BATCH)
                return found
            self.place = floor  # retention took what was between
        if self.place < self._channel.floor:
            return await self._read()  # more has come than is kept
        return self._channel.after(self.place)[:_BATCH]


def _failed(reading: asyncio.Future[Any]) -> bool:
    return reading.done() and (reading.cancelled() or reading.exception() is not None)


def _size(found: Sequence[Followed]) -> int:
    return sum(len(each.event.body) for each in found)
