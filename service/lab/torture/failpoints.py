"""Failpoints: at one step of an event's journey, once, the process dies, sleeps, or meets a bug.

They stand in the ports that the journey goes through, and in the transactions behind them. The
product has none of them: the lab composes it over ports that do.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from enum import StrEnum
from typing import Any, Final, TypeVar, cast

from service import ports
from service.domain.outcome import Outcome
from service.domain.request import OutboundRequest
from service.runtime.clock import SystemClock
from service.runtime.wiring import Base, Journey, Outside
from service.store.database import Database

T = TypeVar("T")

#: Milliseconds of a lease here: half a minute is long to wait for.
LEASE: Final = 2_000
#: Seconds of a sleep: the lease is over, and the sweep has been there.
_SLEEP: Final = 3.5
#: Seconds that seem to pass in a sleep, on the clock that a worker judges its leases by.
_SEEMING: Final = 45.0
#: Seconds in which a sweep comes, at the latest.
_SWEEP: Final = 20.0


class Spot(StrEnum):
    """A step of the journey."""

    ACCEPT_BEFORE = "before the accept"
    ACCEPT_COMMIT = "in the accept, before its commit"
    ACCEPT_AFTER = "after the accept, before the answer"
    WAKE_BEFORE = "before the wake"
    WAKE_AFTER = "after the wake"
    CLAIM_BEFORE = "before the claim"
    CLAIM_COMMIT = "in the claim, before its commit"
    CLAIM_AFTER = "after the claim"
    SEND_BEFORE = "before the send"
    SEND_AFTER = "after the send, before the settle"
    SETTLE_COMMIT = "in the settle, before its commit"
    SETTLE_AFTER = "after the settle"


class Action(StrEnum):
    """What happens there."""

    EXIT = "exit"
    SLEEP = "sleep"
    RAISE = "raise"


class FailpointError(Exception):
    """A bug, as it were."""


class Slipping(SystemClock):
    """The machine's clock; what it calls monotonic can be put ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic() + self.ahead


class Failpoint:
    """Fires once, where the journey first comes by its spot; never without one."""

    def __init__(self, what: tuple[Spot, Action] | None, clock: Slipping) -> None:
        self._what = what
        self._clock = clock
        self._sweep = asyncio.Event()

    async def reach(self, spot: Spot, *, swept: bool = True) -> None:
        """Fire if this is the spot. A sleep lasts until leases were ``swept``, if it lets them."""
        if self._is_due(spot):
            await asyncio.sleep(_SLEEP)
            if swept:
                self._sweep.clear()
                async with asyncio.timeout(_SWEEP):
                    await self._sweep.wait()
            self._clock.ahead += _SEEMING

    def block(self, spot: Spot) -> None:
        """As :meth:`reach`, and nothing else in the process goes on meanwhile."""
        if self._is_due(spot):
            time.sleep(_SLEEP)
            self._clock.ahead += _SEEMING

    async def watch(self, sweep: Awaitable[T]) -> T:
        """Let a sweep happen, and know of it."""
        found = await sweep
        self._sweep.set()
        return found

    def _is_due(self, spot: Spot) -> bool:
        """Whether to sleep here; nobody comes back from the other two."""
        if self._what is None or self._what[0] is not spot:
            return False
        action, self._what = self._what[1], None
        if action is Action.EXIT:
            os.kill(os.getpid(), signal.SIGKILL)
        if action is Action.RAISE:
            raise FailpointError(spot.value)
        return True


#: In which transaction of the journey we are, if in any.
_committing: ContextVar[Spot | None] = ContextVar("committing", default=None)


class _Transactions:
    """A database whose transactions can fail just before they are committed."""

    def __init__(self, database: Database, point: Failpoint) -> None:
        self._database = database
        self._point = point

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever the database has
        return getattr(self._database, name)

    async def write(self, job: Callable[[Any], Awaitable[T]], *more: Any, **named: Any) -> T:  # noqa: ANN401  as above
        """Run a job, and come by the spot of its commit."""
        spot = _committing.get()
        if spot is None:
            return await self._database.write(job, *more, **named)

        async def come_by() -> None:
            await self._point.reach(spot, swept=False)

        async def failing(tx: Any) -> T:  # noqa: ANN401  the store's own
            done = await job(_Ending(tx, come_by))
            await come_by()
            return done

        return await self._database.write(failing, *more, **named)


class _Ending:
    """A transaction that comes by somewhere before a statement that commits itself."""

    def __init__(self, tx: Any, come_by: Callable[[], Awaitable[None]]) -> None:  # noqa: ANN401  the store's own
        self._tx = tx
        self._come_by = come_by

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever it has
        found = getattr(self._tx, name)
        if name not in ("lease", "only"):
            return found

        async def ending(*given: Any, **named: Any) -> Any:  # noqa: ANN401  as it takes
            await self._come_by()
            return await found(*given, **named)

        return ending


