"""Sweep: find what nobody was told of, and tidy up.

It makes a lost wake cost a second, never a delivery. What may take long is done beside the rounds,
so that none of them waits for it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from service.ports import Clock, StoreUnavailableError, SweepStore, Waker
from service.usecases.reporting import report

#: Seconds between two rounds.
_DUE: Final = 1.0
#: Seconds between looks: at leases and at what is due, at what waits in ordered lanes, at closed
#: subscriptions, at what is past retention, at the parts that tables are in.
_ALWAYS: Final = 0.0
_PARKED: Final = 3.0
_CLOSED: Final = 2.0
_OLD: Final = 30.0
_PARTS: Final = 60.0
#: Seconds, at most, after which what may take long is tried again when it failed.
_LATEST: Final = 3600.0
#: Seconds that a chore has when it is done for the last time.
_LAST: Final = 3.0
#: Seconds until it is tried once more, where not all of it could be done.
_AGAIN: Final = 0.1


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
    #: It writes what this process has in memory, and so is done once more at its end.
    keeps: bool = False
    #: It may take long: the others do not wait for it, and after a failure it waits ever longer.
    is_long: bool = False


class Rounds:
    """Does chores, each when its time has come; looks every second."""

    def __init__(self, clock: Clock, chores: Iterable[Chore]) -> None:
        self._clock = clock
        self._chores = tuple(chores)
        self._next: dict[str, float] = {}
        #: How often in a row each of those has failed that may take long.
        self._failures: Counter[str] = Counter()
        self._whole_at: float | None = None

    @property
    def age(self) -> float | None:
        """Seconds since the end of the last round in which nothing failed, else since the start.

        What is done beside the rounds does not count: it may wait long for its next time. ``None``:
        this process does not go round.
        """
        return None if self._whole_at is None else self._clock.monotonic() - self._whole_at

    async def run(self) -> None:
        """Go round until cancelled; what fails is tried again a second later."""
        self._whole_at = self._clock.monotonic()
        async with asyncio.TaskGroup() as group:
            for chore in self._chores:
                if chore.is_long:
                    group.create_task(self._beside(chore), name=f"chore-{chore.name}")
            await self._go_round([chore for chore in self._chores if not chore.is_long])

    async def _go_round(self, chores: Sequence[Chore]) -> None:
        while True:
            done = [await self._tried(chore) for chore in chores]
            if all(done):
                self._whole_at = self._clock.monotonic()
            await asyncio.sleep(_DUE)

    async def _beside(self, chore: Chore) -> None:
        while True:
            if self._is_due(chore):
                self._count(chore, is_done=await self._tried(chore))
            await asyncio.sleep(_DUE)

    def _count(self, chore: Chore, *, is_done: bool) -> None:
        """Let what failed wait for the longer, the more often it did so in a row."""
        if is_done:
            del self._failures[chore.name]
            return
        self._failures[chore.name] += 1
        pause = min(chore.period * self._failures[chore.name] ** 2, _LATEST)
        self._next[chore.name] = self._clock.monotonic() + pause

    async def tick(self) -> None:
        """Do every chore whose time has come."""
        for chore in self._chores:
            await self._do(chore)

    async def finish(self) -> None:
        """Do for the last time what would be lost with this process; not if the store is away."""
        for chore in self._chores:
            if chore.keeps:
                with suppress(StoreUnavailableError, TimeoutError):
                    async with asyncio.timeout(_LAST):
                        while await chore.work():  # noqa: ASYNC110  others are in the way
                            await asyncio.sleep(_AGAIN)

    async def _tried(self, chore: Chore) -> bool:
        """Do the chore if its time has come; whether nothing failed."""
        try:
            await self._do(chore)
        except StoreUnavailableError:
            for each in self._chores:
                if not each.is_long:
                    self._next.pop(each.name, None)
        except Exception as error:  # noqa: BLE001  the other chores, and the next round, go on
            report(f"The chore {chore.name!r} failed", error)
        else:
            return True
        return False

    async def _do(self, chore: Chore) -> None:
        if not self._is_due(chore):
            return
        now = self._clock.monotonic()
        done = await chore.work()
        self._next[chore.name] = now if done else now + chore.period

    def _is_due(self, chore: Chore) -> bool:
        return self._clock.monotonic() >= self._next.get(chore.name, 0.0)


class Sweep(Rounds):
    """Keeps the queue moving, whatever was lost; what else is to be tidied up are ``chores``."""

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
        self._terms = terms
        #: Leases of workers that are gone, or slept, found by this process.
        self.expired_leases = 0
        own = (
            Chore("leases", _ALWAYS, self._reclaim),
            Chore("parked", _PARKED, self._unpark),
            Chore("closed", _CLOSED, store.retire),
            Chore("parts", _PARTS, lambda: store.renew_parts(terms.retention), is_long=True),
            Chore("old", _OLD, lambda: store.forget(terms.retention)),
        )
        super().__init__(clock, (*own, *chores))

    async def start(self) -> None:
        """Void every lease: in a store of one process nobody but us could hold one."""
        while lanes := await self._store.reclaim(self._terms.schedule, everything=True):
            self.expired_leases += len(lanes)

    async def _reclaim(self) -> int:
        while lanes := await self._store.reclaim(self._terms.schedule):
            self.expired_leases += len(lanes)
            self._waker.wake(lanes)
        return 0

    async def _unpark(self) -> int:
        """Let go everything that waits without need."""
        while lanes := await self._store.unpark():
            self._waker.wake(lanes)
        return 0


def due(store: SweepStore, waker: Waker) -> Chore:
    """What every worker looks for itself, however well it is woken: lanes with something due."""

    async def look() -> int:
        lanes = await store.due_lanes()
        if lanes:
            waker.wake(lanes)
        return 0

    return Chore("due", _ALWAYS, look)
