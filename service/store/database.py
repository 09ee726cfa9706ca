"""The SQLite database: one connection that writes, a few that read, one process.

Writes are jobs. Jobs that wait together share one transaction, and so one fsync (group commit
without a timer: the next group forms while this one commits); each runs in a savepoint of its own,
so that one that fails takes none of the others with it. Every write transaction is ``BEGIN
IMMEDIATE`` on one connection, which also owns the checkpoints: the WAL-reset bug of SQLite before
3.51.3 needs two that write.

The engine is in AUTOCOMMIT, so that BEGIN, SAVEPOINT and COMMIT are where this file writes them and
nowhere else; nobody calls SQLAlchemy's own ``commit``.
"""

import asyncio
import os
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import URL, CursorResult, Executable, Table, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from service.ports import Clock, StoreUnavailableError
from service.store import filelock
from service.store.statements import CHUNK, Row, Statement, flat, insert_text

T = TypeVar("T")

#: Jobs in one transaction: enough to share the fsync, few enough that the first need not wait
#: long for the last.
_JOBS: Final = 64
_READERS: Final = 4
#: After these the whole transaction is lost or in doubt; every other error is that of one
#: statement.
_FATAL: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA busy_timeout=5000",
    "PRAGMA mmap_size=0",
    "PRAGMA temp_store=MEMORY",
)
_READER_PRAGMAS: Final = (*_PRAGMAS, "PRAGMA query_only=ON", "PRAGMA wal_autocheckpoint=0")


class Tx:
    """A transaction in progress. ``now`` is its one time, in ms."""

    __slots__ = ("_driver", "connection", "now")

    def __init__(self, connection: AsyncConnection, driver: Any, now: int) -> None:
        self.connection = connection
        self._driver = driver
        self.now = now

    async def fetch(self, statement: Statement, **given: Any) -> list[Row]:
        """Run a compiled statement; the rows it returns."""
        rows = await self._driver.execute_fetchall(statement.text, statement.arguments(given))
        return list(rows)

    async def sql(self, text: str, arguments: Sequence[Any] = ()) -> list[Row]:
        """Run a statement given as text (many-row forms); the rows it returns."""
        return list(await self._driver.execute_fetchall(text, tuple(arguments)))

    async def insert(
        self,
        table: Table,
        columns: tuple[str, ...],
        rows: Sequence[Sequence[Any]],
        conflict: str = "",
    ) -> None:
        """Insert many rows, in as few statements as the chunk size allows."""
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            await self.sql(insert_text(table, columns, len(chunk), conflict), flat(chunk))

    async def query(self, statement: Executable) -> list[dict[str, Any]]:
        """Run any SQLAlchemy statement, for the paths that are not hot; rows as dictionaries."""
        result = await self._execute(statement)
        return [dict(row) for row in result.mappings()]

    async def change(self, statement: Executable) -> int:
        """Run any SQLAlchemy change, for the paths that are not hot; how many rows it touched."""
        return (await self._execute(statement)).rowcount

    async def _execute(self, statement: Executable) -> CursorResult[Any]:
        try:
            return await self.connection.execute(statement)
        except DBAPIError as error:
            # the driver's own error, as the direct way raises it: one kind to catch, not two
            if error.orig is None:
                raise
            raise error.orig from error


Job = Callable[[Tx], Awaitable[T]]