async def _within(spot: Spot, work: Awaitable[T]) -> T:
    token = _committing.set(spot)
    try:
        return await work
    finally:
        _committing.reset(token)


class _Accept:
    """See :class:`service.ports.AcceptStore`."""

    def __init__(self, store: ports.AcceptStore, point: Failpoint) -> None:
        self._store = store
        self._point = point

    async def accept(
        self,
        group: Sequence[ports.AcceptRequest],
        *,
        bounded: bool = True,
        foretell: ports.Foretell | None = None,
    ) -> list[ports.AcceptResult]:
        """Accept between two spots."""
        await self._point.reach(Spot.ACCEPT_BEFORE)
        accepting = self._store.accept(group, bounded=bounded, foretell=foretell)
        results = await _within(Spot.ACCEPT_COMMIT, accepting)
        await self._point.reach(Spot.ACCEPT_AFTER)
        return results

    async def pending(self) -> int:
        """Untouched."""
        return await self._store.pending()


class _Wake:
    """See :class:`service.ports.Waker`."""

    def __init__(self, waker: ports.Waker, point: Failpoint) -> None:
        self._waker = waker
        self._point = point

    def wake(self, lanes: Iterable[int]) -> None:
        """Wake between two spots."""
        self._point.block(Spot.WAKE_BEFORE)
        self._waker.wake(lanes)
        self._point.block(Spot.WAKE_AFTER)


class _Deliver:
    """See :class:`service.ports.DeliverStore`; its leases are short."""

    def __init__(self, store: ports.DeliverStore, point: Failpoint) -> None:
        self._store = store
        self._point = point

    async def claim(self, quotas: Sequence[ports.LaneQuota], lease: int) -> ports.Claim:
        """Claim between two spots; one that brings nothing comes by the first only."""
        await self._point.reach(Spot.CLAIM_BEFORE)
        claim = await _within(Spot.CLAIM_COMMIT, self._store.claim(quotas, min(lease, LEASE)))
        if claim.deliveries:
            await self._point.reach(Spot.CLAIM_AFTER)
        return claim

    async def release(self, claimed: Sequence[ports.Claimed]) -> None:
        """Untouched."""
        await self._store.release(claimed)

    async def settle(self, results: Sequence[ports.Settlement]) -> ports.Settled:
        """Settle, and come by two spots."""
        settled = await _within(Spot.SETTLE_COMMIT, self._store.settle(results))
        await self._point.reach(Spot.SETTLE_AFTER)
        return settled


class _Send:
    """See :class:`service.ports.Sender`."""

    def __init__(self, sender: ports.Sender, point: Failpoint) -> None:
        self._sender = sender
        self._point = point

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever the sender has
        return getattr(self._sender, name)

    async def send(self, request: OutboundRequest) -> Outcome:
        """Send between two spots."""
        await self._point.reach(Spot.SEND_BEFORE)
        outcome = await self._sender.send(request)
        await self._point.reach(Spot.SEND_AFTER)
        return outcome


class _Sweep:
    """A store whose looks at leases are known of."""

    def __init__(self, store: ports.SweepStore, point: Failpoint) -> None:
        self._store = store
        self._point = point

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever the store has
        return getattr(self._store, name)

    async def reclaim(self, schedule: tuple[float, ...], *, everything: bool = False) -> list[int]:
        """Reclaim."""
        return await self._point.watch(self._store.reclaim(schedule, everything=everything))


class Failing(Outside):
    """A world with one failpoint in it; with none, only its leases are short."""

    def __init__(self, failpoint: tuple[Spot, Action] | None) -> None:
        self._clock = Slipping()
        self._point = Failpoint(failpoint, self._clock)

    def clock(self) -> ports.Clock:
        """The clock by which a sleep seems long."""
        return self._clock

    def near(self, waker: ports.Waker) -> ports.Waker:
        """Between two spots, as other wakes."""
        return _Wake(waker, self._point)

    def base(self, base: Base) -> Base:
        """Over transactions that can fail."""
        failing = cast("Database", _Transactions(base.database, self._point))
        return replace(base, database=failing)

    def journey(self, journey: Journey) -> Journey:
        """Through ports that can fail."""
        point = self._point
        return Journey(
            accept=_Accept(journey.accept, point),
            waker=_Wake(journey.waker, point),
            deliver=_Deliver(journey.deliver, point),
            sender=cast("ports.Sender", _Send(journey.sender, point)),
            sweep=cast("ports.SweepStore", _Sweep(journey.sweep, point)),
        )
