"""A transaction in progress, as jobs and reads see it."""

import asyncio
from collections.abc import Sequence
from typing import Any

from sqlalchemy import CursorResult, Executable, Table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.statements import CHUNK, Row, Statement, flat, insert_text


class Tx:
    """A transaction in progress. ``now`` is its one time, in ms."""

    __slots__ = ("_driver", "connection", "now", "running")

    def __init__(self, connection: AsyncConnection, driver: Any, now: int) -> None:
        self.connection = connection
        self._driver = driver
        self.now = now
        #: What SQLAlchemy was given last to do.
        self.running: asyncio.Future[CursorResult[Any]] | None = None

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
