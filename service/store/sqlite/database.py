"""The SQLite database: one connection that writes, a few that read, one process.

Writes are jobs. Jobs that wait together share one transaction, and so one fsync (group commit
without a timer: the next group forms while this one commits); each of several runs in a savepoint
of its own, so that one that fails takes none of the others with it. Every write transaction is
``BEGIN IMMEDIATE`` on one connection, which also owns the checkpoints: the WAL-reset bug of SQLite
before 3.51.3 needs two that write.

A claim waits for the disk like all else, although losing one costs nothing: where a later sync
fails, SQLite writes again only what that transaction wrote. Frames before it that nobody waited for
would stay a hole in the log, and after a loss of power all that stands behind it would be gone.

The engine is in AUTOCOMMIT, so that BEGIN, SAVEPOINT and COMMIT are where this file writes them and
nowhere else; nobody calls SQLAlchemy's own ``commit``.
"""

import asyncio
import os
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from service.ports import Clock, StoreUnavailableError
from service.store.database import Job, Proof, Tx, Use
from service.store.sqlite import connecting, filelock
from service.store.sqlite.faults import is_fatal
from service.store.sqlite.readers import Readers
from service.store.sqlite.tx import SqliteTx, WritingTx
from service.store.statements import Row, Statement

T = TypeVar("T")
_Waiting = tuple[Job[Any], asyncio.Future[Any]]
_Done = tuple[asyncio.Future[Any], Any]
_Run = Callable[[SqliteTx, Job[Any]], Awaitable[Any]]

#: Jobs in one transaction: enough to share the fsync, few enough that the first need not wait
#: long for the last.
_JOBS: Final = 64

#: Turns of the event loop that a transaction stays open where a job says so. The worker, which is
#: told by it of what was accepted, asks for its claim in the first or, where it waits for company
#: first, in the second; on a busy service later.
_TURNS: Final = 3


class SqliteDatabase:
    """The open database file. See :class:`service.store.database.Database`."""

    #: One process has the file to itself.
    is_shared: Final = False
    node: Final = 0

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._lock = filelock.hold(path)
        self._engine = connecting.engine(path, connecting.WRITER)
        self._readers = Readers(path, clock)
        self._waiting: deque[_Waiting] = deque()
        self._wanted = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._closing = False
        #: Whether a change was not taken, and none was tried since just to see.
        self._is_doubted = False

    @property
    def clock(self) -> Clock:
        """This machine's."""
        return self._clock

    async def open(self) -> None:
        """Connect and begin to take jobs."""
        connection = await self._engine.connect()
        driver = (await connection.get_raw_connection()).driver_connection
        self._loop = asyncio.create_task(self._write(connection, driver), name="store-writer")
        await self._readers.open()

    async def close(self) -> None:
        """Finish the jobs that wait, then close every connection and give the file back."""
        self._closing = True
        self._wanted.set()
        if self._loop is not None:
            await asyncio.wait([self._loop])
        await self._readers.close()
        await self._engine.dispose()
        os.close(self._lock)

    async def write(
        self,
        job: Job[T],
        use: Use = Use.REST,  # noqa: ARG002  one writer serves all
        proof: Proof[T] | None = None,  # noqa: ARG002  a commit to a file has an answer
    ) -> T:
        """Run ``job`` inside a write transaction; its result once that is durably committed."""
        if self._closing or self._loop is None or self._loop.done():
            raise StoreUnavailableError("The database is not open for changes.")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, future))
        self._wanted.set()
        return await future

    def read(self) -> AbstractAsyncContextManager[SqliteTx]:
        """A read transaction."""
        return self._readers.read()

    async def look(self, statement: Statement, **given: Any) -> list[Row]:
        """Run one reading statement."""
        return await self._readers.look(statement, **given)

    async def glance(self, statement: Statement, **given: Any) -> list[Row]:
        """Run one reading statement that finds a few rows by an index."""
        return self._readers.glance(statement, **given)

    async def recheck(self) -> None:
        """If a change was not taken, make sure that others are."""
        if self._is_doubted:
            await self.write(_touch)
            self._is_doubted = False

    async def renew_parts(self, retention: int) -> int:  # noqa: ARG002  see below
        """Nothing: tables have no parts, rows are deleted in batches."""
        return 0

    async def _write(self, connection: AsyncConnection, driver: Any) -> None:
        try:
            while self._waiting or not self._closing:
                await self._wanted.wait()
                self._wanted.clear()
                while self._waiting:
                    await self._commit(WritingTx(connection, driver, self._clock.now()))
        finally:
            _refuse(self._waiting, StoreUnavailableError("The database is closed."))
            await connection.close()

    def _next(self, most: int) -> list[_Waiting]:
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), most))]

    async def _commit(self, tx: WritingTx) -> None:
        """Run the jobs that wait, and those that come of them at once; make it durable."""
        jobs = self._next(_JOBS)
        done: list[_Done] = []
        try:
            await tx.sql("BEGIN IMMEDIATE")
            await _run(tx, jobs, _alone if len(jobs) == 1 else _guarded, done)
            for _ in range(_TURNS if tx.stays_open else 0):
                await asyncio.sleep(0)
                late = self._next(_JOBS - len(jobs))
                # what was due when they were asked for is due to them, too
                tx.now = max(tx.now, self._clock.now())
                jobs += late
                await _run(tx, late, _guarded, done)
            await tx.commit()
        except BaseException as error:
            self._is_doubted = True
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


async def _run(tx: SqliteTx, jobs: Iterable[_Waiting], run: _Run, done: list[_Done]) -> None:
    for job, future in jobs:
        if not future.cancelled():
            done.append((future, await run(tx, job)))


async def _touch(tx: Tx) -> None:
    """Change what nobody reads in a file: to write what is there already would write nothing."""
    await tx.sql("UPDATE nodes SET taken_until = taken_until + 1 WHERE no = 0")


async def _alone(tx: SqliteTx, job: Job[Any]) -> Any:
    """Run the only job of a transaction; after an exception of its own that is another one."""
    try:
        return await job(tx)
    except Exception as error:
        if is_fatal(error):
            raise
        await tx.sql("ROLLBACK")
        await tx.sql("BEGIN IMMEDIATE")
        return error


async def _guarded(tx: SqliteTx, job: Job[Any]) -> Any:
    """Run one job in a savepoint; an exception of its own is its result, not its neighbours'."""
    await tx.sql("SAVEPOINT job")
    try:
        outcome = await job(tx)
    except Exception as error:
        if is_fatal(error):
            raise
        await tx.sql("ROLLBACK TO job")
        outcome = error
    await tx.sql("RELEASE job")
    return outcome


async def _rollback(tx: SqliteTx) -> None:
    with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
        await tx.sql("ROLLBACK")


def _refuse(jobs: Iterable[_Waiting], why: StoreUnavailableError) -> None:
    for _, future in jobs:
        if not future.done():
            future.set_exception(why)


def _unavailable(error: BaseException) -> StoreUnavailableError:
    return StoreUnavailableError(f"The database did not take the change: {error}")
