"""The SQLite database: one connection that writes, a few that read, one process.

Writes are jobs. Jobs that wait together share one transaction, and so one fsync (group commit without a timer:
the next group forms while this one commits); each runs in a savepoint of its own, so that one that fails takes
none of the others with it. Every write transaction is ``BEGIN IMMEDIATE`` on one connection, which also owns the
checkpoints: the WAL-reset bug of SQLite before 3.51.3 needs two that write.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Executable, Table, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from service.ports import Clock, StoreUnavailableError
from service.store.statements import CHUNK, Row, Statement, flat, insert_text

T = TypeVar("T")

#: Jobs in one transaction: enough to share the fsync, few enough that the first need not wait long for the last.
_JOBS: Final = 64
_READERS: Final = 4
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
        self, table: Table, columns: tuple[str, ...], rows: Sequence[Sequence[Any]], conflict: str = ""
    ) -> None:
        """Insert many rows, in as few statements as the chunk size allows."""
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            await self.sql(insert_text(table, columns, len(chunk), conflict), flat(chunk))

    async def query(self, statement: Executable) -> list[dict[str, Any]]:
        """Run any SQLAlchemy statement, for the paths that are not hot; rows as dictionaries."""
        result = await self.connection.execute(statement)
        return [dict(row) for row in result.mappings()]

    async def change(self, statement: Executable) -> int:
        """Run any SQLAlchemy change, for the paths that are not hot; how many rows it touched."""
        result = await self.connection.execute(statement)
        return int(getattr(result, "rowcount", 0))


Job = Callable[[Tx], Awaitable[T]]


class Database:
    """The open database file."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._lock = _lock(path)
        self._engine = _engine(path, _PRAGMAS, StaticPool)
        self._readers = _engine(path, _READER_PRAGMAS, None)
        self._waiting: deque[tuple[Job[Any], asyncio.Future[Any]]] = deque()
        self._wanted = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect and begin to take jobs."""
        connection = await self._engine.connect()
        driver = (await connection.get_raw_connection()).driver_connection
        self._loop = asyncio.create_task(self._write(connection, driver), name="store-writer")

    async def close(self) -> None:
        """Finish the jobs that wait, then close every connection and give the file back."""
        if self._loop is not None:
            while self._waiting:
                await asyncio.sleep(0.01)
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await self._readers.dispose()
        await self._engine.dispose()
        os.close(self._lock)

    async def write(self, job: Job[T]) -> T:
        """Run ``job`` inside a write transaction; its result once that is durably committed.

        Raises:
            StoreUnavailableError: the transaction could not be committed; nothing of it was kept.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, future))
        self._wanted.set()
        return await future

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """A read transaction: one snapshot for all its statements. Keep it short."""
        async with self._readers.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            await connection.exec_driver_sql("BEGIN")
            try:
                yield Tx(connection, driver, self._clock.now())
            finally:
                await connection.exec_driver_sql("ROLLBACK")

    async def _write(self, connection: AsyncConnection, driver: Any) -> None:
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                while self._waiting:
                    count = min(len(self._waiting), _JOBS)
                    jobs = [self._waiting.popleft() for _ in range(count)]
                    await self._commit(Tx(connection, driver, self._clock.now()), jobs)
        finally:
            await connection.close()

    async def _commit(self, tx: Tx, jobs: list[tuple[Job[Any], asyncio.Future[Any]]]) -> None:
        done: list[tuple[asyncio.Future[Any], Any]] = []
        try:
            await tx.sql("BEGIN IMMEDIATE")
            for job, future in jobs:
                if not future.cancelled():
                    done.append((future, await _guarded(tx, job)))
            await tx.sql("COMMIT")
        except (sqlite3.Error, StoreUnavailableError) as error:
            await _rollback(tx)
            failure = _unavailable(error)
            for _, future in jobs:
                if not future.done():
                    future.set_exception(failure)
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
    except sqlite3.OperationalError:
        raise  # full disk, I/O error: the whole transaction is in doubt
    except Exception as error:  # noqa: BLE001  handed to the one who asked
        await tx.sql("ROLLBACK TO job")
        outcome = error
    await tx.sql("RELEASE job")
    return outcome


async def _rollback(tx: Tx) -> None:
    try:
        await tx.sql("ROLLBACK")
    except sqlite3.Error:
        return  # SQLite rolled back by itself


def _unavailable(error: Exception) -> StoreUnavailableError:
    return StoreUnavailableError(f"The database did not take the change: {error}")


def _engine(path: Path, pragmas: tuple[str, ...], pool: type[StaticPool] | None) -> AsyncEngine:
    options: dict[str, Any] = {"poolclass": pool} if pool else {"pool_size": _READERS, "max_overflow": 0}
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}", isolation_level="AUTOCOMMIT", **options
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    return engine


def _lock(path: Path) -> int:
    """Keep the file to this process: a second one would break the single writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise StoreUnavailableError(
            f"Another Ringback process has {path} open. SQLite serves one process: "
            "stop that one, or give this one another RINGBACK_DATABASE_URL."
        ) from None
    return handle
