"""How statements are written for PostgreSQL.

Lists and many rows go as arrays: one text, and so one prepared statement, for any number of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import accumulate, chain, count
from typing import Any, Final, NamedTuple

from sqlalchemy import ARRAY, Executable, Table, bindparam
from sqlalchemy.dialects.postgresql import asyncpg as postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from service.store.statements import (
    Insert,
    Many,
    Row,
    Statement,
    Write,
    among,
    bytewise,
    unindexed,
)

_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own

#: When a transaction began by the server's clock, in ms.
_BEGUN: Final = "(extract(epoch FROM transaction_timestamp()) * 1000)::bigint"
TIME: Final = f"SELECT {_BEGUN}"
#: What it is called in the server, and when it began there.
_IDENTITY: Final = f"pg_current_xact_id()::text, {_BEGUN}"
IDENTITY: Final = f"SELECT {_IDENTITY}"
#: Milliseconds by which a process may think that it is another time than it is in the server.
OFF: Final = 1_000
_PAIR: Final = "event_key, subscription_no"
_LEASED: Final = f"{_PAIR}, attempts, step, trigger, operation_key"
#: Four kinds of rows: the identity of the transaction, what is leased, the event of each that is,
#: or what its dead letter has of it, once however many it is sent to, and the lanes looked into.
_WITH_EVENTS: Final = (
    "SELECT NULL::bigint AS event_key, NULL::bigint AS subscription_no, NULL::integer AS attempts, "
    "NULL::integer AS step, NULL AS trigger, NULL::bigint AS operation_key, NULL AS id, "
    "NULL AS type, NULL AS operation_id, NULL::bigint AS sequence, NULL::bytea AS body, "
    "{identity} "
    f"UNION ALL SELECT {_LEASED}, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM leased "
    "UNION ALL SELECT named.event_key, NULL, NULL, NULL, NULL, NULL, told.*, NULL, NULL "
    "FROM (SELECT DISTINCT event_key FROM leased) AS named CROSS JOIN LATERAL ("
    "SELECT e.id, e.type, e.operation_id, e.sequence, e.body FROM events e "
    "WHERE e.key = named.event_key UNION ALL "
    "SELECT l.event_id, l.event_type, l.operation_id, l.sequence, l.body FROM dead_letters l "
    "WHERE l.event_key = named.event_key LIMIT 1) AS told"
)
#: The lanes that are as they are remembered: of this version, open, and of no circuit that is not
#: closed. What was looked up just now has no version. A database that took over without the last
#: changes may make another version of the same number; so the time of it is to be the same too.
_LANES: Final = (
    "SELECT given.no, given.horizon, given.room "
    "FROM unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::integer[], $7::bigint[]) "
    "AS given (no, horizon, room, version, updated_at) WHERE given.version IS NULL OR ("
    "EXISTS (SELECT FROM subscriptions s WHERE s.no = given.no AND s.version = given.version "
    "AND s.updated_at = given.updated_at AND s.status = 'active' "
    "AND s.hold_until <= given.horizon AND s.deleted_at IS NULL) "
    "AND NOT EXISTS (SELECT FROM subscription_health h "
    "WHERE h.subscription_no = given.no AND h.trips > 0))"
)
#: A lane's own oldest due rows, whatever the backlogs of the others; what another claim has locked
#: is not waited for. Nothing where it is another time here than the process thinks. What is picked
#: goes on as arrays: of those the server expects few rows, of a limit that it does not know a tenth
#: of all, and for so many it would read the whole queue each time.
LEASE: Final = (
    f"WITH lane AS MATERIALIZED ({_LANES}), "
    "picked AS (SELECT due.event_key, due.subscription_no FROM lane "
    "CROSS JOIN LATERAL (SELECT q.event_key, q.subscription_no FROM delivery_queue q "
    "WHERE q.subscription_no = lane.no AND q.due_at <= lane.horizon AND q.token IS NULL "
    "ORDER BY q.due_at LIMIT lane.room FOR UPDATE SKIP LOCKED) AS due "
    f"WHERE coalesce(abs({_BEGUN} - $8::bigint) <= {OFF}, TRUE)), "
    "leased AS (UPDATE delivery_queue AS d SET due_at = $1, token = $2, "
    "attempts = d.attempts + 1, step = d.step + 1 FROM unnest("
    "ARRAY(SELECT event_key FROM picked), ARRAY(SELECT subscription_no FROM picked)) "
    "AS each (event_key, subscription_no) "
    "WHERE d.event_key = each.event_key AND d.subscription_no = each.subscription_no "
    "RETURNING d.event_key, d.subscription_no, d.attempts, d.step, d.trigger, d.operation_key) "
    + _WITH_EVENTS.format(identity=_IDENTITY)
    + " UNION ALL SELECT NULL, no, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"
    " FROM lane"
)
#: What was leased under a token, as LEASE returns it, but of no lane.
LEASED: Final = (
    f"WITH leased AS (SELECT {_LEASED} FROM delivery_queue WHERE token = $1) "
    + _WITH_EVENTS.format(identity="NULL, NULL::bigint")
)
#: What ends a statement, and with it all that it did; its text is for the server's log.
_NOT_KEPT: Final = f"('nothing is kept: what it is about has moved, ' || {_BEGUN})::integer"
#: Names that another transaction holds. They are hashed to 64 bits: two that meet are taken for
#: one, which makes somebody ask again.
HOLD: Final = (
    "SELECT name FROM unnest($1::text[]) AS name "
    "WHERE NOT pg_try_advisory_xact_lock(hashtextextended(name, 0))"
)


@compiles(among, "postgresql")
def _among(element: among, compiler: SQLCompiler, **kw: Any) -> str:
    column = compiler.process(element.column, **kw)
    values = bindparam(element.values.key, type_=ARRAY(element.column.type))
    return f"{column} = ANY({compiler.process(values, **kw)})"


@compiles(bytewise, "postgresql")
def _bytewise(element: bytewise, compiler: SQLCompiler, **kw: Any) -> str:
    return f'{compiler.process(element.column, **kw)} COLLATE "C"'


@compiles(unindexed, "postgresql")
def _unindexed(element: unindexed, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.column, **kw)


class Compiled:
    """The text of a statement and the order of its parameters."""

    __slots__ = ("_names", "_rest", "text")

    def __init__(self, statement: ClauseElement) -> None:
        compiled = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
        if not isinstance(compiled, SQLCompiler):
            raise TypeError(compiled)
        self.text = str(compiled)
        self._names = tuple(compiled.positiontup or ())
        self._rest = {k: v for k, v in compiled.params.items() if v is not None}

    def arguments(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        """The parameters in their places."""
        rest = self._rest
        return tuple(given[name] if name in given else rest.get(name) for name in self._names)


@cache
def compiled(statement: Statement) -> Compiled:
    """The statement as PostgreSQL takes it."""
    return Compiled(statement.core)


def compiled_now(statement: Executable) -> Compiled:
    """A statement that is made anew each time."""
    if not isinstance(statement, ClauseElement):
        raise TypeError(statement)
    return Compiled(statement)


class Form(NamedTuple):
    """A write without its rows: what has one text however many there are."""

    about: Table | Many
    columns: tuple[str, ...] = ()
    conflict: str = ""
    name: str = ""

    @property
    def width(self) -> int:
        """How many parameters it takes."""
        if isinstance(self.about, Many):
            return len(self.about.types) + len(_given(self.about))
        return len(self.columns)

    def text(self, first: int) -> str:
        """Its statement, whose parameters are numbered from ``first``."""
        if isinstance(self.about, Many):
            return many_text(self.about, first)
        return insert_text(self.about, self.columns, self.conflict, first)


def form(write: Write) -> Form:
    """Its form."""
    if isinstance(write, Insert):
        return Form(write.table, write.columns, write.conflict)
    return Form(write.statement, name=write.name)


def values(write: Write) -> tuple[Any, ...]:
    """Its parameters in their places."""
    if isinstance(write, Insert):
        return arrays(write.rows)
    return many_arguments(write.statement, write.rows, write.given)


def arrays(rows: Sequence[Sequence[Any]]) -> tuple[Row, ...]:
    """The columns of rows, as ``unnest`` takes them.

    To a column that is shorter than another one it adds NULL: of one that is NULL in all rows
    nothing goes to the server, since each value that does costs both sides.
    """
    columns = tuple(zip(*rows, strict=True))
    told = tuple(() if each.count(None) == len(rows) else each for each in columns)
    return told if any(told) else columns


@cache
def together_text(forms: tuple[Form, ...]) -> str:
    """One statement for all; its one row is the identity, and how many rows each gave back."""
    parts = _parts(forms)
    counts = (_count(name) if _gives_rows(text) else "0" for name, text in parts)
    return f"WITH {_named(parts)} SELECT {', '.join((_IDENTITY, *counts))}"


@cache
def only_text(forms: tuple[Form, ...], counted: tuple[bool, ...]) -> str:
    """One statement for all, which fails where one that is counted gives other than so many rows.

    Behind their parameters come the counts, and the time that it should be, or NULL. Its one value
    is the time that it is.
    """
    parts = _parts(forms)
    behind = count(sum(each.width for each in forms) + 1)
    names = (name for (name, _), is_counted in zip(parts, counted, strict=True) if is_counted)
    told = [f"{_count(name)} = ${place}" for name, place in zip(names, behind, strict=False)]
    told.append(f"coalesce(abs({_BEGUN} - ${next(behind)}::bigint) <= {OFF}, TRUE)")
    verdict = f"CASE WHEN {' AND '.join(told)} THEN 0 ELSE {_NOT_KEPT} END"
    return f"WITH {_named(parts)} SELECT {_BEGUN}, {verdict}"


def _parts(forms: Sequence[Form]) -> list[tuple[str, str]]:
    """The name and the text of each."""
    firsts = accumulate((each.width for each in forms), initial=1)
    each_at = enumerate(zip(forms, firsts, strict=False))
    return [(form.name or f"w{number}", form.text(first)) for number, (form, first) in each_at]


def _named(parts: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} AS ({text})" for name, text in parts)


def _count(name: str) -> str:
    return f"(SELECT count(*) FROM {name})"


def _gives_rows(text: str) -> bool:
    return text.startswith("SELECT ") or " RETURNING " in text


@cache
def many_text(statement: Many, first: int = 1) -> str:
    """The text of a statement about many rows: the rows first, then what is given."""
    behind = first + len(statement.types)
    numbers = {name: number for number, name in enumerate(_given(statement), behind)}
    table = _unnest(statement.types, first)
    marks = (
        table if mark == "{rows}" else f"${numbers[mark[1:]]}" for mark in statement.parts[1::2]
    )
    return "".join(chain.from_iterable(zip(statement.parts[::2], (*marks, ""), strict=True)))


def many_arguments(
    statement: Many, rows: Sequence[Sequence[Any]], given: Mapping[str, Any]
) -> tuple[Any, ...]:
    """Its parameters in their places."""
    return (*arrays(rows), *(given[name] for name in _given(statement)))


@cache
def insert_text(table: Table, columns: tuple[str, ...], conflict: str = "", first: int = 1) -> str:
    """One INSERT of many rows into ``table``, which are called as those of a :class:`Many` are."""
    names = ", ".join(f'"{name}"' for name in columns)
    rows = _unnest([table.c[name].type for name in columns], first)
    return f'INSERT INTO "{table.name}" ({names}) SELECT * FROM {rows} {conflict}'


@lru_cache(maxsize=1024)
def numbered(text: str) -> str:
    """Text with ``?`` for each argument, as PostgreSQL numbers them."""
    first, *others = text.split("?")
    return first + "".join(f"${number}{part}" for number, part in enumerate(others, 1))


def _unnest(types: Iterable[TypeEngine[Any]], first: int) -> str:
    kinds = [kind.compile(dialect=_DIALECT) for kind in types]
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(kinds, first))
    names = ", ".join(f"column{number}" for number, _ in enumerate(kinds, 1))
    return f"unnest({arrays}) AS v ({names})"


@cache
def _given(statement: Many) -> Row:
    """The names of what is given, each once."""
    marks = (mark[1:] for mark in statement.parts[1::2] if mark != "{rows}")
    return tuple(dict.fromkeys(marks))
