"""How deliveries go, as operators ask for it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from service.domain.health import Health, circuit
from service.domain.tallies import Tally
from service.domain.traffic import Range
from service.ports import (
    Backlog,
    BacklogStore,
    Clock,
    ServiceStats,
    StatsStore,
    SubscriptionStats,
)

#: Seconds for which what is open is not counted again: counting reads the whole queue's index.
_FRESH: Final = 2.0


class Stats:
    """Reads numbers; ``allowed`` tells how much of a lane may be in flight in this process."""

    def __init__(
        self,
        store: StatsStore,
        backlog: BacklogStore,
        clock: Clock,
        allowed: Callable[[int], int],
    ) -> None:
        self._store = store
        self._backlog = backlog
        self._clock = clock
        self._allowed = allowed
        self._counting = asyncio.Lock()
        self._counted: tuple[float, Backlog] | None = None

    async def subscription(self, subscription_no: int) -> tuple[SubscriptionStats, int]:
        """How one subscription's deliveries go, and how many of them may be in flight now."""
        stats = await self._store.subscription_stats(subscription_no)
        return stats, self._allowed(subscription_no)

    async def subscription_attempts(self, subscription_no: int, wanted: Range) -> Sequence[Tally]:
        """One subscription's attempts over a range up to now, by its steps, oldest first."""
        return await self._store.subscription_attempts(subscription_no, wanted)

    async def healths(self, subscription_nos: Sequence[int]) -> Mapping[int, tuple[Health, str]]:
        """What is remembered of each of these receivers, and the state of its circuit."""
        known, at = await self._store.healths(subscription_nos)
        return {number: (each, circuit(each, at)) for number, each in known.items()}

    async def service(self) -> tuple[ServiceStats, Backlog]:
        """How all deliveries go, and what is open: as it was two seconds ago at the most."""
        return await self._store.service_stats(), await self._open()

    async def _open(self) -> Backlog:
        async with self._counting:  # many who ask at once cost one count
            now = self._clock.monotonic()
            if self._counted is None or now - self._counted[0] >= _FRESH:
                self._counted = now, await self._backlog.backlog()
            return self._counted[1]
