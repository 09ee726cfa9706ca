"""What became of changes whose answer was lost.

A commit is asked after by the number of its transaction. What was a transaction by itself told no
number: it is over when the server's end of its connection is, and then either all that it wrote is
there or nothing. Nobody claims to know what cannot be found out.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, TypeVar

from asyncpg.exceptions import InvalidParameterValueError

from service.ports import StoreUnavailableError
from service.store import auditing
from service.store.database import Proof
from service.store.postgres import faults
from service.store.postgres.faults import AgainError
from service.store.postgres.tx import Look, PostgresTx
from service.store.statements import Row

T = TypeVar("T")

#: Seconds between two looks at what became of a commit; after so many nobody looks any more.
_LOOK: Final = 0.25
_LOOKING: Final = 8.0

#: What a standby shows may be from before it: nothing is over there until it is promoted.
_FATE: Final = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN 'in progress' ELSE pg_xact_status(?::text::xid8) END"
)
_IS_OPEN: Final = (
    "SELECT 1 FROM pg_stat_activity WHERE pid = ? UNION ALL SELECT 1 WHERE pg_is_in_recovery()"
)


class Doubt:
    """Finds out what became of changes, by what it reads."""

    def __init__(self, read: Callable[[], AbstractAsyncContextManager[PostgresTx]]) -> None:
        self._read = read

    async def of_commit(
        self, doubt: tuple[T, Proof[T] | None, int | None], number: str, error: Exception
    ) -> T:
        """What a job came to whose transaction had this number in the server.

        The server's own word is not enough to say that it was committed: after a crash the numbers
        of transactions that left no trace are given again.

        Raises:
            AgainError: it was not kept, and may be done again.
            UnknownCommitError: nobody knows.
            StoreUnavailableError: it was not kept.
        """
        fate = None
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOKING):
                fate = await self._fate(number)
        if fate == "aborted":
            raise AgainError from error
        is_there = None
        if fate == "committed":
            with suppress(StoreUnavailableError):
                is_there = await self._is_there(*doubt)
        if is_there:
            return doubt[0]
        raise (faults.unknown if is_there is None else faults.unavailable)(error) from error

    async def of_statement(self, pid: int, look: Look, error: Exception) -> list[Row]:
        """What a statement returned that was a transaction by itself in this process there.

        Raises:
            AgainError: it was not kept.
            UnknownCommitError: nobody knows.
        """
        found, is_known = None, False
        with suppress(TimeoutError, StoreUnavailableError):
            async with asyncio.timeout(_LOOKING):
                await self._end(pid)
                async with self._read() as tx:
                    found, is_known = await look(tx), True
        if not is_known:
            raise faults.unknown(error) from error
        if found is None:
            raise AgainError from error
        return found

    async def _fate(self, number: str) -> str | None:
        """What the server says of a transaction, as soon as it can be asked and it is over."""
        while True:
            try:
                async with self._read() as tx:  # behind a pooler nothing is asked outside of one
                    fate = (await tx.sql(_FATE, (number,)))[0][0]
            except StoreUnavailableError:
                fate = "in progress"  # as far as anybody knows
            except InvalidParameterValueError:
                return "aborted"  # it lies ahead: a crash left nothing of it, not even the number
            if fate != "in progress":
                return None if fate is None else str(fate)
            await asyncio.sleep(_LOOK)

    async def _end(self, pid: int) -> None:
        """Wait until the server can be asked, and has no process of this number any more."""
        while True:
            with suppress(StoreUnavailableError):
                async with self._read() as tx:
                    if not await tx.sql(_IS_OPEN, (pid,)):
                        return
            await asyncio.sleep(_LOOK)

    async def _is_there(self, outcome: T, proof: Proof[T] | None, noted: int | None) -> bool | None:
        """Whether what a job wrote is there; ``None``: there is nothing to know that by."""
        async with self._read() as tx:
            if proof is not None:
                return await proof(tx, outcome)
            return None if noted is None else await auditing.is_there(tx, noted)
