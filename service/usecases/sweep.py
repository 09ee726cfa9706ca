"""Sweep: find what nobody was told of, and tidy up.

It makes a lost wake cost a second, never a delivery.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
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


@dataclass(frozen=True, slots=True)
class Chore:
    """Bounded work to be done once a period, and at every tick while it finds something to do."""

    name: str
    #: Seconds.
    period: float
    #: Does it; how much there was to do.
    work: Callable[[], Awaitable[int]]


class Sweep:
    """Looks at the store every second; what else is to be looked at are ``chores``."""

    def __init__(
        self,
        store: SweepStore,
        waker: Waker,
        clock: Clock,
        terms: Terms,
        chores: Iterable[Chore] = (),
    ) -> None:
        self._store = store
        self._waker = waker
        self._clock = clock
        self._terms = terms
        self._next: dict[str, float] = {}
        own = (
            Chore("parked", _PARKED, self._unpark),
            Chore("closed", _CLOSED, store.retire),
            Chore("old", _OLD, lambda: store.forget(terms.retention)),
        )
        dues = (partial(self._every, chore) for chore in (*own, *chores))
        self._looks: tuple[Callable[[], Awaitable[None]], ...] = (self._leases, self._due, *dues)

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

    async def _unpark(self) -> int:
        """Let go everything that waits without need."""
        while lanes := await self._store.unpark():
            self._waker.wake(lanes)
        return 0

    async def _every(self, chore: Chore) -> None:
        now = self._clock.monotonic()
        if now < self._next.get(chore.name, 0.0):
            return
        done = await chore.work()
        self._next[chore.name] = now if done else now + chore.period
