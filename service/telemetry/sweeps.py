"""What the log says of sweeps: a line for each that found something to do."""

import logging
from typing import Final

from service.ports import Backlog, Clock, SweepStore

_logger = logging.getLogger("ringback.sweep")

#: Seconds after which what retention deletes is told, although it goes on.
_MEANWHILE: Final = 60.0


class ToldSweeps:
    """See :class:`service.ports.SweepStore`; what a sweep did is told when it is done."""

    def __init__(self, store: SweepStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        #: Rows deleted since that was told last, and when the first of them was.
        self._forgotten = 0
        self._since = 0.0

    async def due_lanes(self) -> list[int]:
        """Lanes with something to claim now."""
        return await self._store.due_lanes()

    async def reclaim(self, schedule: tuple[float, ...], *, everything: bool = False) -> list[int]:
        """Make deliveries due again whose lease ran out."""
        lanes = await self._store.reclaim(schedule, everything=everything)
        if lanes:
            told = {"leases": len(lanes), "subscriptions": len(set(lanes))}
            _logger.warning("leases taken back", extra=told)
        return lanes

    async def retire(self) -> int:
        """Dead-letter what waits for deleted and disabled subscriptions."""
        done = await self._store.retire()
        if done:
            _logger.info("deliveries of closed subscriptions given up", extra={"deliveries": done})
        return done

    async def unpark(self) -> list[int]:
        """Let go what waits in ordered lanes without need."""
        return await self._store.unpark()

    async def backlog(self) -> Backlog:
        """How much is open now."""
        return await self._store.backlog()

    async def forget(self, retention: int) -> int:
        """Delete a batch of what is too old; all batches of a minute are one line."""
        done = await self._store.forget(retention)
        now = self._clock.monotonic()
        if done and not self._forgotten:
            self._since = now
        self._forgotten += done
        if self._forgotten and (not done or now - self._since >= _MEANWHILE):
            _logger.info("past retention, deleted", extra={"rows": self._forgotten})
            self._forgotten = 0
        return done

    async def renew_parts(self, retention: int) -> int:
        """Make parts of tables for the time to come, or drop one that is too old."""
        done = await self._store.renew_parts(retention)
        if done:
            _logger.info("parts of tables made or dropped", extra={"parts": done})
        return done
