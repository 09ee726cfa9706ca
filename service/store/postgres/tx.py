"""A transaction of PostgreSQL in progress, as jobs and reads see it.

One may begin late: with the first statement that needs it. A statement that is all that a job
writes needs none: it is a transaction by itself, and the ways to the server and back that would
begin and commit one are spared.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import asyncpg
from asyncpg import Connection
from sqlalchemy import Executable, Table

from service.ports import Clock
from service.store.database import Expected, Leased, Stretch, Trace, UnexpectedError
from service.store.postgres import compiling, faults, parting
from service.store.statements import Insert, Many, Row, Statement, Write

#: Rows in one statement: memory in the server, not time, is what bounds it.
_CHUNK: Final = 5_000
#: 100 ms.
_IMPATIENT: Final = "SELECT set_config('lock_timeout', '100', true)"
#: How a statement says that it came out otherwise than expected.
_OTHERWISE: Final = (asyncpg.InvalidTextRepresentationError, asyncpg.UniqueViolationError)

#: Finds out what a statement did whose answer was lost, once it is over: the number of its process
#: in the server, what reads what it would have left (``None``: it left nothing), and the error.
Look = Callable[["PostgresTx"], Awaitable[list[Row] | None]]
Resolve = Callable[[int, Look, Exception], Awaitable[list[Row]]]


class PostgresTx:
    """See :class:`service.store.database.Tx`.

    Where it ``begins`` by a statement, it does so when that is needed; then it takes somebody who
    ``resolves`` what became of what it did without. With a ``clock`` its time is the server's.
    """

    __slots__ = (
        "_begins",
        "_clock",
        "_driver",
        "_resolve",
        "begun",
        "is_over",
        "noted",
        "now",
        "number",
        "reckoned",
        "since",
    )

    is_shared: Final = True

    def __init__(
        self,
        driver: Connection,
        now: int,
        *,
        begins: tuple[str, Resolve] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._driver = driver
        self._begins = begins[0] if begins else ""
        self._resolve = begins[1] if begins else None
        self._clock = clock
        self.now = now
        self.noted: int | None = None
        #: Its number in the server, and when it began by the server's clock (ms), once told.
        self.number: str | None = None
        self.begun: int | None = None
        #: What the server's clock should have shown then, as far as this process knows.
        self.reckoned = now
        #: A moment of ours when that was, or a little after; ``None``: it may be long after.
        self.since: float | None = self._moment()
        #: Whether all was done by a statement, and is committed.
        self.is_over = False

    @property
    def is_begun(self) -> bool:
        """Whether there is something to commit."""
        return not self._begins

    async def identify(self) -> None:
        """Ask for its number and its time, unless something else that was asked has told them."""
        if self.number is None:
            self._identified(*(await self._rows(compiling.IDENTITY, ()))[0])

    async def hear(self) -> None:
        """Ask for the server's time."""
        if self.is_begun:
            await self.identify()
        else:
            asked = self._moment()
            self.begun = await self._driver.fetchval(compiling.TIME)
            self._answered(asked)

    async def aside(self, statement: Statement, **given: Any) -> list[Row]:
        """Run a reading statement, which begins no transaction."""
        compiled = compiling.compiled(statement)
        return _tuples(await self._driver.fetch(compiled.text, *compiled.arguments(given)))

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
            found += await self._rows(text, compiling.arrays(rows[start : start + _CHUNK]))
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

    async def only(self, *writes: Expected, trace: Trace) -> None:
        """Write all of it by one statement, which is a transaction where none has begun."""
        wanted = [each for each in writes if each.write.rows]
        if not wanted:
            return
        if any(len(each.write.rows) > _CHUNK for each in wanted):
            raise UnexpectedError
        forms = tuple(compiling.form(each.write) for each in wanted)
        text = compiling.only_text(forms, tuple(each.gives is not None for each in wanted))
        arguments = [value for each in wanted for value in compiling.values(each.write)]
        arguments += [each.gives for each in wanted if each.gives is not None]

        async def look(tx: "PostgresTx") -> list[Row] | None:
            return [] if await trace(tx) else None

        try:
            rows = await self._alone(text, (*arguments, self._reckoned()), look)
        except _OTHERWISE:
            raise UnexpectedError from None
        for begun, _ in rows:
            self.begun = begun

    async def query(self, statement: Executable) -> list[dict[str, Any]]:
        """Run any SQLAlchemy statement; rows as dictionaries."""
        compiled = compiling.compiled_now(statement)
        rows = await (await self._begun()).fetch(compiled.text, *compiled.arguments({}))
        return [dict(row) for row in rows]

    async def change(self, statement: Executable) -> int:
        """Run any SQLAlchemy change; how many rows it touched."""
        compiled = compiling.compiled_now(statement)
        status = await (await self._begun()).execute(compiled.text, *compiled.arguments({}))
        return int(status.rpartition(" ")[2])

    async def lease(self, lanes: Sequence[Row], until: int, token: int) -> Leased:
        """Lease what is due in these lanes; where no transaction has begun that is all of it."""

        async def look(tx: "PostgresTx") -> list[Row] | None:
            found = await tx._rows(compiling.LEASED, (token,))  # noqa: SLF001  of its own kind
            return found if found[1:] else None

        given = (until, token, *compiling.arrays(lanes), self._reckoned())
        (identity, *rows) = await self._alone(compiling.LEASE, given, look)
        self._identified(*identity[-2:])
        return Leased(
            [row[:6] for row in rows if row[1] is not None and row[0] is not None],
            [(row[0], *row[6:11]) for row in rows if row[1] is None],
            {row[1] for row in rows if row[0] is None},
        )

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

    def _identified(self, number: str | None, begun: int | None) -> None:
        self.number, self.begun = number, begun

    async def _in_parts(self, write: Write) -> int:
        if isinstance(write, Insert):
            return len(await self.insert(*write))
        return len(await self.each(write.statement, write.rows, **write.given))

    def _reckoned(self) -> int | None:
        """What time it should be in the server, where the transaction began or will do so now.

        To look something up may have taken long: that is no clock that was set.
        """
        if self._clock is None:
            return None
        if not self.is_begun:
            # what was heard before is not of then
            self.begun, self.reckoned = None, self._clock.now()
        return self.reckoned

    def _moment(self) -> float:
        return 0.0 if self._clock is None else self._clock.monotonic()

    def _answered(self, asked: float) -> None:
        """Note when what was ``asked`` is answered: the server's time is from between."""
        moment = self._moment()
        self.since = moment if (moment - asked) * 1000 < compiling.OFF else None

    async def _begun(self) -> Connection:
        """The connection, with the transaction begun."""
        if self.is_over:
            raise RuntimeError("what was all that the transaction does is followed by more")
        if self._begins:
            self._reckoned()
            begins, self._begins = self._begins, ""
            asked = self._moment()
            await self._driver.execute(begins)
            self._answered(asked)
        return self._driver

    async def _alone(self, text: str, arguments: Sequence[Any], look: Look) -> list[Row]:
        """Run a statement, which is a transaction by itself where none has begun."""
        if self.is_begun or self._resolve is None:
            return await self._rows(text, arguments)
        self.is_over = True
        pid = self._driver.get_server_pid()  # once it is lost the connection does not tell
        asked = self._moment()
        try:
            rows = await self._driver.fetch(text, *arguments)
        except Exception as error:
            if not faults.is_doubtful(error):
                raise
            return await self._resolve(pid, look, error)
        self._answered(asked)
        return _tuples(rows)

    async def _rows(self, text: str, arguments: Sequence[Any]) -> list[Row]:
        return _tuples(await (await self._begun()).fetch(text, *arguments))


def _tuples(rows: Iterable[Any]) -> list[Row]:
    return [tuple(row) for row in rows]
