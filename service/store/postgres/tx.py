"""A transaction of PostgreSQL in progress, as jobs and reads see it."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from asyncpg import Connection
from sqlalchemy import Executable, Table

from service.store.database import Stretch
from service.store.postgres import compiling, parting
from service.store.statements import Insert, Many, Row, Statement, Write

#: Rows in one statement: memory in the server, not time, is what bounds it.
_CHUNK: Final = 5_000
#: 100 ms.
_IMPATIENT: Final = "SELECT set_config('lock_timeout', '100', true)"


class PostgresTx:
    """See :class:`service.store.database.Tx`."""

    __slots__ = ("_driver", "begun", "noted", "now", "number")

    is_shared: Final = True

    def __init__(self, driver: Connection, now: int) -> None:
        self._driver = driver
        self.now = now
        self.noted: int | None = None
        #: Its number in the server, and when it began by the server's clock (ms), once told.
        self.number: str | None = None
        self.begun: int | None = None

    async def identify(self) -> None:
        """Ask for its number and its time, unless something else that was asked has told them."""
        if self.number is None:
            self._identified(*await self._driver.fetchrow(compiling.IDENTITY))

    async def fetch(self, statement: Statement, **given: Any) -> list[Row]:
        """Run a compiled statement; the rows it returns."""
        compiled = compiling.compiled(statement)
        return await self._rows(compiled.text, compiled.arguments(given))

    async def each(self, statement: Many, rows: Sequence[Row], **given: Any) -> list[Row]:
        """Run a statement about many rows; the rows it returns."""
        found: list[Row] = []
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            arguments = compiling.many_arguments(statement, chunk, given)
            found += await self._rows(compiling.many_text(statement), arguments)
        return found

    async def sql(self, text: str, arguments: Sequence[Any] = ()) -> list[Row]:
        """Run a statement given as text; the rows it returns."""
        return await self._rows(compiling.numbered(text), arguments)

    async def insert(
        self,
        table: Table,
        columns: tuple[str, ...],
        rows: Sequence[Sequence[Any]],
        conflict: str = "",
    ) -> list[Row]:
        """Insert many rows."""
        found: list[Row] = []
        text = compiling.insert_text(table, columns, conflict)
        for start in range(0, len(rows), _CHUNK):
            found += await self._rows(text, tuple(zip(*rows[start : start + _CHUNK], strict=True)))
        return found

    async def together(self, *writes: Write) -> list[int]:
        """Write all of it by one statement, which also tells what :meth:`identify` asks for."""
        wanted = [each for each in writes if each.rows]
        if any(len(each.rows) > _CHUNK for each in wanted):
            return [await self._in_parts(each) for each in writes]
        if not wanted:
            return [0] * len(writes)
        text = compiling.together_text(tuple(map(compiling.form, wanted)))
        arguments = [value for each in wanted for value in compiling.values(each)]
        number, begun, *counts = (await self._rows(text, arguments))[0]
        self._identified(number, begun)
        found = iter(counts)
        return [next(found) if each.rows else 0 for each in writes]

    async def query(self, statement: Executable) -> list[dict[str, Any]]:
        """Run any SQLAlchemy statement; rows as dictionaries."""
        compiled = compiling.compiled_now(statement)
        rows = await self._driver.fetch(compiled.text, *compiled.arguments({}))
        return [dict(row) for row in rows]

    async def change(self, statement: Executable) -> int:
        """Run any SQLAlchemy change; how many rows it touched."""
        compiled = compiling.compiled_now(statement)
        status = await self._driver.execute(compiled.text, *compiled.arguments({}))
        return int(status.rpartition(" ")[2])

    async def lease(self, lanes: Sequence[Row], until: int, token: int) -> list[Row]:
        """Lease what is due in these lanes."""
        columns = zip(*lanes, strict=True)
        rows = await self._rows(compiling.LEASE, (until, token, *columns))
        if rows:
            self._identified(*rows[0][-2:])
        return [row[:-2] for row in rows]

    async def hold(self, names: Iterable[str]) -> set[str]:
        """Take an advisory lock for each name; those that another transaction has."""
        wanted = sorted(set(names))
        return {row[0] for row in await self._rows(compiling.HOLD, (wanted,))} if wanted else set()

    def stay_open(self) -> None:
        """Others do not join it."""

    async def limit_waits(self) -> None:
        """Until the transaction ends."""
        await self.sql(_IMPATIENT)

    async def stretches(self, table: Table) -> list[Stretch]:
        """All keys there can be, oldest first, by how rows of the table are deleted."""
        return await parting.stretches(self, table.name)

    def _identified(self, number: str, begun: int) -> None:
        self.number, self.begun = number, begun

    async def _in_parts(self, write: Write) -> int:
        if isinstance(write, Insert):
            return len(await self.insert(*write))
        return len(await self.each(write.statement, write.rows, **write.given))

    async def _rows(self, text: str, arguments: Sequence[Any]) -> list[Row]:
        return [tuple(row) for row in await self._driver.fetch(text, *arguments)]
