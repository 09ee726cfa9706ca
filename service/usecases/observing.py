"""Observe: look at how the queue stands, seldom enough that looking costs next to nothing.

What a sweeper saw is also kept over time, so that charts can show it.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from service.domain.traffic import Gauges
from service.ports import (
    Backlog,
    Clock,
    QueueStore,
    StatsStore,
    StoreUnavailableError,
    TrafficStore,
)
from service.usecases.sweep import Chore

#: Seconds between two looks, at the least.
_PERIOD: Final = 2.0
#: Counting reads the whole queue: it may take this share of the time.
_SHARE: Final = 0.02
#: Seconds between two looks that are kept: each minute has one.
_KEEP: Final = 30.0
#: Seconds of a look that whoever asks may have anew.
_CHEAP: Final = 0.01


@dataclass(frozen=True, slots=True)
class Standing:
    """How the queue stood at a moment, over all tenants."""

    backlog: Backlog
    #: ms, as in :class:`service.ports.QueueStore`.
    queue_age: int
    in_flight: int
    circuits_open: int
    #: The moment, by the monotonic clock, and the seconds that the look took.
    at: float
    cost: float


class Observe:
    """Keeps what was seen last."""

    def __init__(self, queue: QueueStore, stats: StatsStore, clock: Clock) -> None:
        self._queue = queue
        self._stats = stats
        self._clock = clock
        self._looking = asyncio.Lock()
        self._seen: Standing | None = None

    def chore(self) -> Chore:
        """The look that a sweeper takes from time to time."""
        return Chore("standing", _PERIOD, self._look_again)

    def keeping(self, store: TrafficStore) -> Chore:
        """Keep what the looks of a sweeper see."""

        async def keep() -> int:
            seen = self._seen
            if seen is not None:
                backlog = seen.backlog
                gauges = Gauges(
                    in_flight=seen.in_flight,
                    due=backlog.due,
                    oldest_due_age=backlog.oldest_due_age,
                    dead_letters_open=backlog.dead_letters_open,
                )
                await store.sample(gauges)
            return 0

        return Chore("samples", _KEEP, keep)

    async def standing(self) -> Standing | None:
        """How the queue stands; how it stood a while ago, where a look takes time or is refused."""
        if self._seen is None or self._seen.cost < _CHEAP:
            with suppress(StoreUnavailableError):
                await self._look()
        return self._seen

    async def _look_again(self) -> int:
        seen = self._seen
        if seen is None or self._clock.monotonic() - seen.at >= seen.cost / _SHARE:
            await self._look()
        return 0

    async def _look(self) -> None:
        async with self._looking:  # many who ask at once do not count at once
            began = self._clock.monotonic()
            backlog, age = await self._queue.backlog(), await self._queue.queue_age()
            stats = await self._stats.service_stats()
            now = self._clock.monotonic()
            self._seen = Standing(
                backlog, age, stats.in_flight, stats.circuits_open, now, now - began
            )
