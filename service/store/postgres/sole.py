"""Who may work with a database without Redis: one process, and no other beside it.

A process that has none wakes nobody but itself, and hears of nothing that others do: so it is
alone, or does not start. While it lives it has an advisory lock, on a connection of its own. The
server takes both back in the moment in which the process dies, however it dies: nothing is in the
way of its next start. Of a whole machine that went, the server knows within half a minute.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from asyncpg import Connection

from service.ports import StoreInUseError, StoreUnavailableError
from service.store.postgres import asking, faults
from service.store.postgres.asking import asked
from service.store.postgres.connections import Address
from service.store.postgres.nodes import RENEWED

#: Seconds for which a start waits for others to be gone: the server may just be finding out.
PATIENCE: Final = 5.0
_POLL: Final = 0.1
#: Seconds between two looks whether the lock is still there, and for each answer.
_LOOK: Final = 10.0
_ANSWER: Final = 5.0
#: Milliseconds within which a process that lives says so.
RENEWAL: Final = 15_000

_KEY: Final = "hashtextextended('ringback/sole', 0)"
#: Held as long as the connection; behind a pooler, as long as the transaction.
_HOLD: Final = f"SELECT pg_try_advisory_lock({_KEY})"
_HOLD_POOLED: Final = f"SELECT pg_try_advisory_xact_lock({_KEY})"
#: Had for no longer than the statement takes.
_SHARE: Final = f"SELECT pg_try_advisory_xact_lock_shared({_KEY})"
#: A transaction that may be idle for as long as the process lives.
_ENDLESS: Final = "BEGIN; SELECT set_config('idle_in_transaction_session_timeout', '0', true)"
#: What was seen once in a transaction is what is seen again, but for this.
_AFRESH: Final = "SELECT pg_stat_clear_snapshot()"
_OTHERS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
    "AND datname = current_database() AND application_name LIKE 'ringback %'"
)
_HAS_NODES: Final = "SELECT to_regclass('nodes') IS NOT NULL"
_LOST: Final = (*faults.RAISED, StoreUnavailableError)

_logger = logging.getLogger(__name__)


async def meet(url: str) -> None:
    """Make sure that no process without Redis works with the database.

    Raises:
        StoreInUseError: one does.
    """
    address = Address.of(url)
    async with asked(address) as connection:

        async def is_let_in() -> bool:
            return bool(await connection.fetchval(_SHARE, timeout=_ANSWER))

        await _patiently(
            is_let_in,
            f"A process without RINGBACK_REDIS_URL works with {address.name}, and would hear of "
            "nothing that this one does. Give all processes the same redis:// URL, that one first.",
        )


@asynccontextmanager
async def alone(url: str) -> AsyncIterator[None]:
    """Be the only process that works with the database.

    Raises:
        StoreInUseError: another one does.
    """
    await asking.check(url)
    place = _Place(Address.of(url))
    try:
        await place.take()
        keeping = asyncio.create_task(place.keep(), name="store-alone")
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
    finally:
        await place.leave()


class _Place:
    """The one place that there is."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: Connection | None = None
        self._is_lost = asyncio.Event()
        self._taken = (
            f"Another process works with {address.name}, and RINGBACK_REDIS_URL is not set: each "
            "would hear of nothing that the other does. Stop the other one, or give all processes "
            "the same redis:// URL."
        )

    async def take(self) -> None:
        """Take it; others have a moment to be gone."""

        async def is_alone() -> bool:
            return await self._is_held() and await self._others() == 0

        await _patiently(is_alone, self._taken)
        if self._address.is_pooled:
            await self._outlast()

    async def keep(self) -> None:
        """Take it again as soon as the connection was lost; say so when another was faster."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._is_lost.wait()
            try:
                await self._look()
            except _LOST:
                await self.leave()

    async def leave(self) -> None:
        """Give it back."""
        connection, self._connection = self._connection, None
        self._is_lost.clear()
        if connection is not None:
            connection.remove_termination_listener(self._lost)
            await _hung_up(connection)

    async def _look(self) -> None:
        if self._is_lost.is_set():  # a pooler may bound how long a transaction is idle
            await self.leave()
        if self._connection is not None:
            await self._connection.execute("SELECT 1", timeout=_ANSWER)
        elif not await self._is_held():
            _logger.error(self._taken)
            await self.leave()

    def _lost(self, _: Connection) -> None:
        self._is_lost.set()

    async def _is_held(self) -> bool:
        if self._connection is None:
            self._connection = await self._address.connect()
            self._connection.add_termination_listener(self._lost)
            if self._address.is_pooled:
                await self._connection.execute(_ENDLESS, timeout=_ANSWER)
        hold = _HOLD_POOLED if self._address.is_pooled else _HOLD
        return bool(await self._connection.fetchval(hold, timeout=_ANSWER))

    async def _outlast(self) -> None:
        """Wait until all who may live are sure to be gone: a pooler tells of nobody's session."""
        async with asked(self._address) as connection:
            if not await connection.fetchval(_HAS_NODES):
                return
            before = await _renewed(connection)
            while before:
                await asyncio.sleep(_POLL)
                now = await _renewed(connection)
                if any(until > before.get(no, until) for no, until in now.items()):
                    raise StoreInUseError(self._taken)
                before = now

    async def _others(self) -> int:
        """Connections of processes that may have a Redis."""
        if self._connection is None:
            return 0
        await self._connection.execute(_AFRESH, timeout=_ANSWER)
        return int(await self._connection.fetchval(_OTHERS, timeout=_ANSWER))


async def _patiently(is_so: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    """Wait until something is so.

    Raises:
        StoreInUseError: it is not.
        StoreUnavailableError: nobody knows.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    try:
        while not await is_so():
            if loop.time() > end:
                raise StoreInUseError(otherwise)
            await asyncio.sleep(_POLL)
    except faults.RAISED as error:
        raise faults.unavailable(error) from error


async def _renewed(connection: Connection) -> dict[int, int]:
    """The numbers of processes that lived a moment ago, and until when they have them."""
    return dict(await connection.fetch(RENEWED, RENEWAL, timeout=_ANSWER))


async def _hung_up(connection: Connection) -> None:
    with suppress(*_LOST):
        await connection.close(timeout=_ANSWER)
