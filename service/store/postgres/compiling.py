"""How statements are written for PostgreSQL.

Lists and many rows go as arrays: one text, and so one prepared statement, for any number of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import accumulate, chain
from typing import Any, Final, NamedTuple

from sqlalchemy import ARRAY, Executable, Table, bindparam
from sqlalchemy.dialects.postgresql import asyncpg as postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from service.store.statements import Insert, Many, Row, Statement, Write, among

_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own

#: What a transaction is called in the server, and when it began there, in ms.
_IDENTITY: Final = (
    "pg_current_xact_id()::text, (extract(epoch FROM transaction_timestamp()) * 1000)::bigint"
)
IDENTITY: Final = f"SELECT {_IDENTITY}"
#: A lane's own oldest due rows, whatever the backlogs of the others; what another claim has locked
#: is not waited for.
LEASE: Final = (
    "WITH picked AS (SELECT due.event_key, due.subscription_no "
    "FROM unnest($3::bigint[], $4::bigint[], $5::bigint[]) AS lane (no, horizon, room) "
    "CROSS JOIN LATERAL (SELECT q.event_key, q.subscription_no FROM delivery_queue q "
    "WHERE q.subscription_no = lane.no AND q.due_at <= lane.horizon AND q.token IS NULL "
    "ORDER BY q.due_at LIMIT lane.room FOR UPDATE SKIP LOCKED) AS due) "
    "UPDATE delivery_queue AS d SET due_at = $1, token = $2, attempts = d.attempts + 1, "
    "step = d.step + 1 FROM picked "
    "WHERE d.event_key = picked.event_key AND d.subscription_no = picked.subscription_no "
    "RETURNING d.event_key, d.subscription_no, d.attempts, d.step, d.trigger, d.operation_key, "
    f"{_IDENTITY}"
)
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
    return Form(write.statement)


def values(write: Write) -> tuple[Any, ...]:
    """Its parameters in their places."""
    if isinstance(write, Insert):
        return tuple(zip(*write.rows, strict=True))
    return many_arguments(write.statement, write.rows, write.given)


@cache
def together_text(forms: tuple[Form, ...]) -> str:
    """One statement for all; its one row is the identity, and how many rows each gave back."""
    firsts = accumulate((each.width for each in forms), initial=1)
    texts = [each.text(first) for each, first in zip(forms, firsts, strict=False)]
    parts = ", ".join(f"w{number} AS ({text})" for number, text in enumerate(texts))
    counts = (
        f"(SELECT count(*) FROM w{number})" if _gives_rows(text) else "0"
        for number, text in enumerate(texts)
    )
    return f"WITH {parts} SELECT {', '.join((_IDENTITY, *counts))}"


def _gives_rows(text: str) -> bool:
    return text.startswith("SELECT ") or " RETURNING " in text


@cache
def many_text(statement: Many, first: int = 1) -> str:
    """The text of a statement about many rows: the rows first, then what is given."""
    behind = first + len(statement.types)
    numbers = {name: number for number, name in enumerate(_given(statement), behind)}
    names = ", ".join(f"column{number}" for number, _ in enumerate(statement.types, 1))
    table = f"{_unnest(statement.types, first)} AS v ({names})"
    marks = (
        table if mark == "{rows}" else f"${numbers[mark[1:]]}" for mark in statement.parts[1::2]
    )
    return "".join(chain.from_iterable(zip(statement.parts[::2], (*marks, ""), strict=True)))


def many_arguments(
    statement: Many, rows: Sequence[Sequence[Any]], given: Mapping[str, Any]
) -> tuple[Any, ...]:
    """Its parameters in their places."""
    return (*zip(*rows, strict=True), *(given[name] for name in _given(statement)))


@cache
def insert_text(table: Table, columns: tuple[str, ...], conflict: str = "", first: int = 1) -> str:
    """One INSERT of many rows into ``table``."""
    names = ", ".join(f'"{name}"' for name in columns)
    rows = _unnest([table.c[name].type for name in columns], first)
    return f'INSERT INTO "{table.name}" ({names}) SELECT * FROM {rows} {conflict}'


@lru_cache(maxsize=1024)
def numbered(text: str) -> str:
    """Text with ``?`` for each argument, as PostgreSQL numbers them."""
    first, *others = text.split("?")
    return first + "".join(f"${number}{part}" for number, part in enumerate(others, 1))


def _unnest(types: Iterable[TypeEngine[Any]], first: int) -> str:
    arrays = (
        f"${number}::{kind.compile(dialect=_DIALECT)}[]" for number, kind in enumerate(types, first)
    )
    return f"unnest({', '.join(arrays)})"


@cache
def _given(statement: Many) -> Row:
    """The names of what is given, each once."""
    marks = (mark[1:] for mark in statement.parts[1::2] if mark != "{rows}")
    return tuple(dict.fromkeys(marks))
