"""Sweep: find what nobody was told of, and tidy up.

It makes a lost wake cost a second, never a delivery.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from service.ports import Clock, StoreUnavailableError, SweepStore, Waker
from service.usecases.reporting import report

#: Seconds between looks: at what is due, at what waits in ordered lanes, at closed subscriptions,
#: at what is past retention.
_DUE: Final = 1.0
_PARKED: Final = 3.0
_CLOSED: Final = 2.0
_OLD: Final = 30.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What the sweep goes by."""

    #: Seconds before each attempt, where the subscription says nothing.
    schedule: tuple[float, ...]
    #: Milliseconds for which delivered events are kept.
    retention: int


class Sweep:
    """Looks at the store every second."""

    def __init__(self, store: SweepStore, waker: Waker, clock: Clock, terms: Terms) -> None:
        self._store = store
        self._waker = waker
        self._clock = clock
        self._terms = terms
        self._next: dict[str, float] = {}
        self._looks = (self._leases, self._parked, self._due, self._closed, self._old)

    async def start(self) -> None:
        """Void every lease: in a store of one process nobody but us could hold one."""
        while await self._store.reclaim(self._terms.schedule, everything=True):
            pass

    async def run(self) -> None:
        """Sweep until cancelled; what fails is tried again a second later."""
        while True:
            for look in self._looks:
                try:
                    await look()
                except StoreUnavailableError:
                    self._next.clear()
                except Exception as error:  # noqa: BLE001  the other looks, and the next one, go on
                    report("The sweep failed", error)
            await asyncio.sleep(_DUE)

    async def tick(self) -> None:
        """One look at everything whose time has come."""
        for look in self._looks:
            await look()

    async def _leases(self) -> None:
        while await self._store.reclaim(self._terms.schedule):
            pass

    async def _due(self) -> None:
        lanes = await self._store.due_lanes()
        if lanes:
            self._waker.wake(lanes)

    async def _parked(self) -> None:
        await self._every("parked", _PARKED, self._unpark)

    async def _unpark(self) -> int:
        """Let go everything that waits without need."""
        while lanes := await self._store.unpark():
            self._waker.wake(lanes)
        return 0

    async def _closed(self) -> None:
        await self._every("closed", _CLOSED, self._store.retire)

    async def _old(self) -> None:
        await self._every("old", _OLD, lambda: self._store.forget(self._terms.retention))

    async def _every(self, name: str, period: float, work: Callable[[], Awaitable[int]]) -> None:
        """Do bounded work once a period, and at every tick while it finds something to do."""
        now = self._clock.monotonic()
        if now < self._next.get(name, 0.0):
            return
        done = await work()
        self._next[name] = now if done else now + period
