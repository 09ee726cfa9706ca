"""Events by what is asked for, newest first: those of a tenant's feed, or of an operation's log.

Events have places: in the feed, or the sequence in a log. Both grow with time, but for events that
were overtaken, so that a moment is found by halving, and the store looks between two moments alone.
What is asked for besides is looked for there. Where few events are like it, many are looked at for
a page, but never all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from service.domain.ids import MAX_KEY
from service.domain.operation import Operation
from service.ports import EventLine, EventSpan, EventView, ReadStore

#: Rows of a page.
MANY: Final = 50
#: Parts that are read for a page, and the events of each but the first.
_LOOKS: Final = 10
_PART: Final = 500
#: How many places behind one of a later time an event may stand that is found by its time. It has
#: the time at which its transaction began, and its place once that has all the locks before it. For
#: each it waits 5 s at most (the store's ``lock_timeout``), but for those of a group's operations
#: and tenants one after the other: nothing bounds the sum. So many places are taken in 30 s at
#: 1,000 events a second of one tenant, and in 3 s at 10,000. Either database looks at as many in
#: vain in some 15 to 40 ms, and a page does so twice at most.
_OVERTAKEN: Final = 30_000
#: Places between which a moment lies that is near enough. Ten more halvings cost more than to look
#: at as many events in vain, above all where a step is one in each of many parts of the table.
_NEAR: Final = 3_000


@dataclass(frozen=True, slots=True)
class Search:
    """What is asked for: the events from one moment to before another one (ms) that are taken."""

    takes: Callable[[EventLine | EventView], bool]
    since: int = 0
    until: int = MAX_KEY

    def has(self, event: EventView) -> bool:
        """Whether it is one of them."""
        return self.since <= event.created_at < self.until and self.takes(event)


class Source(Protocol):
    """Events by their places."""

    def place(self, event: EventLine) -> int:
        """The place of one of them."""

    async def ends(self) -> tuple[int, int]:
        """The last place whose event may be gone, and the last place."""

    async def read(self, span: EventSpan, count: int) -> Sequence[EventLine]:
        """Events of a span, newest first."""


@dataclass(frozen=True, slots=True)
class Feed:
    """All events of a tenant."""

    reads: ReadStore
    tenant: str

    def place(self, event: EventLine) -> int:
        """Its place in the feed."""
        return event.feed_position

    async def ends(self) -> tuple[int, int]:
        """How far retention has come, and the place of the newest one."""
        bounds = await self.reads.feed(self.tenant, 0, 0)
        return bounds.floor, bounds.end

    async def read(self, span: EventSpan, count: int) -> Sequence[EventLine]:
        """A part of the feed."""
        return await self.reads.feed_newest(self.tenant, span, count)


@dataclass(frozen=True, slots=True)
class Log:
    """The events of one operation."""

    reads: ReadStore
    operation: Operation

    def place(self, event: EventLine) -> int:
        """Its sequence."""
        return event.sequence or 0

    async def ends(self) -> tuple[int, int]:
        """Nothing, and the newest one's sequence."""
        return 0, self.operation.sequence

    async def read(self, span: EventSpan, count: int) -> Sequence[EventLine]:
        """A part of the log."""
        return await self.reads.log_newest(self.operation.key, span, count)


async def newest(
    source: Source, search: Search, before: int | None
) -> tuple[list[EventLine], int | None]:
    """A page of what is asked for, newest first, and before which place to go on.

    It begins ``before`` a place; ``None``: at the newest event that is asked for.
    """
    span = await _span(source, search, before)
    part = MANY + 1
    found: list[EventLine] = []
    for _ in range(_LOOKS):
        near = replace(span, after=max(span.before - 2 - part - _OVERTAKEN - _NEAR, span.after))
        events = await source.read(near, part)
        found += filter(search.takes, events)
        if len(found) > MANY:
            return found[:MANY], source.place(found[MANY - 1])
        is_full = len(events) == part
        span = replace(span, before=source.place(events[-1]) if is_full else near.after + 1)
        if span.before - 1 <= span.after:
            return found, None
        part = _PART
    return found, span.before


async def _span(source: Source, search: Search, before: int | None) -> EventSpan:
    """Where the events are that are asked for, with those that were overtaken."""
    floor, end = await source.ends()
    after, behind = floor, end + 1
    if search.since > 0:
        low, _ = await _around(source, search.since, (floor, end + 1))
        after = max(low - 1 - _OVERTAKEN, floor)
    if before is not None:
        behind = min(before, behind)
    elif search.until < MAX_KEY:
        _, high = await _around(source, search.until, (floor, end + 1))
        behind = min(high + 1 + _OVERTAKEN, behind)
    return EventSpan(after, behind, search.since, search.until)


async def _around(source: Source, moment: int, between: tuple[int, int]) -> tuple[int, int]:
    """A place before a moment, and one at it or later, near each other; or the ends.

    Places have no gaps, but for the oldest events of a log: those may be forgotten.
    """
    low, high = between
    while high - low > _NEAR:
        middle = (low + high) // 2
        events = await source.read(EventSpan(middle - 1, middle + 1), 1)
        if events and events[0].created_at >= moment:
            high = middle
        else:
            low = middle
    return low, high
