"""A transaction of SQLite in progress, as jobs and reads see it."""

import asyncio
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import CursorResult, Executable, Table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.domain import ids
from service.store import sending
from service.store.database import Expected, Leased, Stretch, Trace, UnexpectedError
from service.store.sqlite import compiling
from service.store.statements import Insert, Many, Row, Statement, Write


class SqliteTx:
    """See :class:`service.store.database.Tx`."""

    __slots__ = ("_driver", "connection", "noted", "now", "running", "stays_open")

    is_shared: Final = False

    def __init__(self, connection: AsyncConnection, driver: Any, now: int) -> None:
        self.connection = connection
        self._driver = driver
        self.now = now
        self.noted: int | None = None
        self.stays_open = False
        #: What SQLAlchemy was given last to do.
        self.running: asyncio.Future[CursorResult[Any]] | None = None

    async def fetch(self, statement: Statement, **given: Any) -> list[Row]:
        """Run a compiled statement; the rows it returns."""
        compiled = compiling.compiled(statement)
        return await self._run(compiled.text, compiled.arguments(given))

    async def aside(self, statement: Statement, **given: Any) -> list[Row]:
        """Run a compiled statement: what it shows stays so, as there is one writer."""
        return await self.fetch(statement, **given)

    async def each(self, statement: Many, rows: Sequence[Row], **given: Any) -> list[Row]:
        """Run a statement about many rows; the rows it returns."""
        found: list[Row] = []
        for chunk in compiling.chunks(rows):
            text = compiling.many_text(statement, len(chunk))
            found += await self.sql(text, compiling.many_arguments(statement, chunk, given))
        return found

    async def sql(self, text: str, arguments: Sequence[Any] = ()) -> list[Row]:
        """Run a statement given as text; the rows it returns."""
        return await self._run(text, tuple(arguments))

    async def insert(
        self,
        table: Table,
        columns: tuple[str, ...],
        rows: Sequence[Sequence[Any]],
        conflict: str = "",
    ) -> list[Row]:
        """Insert many rows, in as few statements as the chunk size allows."""
        found: list[Row] = []
        for chunk in compiling.chunks(rows):
            text = compiling.insert_text(table, columns, len(chunk), conflict)
            found += await self.sql(text, compiling.flat(chunk))
        return found

    async def together(self, *writes: Write) -> list[int]:
        """Write one after the other: no way to a server is saved."""
        return [len(await self._write(each)) for each in writes]

    async def only(self, *writes: Expected, trace: Trace) -> None:  # noqa: ARG002  no answer is lost
        """Write one after the other, and see that all came out as expected."""
        for each in writes:
            try:
                found = len(await self._write(each.write))
            except sqlite3.IntegrityError:
                raise UnexpectedError from None
            if each.gives not in (None, found):
                raise UnexpectedError

    async def _write(self, write: Write) -> list[Row]:
        if isinstance(write, Insert):
            return await self.insert(*write)
        return await self.each(write.statement, write.rows, **write.given)

    async def query(self, statement: Executable) -> list[dict[str, Any]]:
        """Run any SQLAlchemy statement; rows as dictionaries."""
        result = await self._execute(statement)
        return [dict(row) for row in result.mappings()]

    async def change(self, statement: Executable) -> int:
        """Run any SQLAlchemy change; how many rows it touched."""
        return (await self._execute(statement)).rowcount

    async def lease(self, lanes: Sequence[Row], until: int, token: int) -> Leased:
        """Lease what is due in these lanes: there is nobody who could have changed them."""
        text = compiling.lease_text(len(lanes))
        wanted = compiling.flat(row[:3] for row in lanes)
        leases = await self.sql(text, (until, token, *wanted))
        events = await sending.what_is_sent(self, {row[0] for row in leases})
        return Leased(leases, events, {row[0] for row in lanes})

    async def hold(self, names: Iterable[str]) -> set[str]:  # noqa: ARG002  there is no other writer
        """Nobody else holds anything: there is one writer."""
        return set()

    def stay_open(self) -> None:
        """Let jobs join that are asked for in a moment."""
        self.stays_open = True

    async def limit_waits(self) -> None:
        """There is nobody to wait for."""

    async def stretches(self, table: Table) -> list[Stretch]:  # noqa: ARG002  it has no parts
        """All keys there can be: rows are deleted one by one."""
        return [Stretch(0, ids.MAX_KEY, is_whole=False)]

    async def _run(self, text: str, arguments: Sequence[Any]) -> list[Row]:
        return list(await self._driver.execute_fetchall(text, arguments))

    async def _execute(self, statement: Executable) -> CursorResult[Any]:
        # a task of its own, which lives on when the caller is cancelled: SQLAlchemy throws the
        # connection away when it is cancelled at work there
        self.running = asyncio.ensure_future(self.connection.execute(statement))
        try:
            return await asyncio.shield(self.running)
        except DBAPIError as error:
            # the driver's own error, as the direct way raises it: one kind to catch, not two
            if error.orig is None:
                raise
            raise error.orig from error


class WritingTx(SqliteTx):
    """That of the writer: its statements run where they are called, without the driver's thread.

    To go there and back costs several times what most of them take, and no other writer holds one
    up; only what waits for the disk goes there (:meth:`commit`).
    """

    async def commit(self) -> None:
        """Make it durable."""
        await super()._run("COMMIT", ())

    async def _run(self, text: str, arguments: Sequence[Any]) -> list[Row]:
        return at_once(self._driver, text, arguments)


def at_once(driver: Any, text: str, arguments: Sequence[Any]) -> list[Row]:
    """Run a short statement on a connection that nobody uses now; the rows it returns."""
    rows: list[Row] = driver._conn.execute(text, arguments).fetchall()  # noqa: SLF001  SQLite's own, which the driver has no name for
    return rows
