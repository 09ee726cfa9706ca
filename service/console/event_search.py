"""Events by what is asked for, newest first: those of a tenant's feed, or of an operation's log.

Events have places: in the feed, or the sequence in a log. Both grow with time, so that a moment is
found by halving, and what is asked for besides is looked for from there on back. Where few events
are like it, many are looked at for a page, but never all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from service.domain.operation import Operation
from service.ports import EventView, ReadStore

#: Rows of a page.
MANY: Final = 50
#: Parts that are read for a page, and the events of each where not every one of them is shown.
_LOOKS: Final = 10
_PART: Final = 500
#: Bytes of events in a part, about: they may be large, and are all in memory at once.
_BYTES: Final = 4 * 2**20
#: Milliseconds by which an event may be older than one that stands before it: commits overtake, and
#: one may wait for locks as long as a statement may take.
_OVERTAKEN: Final = 15_000


@dataclass(frozen=True, slots=True)
class Search:
    """What is asked for: the events between two moments (ms; ``None``: up to now) that are taken.

    Whoever takes all of them says so.
    """

    takes: Callable[[EventView], bool]
    since: int = 0
    until: int | None = None
    takes_all: bool = False

    def has(self, event: EventView) -> bool:
        """Whether it is one of them."""
        is_before = self.until is None or event.created_at < self.until
        return is_before and event.created_at >= self.since and self.takes(event)


class Source(Protocol):
    """Events by their places."""

    def place(self, event: EventView) -> int:
        """The place of one of them."""

    async def end(self) -> int:
        """The last place."""

    async def read(self, after: int, count: int) -> tuple[Sequence[EventView], int]:
        """Events behind a place, oldest first; and the last place whose event may be gone."""


@dataclass(frozen=True, slots=True)
class Feed:
    """All events of a tenant."""

    reads: ReadStore
    tenant: str

    def place(self, event: EventView) -> int:
        """Its place in the feed."""
        return event.feed_position

    async def end(self) -> int:
        """The place of the newest one."""
        return (await self.reads.feed_ends([self.tenant])).get(self.tenant, 0)

    async def read(self, after: int, count: int) -> tuple[Sequence[EventView], int]:
        """A part of the feed."""
        part = await self.reads.feed(self.tenant, after, count)
        return part.events, part.floor


@dataclass(frozen=True, slots=True)
class Log:
    """The events of one operation."""

    reads: ReadStore
    operation: Operation

    def place(self, event: EventView) -> int:
        """Its sequence."""
        return event.sequence or 0

    async def end(self) -> int:
        """The newest one's sequence."""
        return self.operation.sequence

    async def read(self, after: int, count: int) -> tuple[Sequence[EventView], int]:
        """A part of the log."""
        return await self.reads.log(self.operation.key, after, count), 0


async def newest(
    source: Source, search: Search, before: int | None
) -> tuple[list[EventView], int | None]:
    """A page of what is asked for, newest first, and before which place to go on.

    It begins ``before`` a place; ``None``: at the newest event that is asked for.
    """
    end = await source.end() + 1
    before = await _behind(source, search.until, end) if before is None else min(before, end)
    part = MANY
    found: list[EventView] = []
    for _ in range(_LOOKS):
        after = max(before - 1 - part, 0)
        events, floor = await source.read(after, part)
        for each in reversed([each for each in events if source.place(each) < before]):
            if each.created_at < search.since - _OVERTAKEN:
                return found, None
            if search.has(each):
                found.append(each)
            if len(found) == MANY:
                further = source.place(each)
                return found, further if further - 1 > max(floor, 0) else None
        before = after + 1
        if after <= max(floor, 0):
            return found, None
        if not search.takes_all:
            part = _next_part(events)
    return found, before


def _next_part(events: Sequence[EventView]) -> int:
    """How many events to read next, by how large these are."""
    size = sum(len(each.body) for each in events) // max(len(events), 1)
    return min(max(_BYTES // max(size, 1), MANY), _PART)


async def _behind(source: Source, until: int | None, end: int) -> int:
    """The first place from which on all events are of ``until`` or later, up to ``end``."""
    low, high = 0, end
    while until is not None and high - low > 1:
        middle = (low + high) // 2
        events, _ = await source.read(middle - 1, 1)
        if not events or source.place(events[0]) >= high:
            high = middle
        elif events[0].created_at < until + _OVERTAKEN:
            low = source.place(events[0])
        else:
            high = middle
    return high
