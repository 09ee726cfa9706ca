"""Watch: the hub of all who follow an operation's log, or a tenant's feed, in this process.

A note says that a log grew; so that a lost one costs seconds and not an event, everything that is
followed is looked at every two seconds besides.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from service.domain.errors import Refusal, RefusalKind
from service.domain.operation import Operation
from service.ports import Backplane, Moved, ReadStore, StoreUnavailableError, TicketStore
from service.usecases.following import Channel, Followed, Follower, Read
from service.usecases.reporting import report

#: Followers of one tenant in one process.
MAX_FOLLOWERS: Final = 10_000
#: Seconds between two looks at all that is followed, whatever the notes said.
_LOOK_EVERY: Final = 2.0
#: Seconds after which one who was turned away may ask again.
_BUSY_RETRY: Final = 5

#: (tenant id, operation id); without an operation it is the tenant's feed.
_Name = tuple[str, str | None]


class Watch:
    """Lets doors follow logs."""

    def __init__(
        self,
        reads: ReadStore,
        keys: TicketStore,
        backplane: Backplane,
        limit: int = MAX_FOLLOWERS,
    ) -> None:
        self._reads = reads
        self._keys = keys
        self._limit = limit
        self._channels: dict[_Name, Channel] = {}
        self._followers: Counter[str] = Counter()
        #: Set as soon as the service stops: nobody waits any longer.
        self.closing: Final = asyncio.Event()
        backplane.listen(self._heard)

    @property
    def followers(self) -> int:
        """How many follow something now."""
        return self._followers.total()

    @asynccontextmanager
    async def operation(
        self, operation: Operation, after: int, key_id: str
    ) -> AsyncIterator[Follower | Refusal]:
        """Follow an operation's log behind the sequence ``after``, on behalf of a key."""
        name = (operation.tenant_id, operation.id)
        channel = self._channels.get(name) or Channel(
            operation.key, self._log_of(operation.key), operation.sequence
        )
        async with self._following(name, channel, after, key_id) as follower:
            yield follower

    @asynccontextmanager
    async def feed(
        self, tenant_id: str, after: int, key_id: str, *, end: int
    ) -> AsyncIterator[Follower | Refusal]:
        """Follow a tenant's feed behind the place ``after``; ``end`` is its end as just read."""
        name = (tenant_id, None)
        channel = self._channels.get(name) or Channel(tenant_id, self._feed_of(tenant_id), end)
        async with self._following(name, channel, after, key_id) as follower:
            yield follower

    async def run(self) -> None:
        """Look at all that is followed every two seconds, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                await self.look()
            except StoreUnavailableError:
                continue
            except Exception as error:  # noqa: BLE001  the next look may go well
                report("What is followed could not be looked at", error)

    async def look(self) -> None:
        """Find what grew without a note, and whose key was revoked: a statement for each kind."""
        await self._look_at_keys()
        for each in self._channels.values():
            each.let_go()
        followed = {each.key: each for each in self._channels.values()}
        logs = [key for key in followed if isinstance(key, int)]
        feeds = [key for key in followed if isinstance(key, str)]
        ends: list[tuple[int | str, int]] = []
        if logs:
            ends.extend((await self._reads.log_ends(logs)).items())
        if feeds:
            ends.extend((await self._reads.feed_ends(feeds)).items())
        for key, end in ends:
            if end > followed[key].end:
                followed[key].grew()

    async def _look_at_keys(self) -> None:
        following = [each for channel in self._channels.values() for each in channel.followers]
        if following:
            valid = await self._keys.in_force({each.key_id for each in following})
            for each in following:
                if each.key_id not in valid:
                    each.shut_out()

    def close(self) -> None:
        """Let everybody go: the service stops."""
        self.closing.set()
        for channel in self._channels.values():
            channel.wake()

    def _heard(self, notes: Sequence[Moved]) -> None:
        if not self._channels:
            return
        for note in notes:
            for name in (note, (note[0], None)):
                channel = self._channels.get(name)
                if channel is not None:
                    channel.grew()

    @asynccontextmanager
    async def _following(
        self, name: _Name, channel: Channel, after: int, key_id: str
    ) -> AsyncIterator[Follower | Refusal]:
        tenant_id = name[0]
        if self._followers[tenant_id] >= self._limit:
            yield _too_many(self._limit)
            return
        follower = Follower(channel, key_id, after, self.closing)
        self._followers[tenant_id] += 1
        channel.followers.add(follower)
        if self._channels.get(name) is not channel:
            self._channels[name] = channel
            channel.grew()
        try:
            yield follower
        finally:
            channel.followers.discard(follower)
            self._followers[tenant_id] -= 1
            if not channel.followers:
                channel.close()
                del self._channels[name]

    def _log_of(self, operation_key: int) -> Read:
        async def read(after: int, limit: int) -> Sequence[Followed]:
            found = await self._reads.log(operation_key, after, limit)
            return [Followed(each.sequence or 0, each) for each in found]

        return read

    def _feed_of(self, tenant_id: str) -> Read:
        async def read(after: int, limit: int) -> Sequence[Followed]:
            found = await self._reads.feed(tenant_id, after, limit)
            return [Followed(each.feed_position, each) for each in found.events]

        return read


def _too_many(limit: int) -> Refusal:
    return Refusal(
        RefusalKind.TOO_MANY_REQUESTS,
        f"This tenant follows {limit} logs already, as many as it may at a time. Close streams "
        "that nobody reads, or poll.",
        retry_after=_BUSY_RETRY,
    )
