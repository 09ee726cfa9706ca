"""The connections that read: a few, connected for good, each with one reader at a time.

Whoever reads may be cancelled at any await, as when a client hangs up. The connection comes back
all the same: with what was running on it stopped, and outside of any transaction.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from service.ports import Clock, StoreUnavailableError
from service.store.sqlite import compiling, connecting
from service.store.sqlite.faults import is_fatal
from service.store.sqlite.tx import SqliteTx, at_once
from service.store.statements import Row, Statement

_READERS: Final = 4

#: SQLAlchemy's connection and the driver's own beneath it.
_Reader = tuple[AsyncConnection, Any]


class Readers:
    """Hands out reading connections."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._engine = connecting.engine(path, connecting.READER)
        # They stay connected: to take one from a pool and back costs two statements.
        self._idle: asyncio.Queue[_Reader] = asyncio.Queue()
        #: One more, which never goes to a thread.
        self._own: _Reader | None = None
        self._count = 0
        self._open = False
        self._returning: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Connect."""
        self._open = True
        for _ in range(_READERS):
            self._idle.put_nowait(await self._connect())
            self._count += 1
        self._own = await self._connect()

    async def close(self) -> None:
        """Disconnect, as each comes back from who reads with it now."""
        self._open = False
        while self._count:
            connection, _ = await self._idle.get()
            await connection.close()
            self._count -= 1
        if self._own is not None:
            await self._own[0].close()
            self._own = None
        await self._engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[SqliteTx]:
        """See :meth:`service.store.database.Database.read`."""
        reader = await self._take()
        tx = SqliteTx(*reader, self._clock.now())
        try:
            await tx.sql("BEGIN")
            yield tx
        except sqlite3.Error as error:
            raise _told(error) from None
        finally:
            back = asyncio.create_task(self._give_back(tx, reader))
            self._returning.add(back)
            back.add_done_callback(self._returning.discard)
            await asyncio.shield(back)

    async def look(self, statement: Statement, **given: Any) -> list[Row]:
        """See :meth:`service.store.database.Database.look`."""
        reader = await self._take()
        tx = SqliteTx(*reader, self._clock.now())
        try:
            return await tx.fetch(statement, now=tx.now, **given)
        except sqlite3.Error as error:
            raise _told(error) from None
        finally:
            # if cancelled it may be running still; the driver lets the next one wait for that
            self._idle.put_nowait(reader)

    def glance(self, statement: Statement, **given: Any) -> list[Row]:
        """See :meth:`service.store.database.Database.glance`.

        It runs here and now: a thread to read in would cost five times as much as reading.
        """
        if self._own is None:
            raise StoreUnavailableError("The database is not open.")
        compiled = compiling.compiled(statement)
        arguments = compiled.arguments({"now": self._clock.now(), **given})
        try:
            return at_once(self._own[1], compiled.text, arguments)
        except sqlite3.Error as error:
            raise _told(error) from None

    async def _connect(self) -> _Reader:
        connection = await self._engine.connect()
        return connection, (await connection.get_raw_connection()).driver_connection

    async def _take(self) -> _Reader:
        if not self._open:
            raise StoreUnavailableError("The database is not open.")
        return await self._idle.get()

    async def _give_back(self, tx: SqliteTx, reader: _Reader) -> None:
        _, driver = reader
        await driver.interrupt()  # what nobody waits for any more; else there is nothing running
        if tx.running is not None:
            await asyncio.gather(tx.running, return_exceptions=True)
        with suppress(sqlite3.Error):  # it may not even have begun
            await tx.sql("ROLLBACK")
        self._idle.put_nowait(reader)


def _told(error: sqlite3.Error) -> Exception:
    """What a reader is told: that the database is not available, or the error of his statement."""
    if not is_fatal(error):
        return error
    return StoreUnavailableError(f"The database could not be read: {error}")