class Database:
    """The open database file."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._lock = filelock.hold(path)
        self._engine = _engine(path, _PRAGMAS, StaticPool)
        self._readers = _engine(path, _READER_PRAGMAS, None)
        self._waiting: deque[tuple[Job[Any], asyncio.Future[Any]]] = deque()
        self._wanted = asyncio.Event()
        #: Readers stay connected: to take one from SQLAlchemy's pool and back costs two statements.
        self._idle: asyncio.Queue[tuple[AsyncConnection, Any]] = asyncio.Queue()
        self._opened = 0
        self._loop: asyncio.Task[None] | None = None
        self._closing = False

    async def open(self) -> None:
        """Connect and begin to take jobs."""
        connection = await self._engine.connect()
        driver = (await connection.get_raw_connection()).driver_connection
        self._loop = asyncio.create_task(self._write(connection, driver), name="store-writer")
        for _ in range(_READERS):
            reader = await self._readers.connect()
            self._idle.put_nowait((reader, (await reader.get_raw_connection()).driver_connection))
            self._opened += 1

    async def close(self) -> None:
        """Finish the jobs that wait, then close every connection and give the file back."""
        self._closing = True
        self._wanted.set()
        if self._loop is not None:
            await asyncio.wait([self._loop])
        for _ in range(self._opened):  # each comes back from who reads with it now
            reader, _ = await self._idle.get()
            await reader.close()
        await self._readers.dispose()
        await self._engine.dispose()
        os.close(self._lock)

    async def write(self, job: Job[T]) -> T:
        """Run ``job`` inside a write transaction; its result once that is durably committed.

        Raises:
            StoreUnavailableError: the transaction could not be committed; nothing of it was kept.
        """
        if self._closing or self._loop is None or self._loop.done():
            raise StoreUnavailableError("The database is not open for changes.")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, future))
        self._wanted.set()
        return await future

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """A read transaction: one snapshot for all its statements. Keep it short."""
        reader = await self._reader()
        tx = Tx(*reader, self._clock.now())
        try:
            await tx.sql("BEGIN")
            yield tx
        finally:
            await tx.sql("ROLLBACK")
            self._idle.put_nowait(reader)

    async def look(self, statement: Statement, **given: Any) -> list[Row]:
        """Run one reading statement, which is a snapshot by itself: a third of the cost.

        A parameter named ``now`` is the transaction's time.
        """
        reader = await self._reader()
        try:
            tx = Tx(*reader, self._clock.now())
            return await tx.fetch(statement, now=tx.now, **given)
        finally:
            self._idle.put_nowait(reader)

    async def _reader(self) -> tuple[AsyncConnection, Any]:
        if self._closing or self._loop is None:
            raise StoreUnavailableError("The database is not open.")
        return await self._idle.get()

    async def _write(self, connection: AsyncConnection, driver: Any) -> None:
        try:
            while self._waiting or not self._closing:
                await self._wanted.wait()
                self._wanted.clear()
                while self._waiting:
                    count = min(len(self._waiting), _JOBS)
                    jobs = [self._waiting.popleft() for _ in range(count)]
                    await self._commit(Tx(connection, driver, self._clock.now()), jobs)
        finally:
            _refuse(self._waiting, StoreUnavailableError("The database is closed."))
            await connection.close()

    async def _commit(self, tx: Tx, jobs: list[tuple[Job[Any], asyncio.Future[Any]]]) -> None:
        done: list[tuple[asyncio.Future[Any], Any]] = []
        try:
            await tx.sql("BEGIN IMMEDIATE")
            for job, future in jobs:
                if not future.cancelled():
                    done.append((future, await _guarded(tx, job)))
            await tx.sql("COMMIT")
        except BaseException as error:
            _refuse(jobs, _unavailable(error))
            await _rollback(tx)
            if not isinstance(error, sqlite3.Error):
                raise
            return
        for future, outcome in done:
            if future.done():
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


async def _guarded(tx: Tx, job: Job[Any]) -> Any:
    """Run one job in a savepoint; an exception of its own is its result, not its neighbours'."""
    await tx.sql("SAVEPOINT job")
    try:
        outcome = await job(tx)
    except Exception as error:
        if _is_fatal(error):
            raise
        await tx.sql("ROLLBACK TO job")
        outcome = error
    await tx.sql("RELEASE job")
    return outcome


async def _rollback(tx: Tx) -> None:
    with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
        await tx.sql("ROLLBACK")


def _is_fatal(error: Exception) -> bool:
    # the low byte is the error; what is above it says more
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.Error) and code is not None and code & 0xFF in _FATAL


def _refuse(
    jobs: Iterable[tuple[Job[Any], asyncio.Future[Any]]], why: StoreUnavailableError
) -> None:
    for _, future in jobs:
        if not future.done():
            future.set_exception(why)


def _unavailable(error: BaseException) -> StoreUnavailableError:
    return StoreUnavailableError(f"The database did not take the change: {error}")


def _engine(path: Path, pragmas: tuple[str, ...], pool: type[StaticPool] | None) -> AsyncEngine:
    options: dict[str, Any] = (
        {"poolclass": pool} if pool else {"pool_size": _READERS, "max_overflow": 0}
    )
    url = URL.create("sqlite+aiosqlite", database=str(path))
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT", **options)

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    return engine
