"""Prune: what the sweep deletes in the course of time, now and to the end."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from service.ports import StoreUnavailableError
from service.ports.pruning import Past, PruneStore

#: Does a batch; how much that was.
Step = Callable[[], Awaitable[int]]
#: Is told how many rows have been deleted.
Told = Callable[[int], None]

#: Rounds that find nothing to do although there is something: a sweeper may be at it.
_PATIENCE: Final = 10
#: Seconds between two of them.
_PAUSE: Final = 0.2


class Prune:
    """Takes all steps until none finds anything; ``retention`` is in ms."""

    def __init__(
        self, store: PruneStore, steps: Sequence[Step], retention: int, *, is_alone: bool
    ) -> None:
        self._store = store
        self._steps = steps
        self._retention = retention
        self._is_alone = is_alone

    async def past(self) -> Past:
        """How much there is to delete."""
        return await self._store.past(self._retention)

    async def run(self, told: Told) -> Past:
        """Delete it; how much is left, because something still needs it.

        Raises:
            StoreUnavailableError: the store is away.
            Exception: what a step failed by, once the others found nothing more to do.
        """
        rows = idle = 0
        while True:
            done, failed = await self._round()
            rows += done
            told(rows)
            idle = 0 if done else idle + 1
            if not done:
                if failed:
                    raise failed[0] if len(failed) == 1 else ExceptionGroup("Steps failed", failed)
                left = await self.past()
                if self._is_alone or not left.events or idle == _PATIENCE:
                    return left
                await asyncio.sleep(_PAUSE)

    async def _round(self) -> tuple[int, list[Exception]]:
        """Take each step once; how much they did, and what some failed by."""
        done, failed = 0, list[Exception]()
        for step in self._steps:
            try:
                done += await step()
            except StoreUnavailableError:
                raise
            except Exception as error:  # noqa: BLE001  raised when the others are at their ends
                failed.append(error)
        return done, failed
