"""Counts that wait in memory until they are written, in a transaction that does nothing else.

All processes add to the same rows, which stay locked until the commit: one that stands still with
them in hand keeps the others from counting for as long, and from nothing else. They wait for it
next to no time, and have what they could not write for the next round, about a second later. A
crash costs what waits: a second's counts as a rule, and those of all rounds that were in vain.
"""

from heapq import nlargest
from operator import attrgetter
from typing import Final

from service.ports import StoreBusyError, StoreUnavailableError, UnknownCommitError
from service.store import tallying
from service.store.database import Database, Tx
from service.store.tallying import Counts

#: Counts that wait at most, some 10 MB; beyond it the oldest are lost.
MOST: Final = 20_000


class WaitingCounts:
    """What this process has counted and not yet written."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counts = Counts()

    def add(self, counts: Counts) -> None:
        """Add to what waits."""
        self._counts.update(counts)

    async def flush(self) -> int:
        """Write what waits; how many counts still wait.

        Raises:
            StoreUnavailableError: the store is away. What waits still does, unless it may have been
            written.
        """
        counts, self._counts = self._counts, Counts()
        if counts:
            await self._write(counts)
        return len(self._counts)

    async def _write(self, counts: Counts) -> None:
        async def job(tx: Tx) -> None:
            await tx.limit_waits()
            await tallying.add(tx, counts)

        try:
            await self._database.write(job)
        except StoreBusyError:
            self._put_back(counts)
        except UnknownCommitError:
            raise
        except StoreUnavailableError:
            self._put_back(counts)
            raise

    def _put_back(self, counts: Counts) -> None:
        counts.update(self._counts)
        if len(counts) > MOST:
            kept = nlargest(MOST, counts, key=attrgetter("slice_at"))
            counts = Counts({key: counts[key] for key in kept})
        self._counts = counts
