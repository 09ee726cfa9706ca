"""How statements are written for SQLite.

On the hot path they go straight to the driver connection that SQLAlchemy's engine opened: one hop
to aiosqlite's thread (about 45 us of processor time) where ``AsyncConnection.execute`` takes four
(about 210 us). Many rows go as one statement with many ``VALUES``, since ``executemany`` gives the
interpreter away once a row.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import chain
from typing import Any, Final, TypeVar

from sqlalchemy import Table
from sqlalchemy.dialects.sqlite import aiosqlite as sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from service.store.statements import CHUNK, Many, Row, Statement, among, bytewise, unindexed

R = TypeVar("R")

#: Above this, rows of one statement are a multiple of it; the others are for another. So there are
#: few texts, all of which a connection keeps prepared: to prepare takes several times what it
#: takes to run.
_STEP: Final = 50

_DIALECT: Final = sqlite.dialect(paramstyle="qmark")


@compiles(among, "sqlite")
def _among(element: among, compiler: SQLCompiler, **kw: Any) -> str:
    column = compiler.process(element.column, **kw)
    values = compiler.process(element.values, **kw)
    return f"{column} IN (SELECT value FROM json_each({values}))"


@compiles(bytewise, "sqlite")
def _bytewise(element: bytewise, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.column, **kw)


@compiles(unindexed, "sqlite")
def _unindexed(element: unindexed, compiler: SQLCompiler, **kw: Any) -> str:
    return f"+{compiler.process(element.column, **kw)}"


class Compiled:
    """The text of a statement and the order of its parameters."""

    __slots__ = ("_names", "_rest", "text")

    def __init__(self, statement: Statement) -> None:
        compiled = statement.core.compile(dialect=_DIALECT)
        if not isinstance(compiled, SQLCompiler):
            raise TypeError(compiled)
        self.text = str(compiled)
        self._names = tuple(compiled.positiontup or ())
        self._rest = {k: v for k, v in compiled.params.items() if v is not None}

    def arguments(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        """The parameters in their places; lists become JSON for :class:`among`."""
        rest = self._rest
        return tuple(
            _bound(given[name] if name in given else rest.get(name)) for name in self._names
        )


@cache
def compiled(statement: Statement) -> Compiled:
    """The statement as SQLite takes it."""
    return Compiled(statement)


def _bound(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value


def chunks(rows: Sequence[R]) -> Iterator[Sequence[R]]:
    """The rows as they go into one statement each."""
    start = 0
    while start < len(rows):
        left = len(rows) - start
        count = left if left < _STEP else min(left - left % _STEP, CHUNK)
        yield rows[start : start + count]
        start += count


@lru_cache(maxsize=4096)
def many_text(statement: Many, rows: int) -> str:
    """The text of a statement about so many rows."""
    table = f"(VALUES {_placeholders(len(statement.types), rows)}) AS v"
    marks = (table if mark == "{rows}" else "?" for mark in statement.parts[1::2])
    return "".join(chain.from_iterable(zip(statement.parts[::2], (*marks, ""), strict=True)))


def many_arguments(
    statement: Many, rows: Iterable[Sequence[Any]], given: Mapping[str, Any]
) -> tuple[Any, ...]:
    """Its parameters in their places."""
    values = flat(rows)
    places = (values if mark == "{rows}" else (given[mark[1:]],) for mark in statement.parts[1::2])
    return tuple(chain.from_iterable(places))


@lru_cache(maxsize=4096)
def insert_text(table: Table, columns: tuple[str, ...], rows: int, conflict: str = "") -> str:
    """One INSERT of many rows into ``table``."""
    names = ", ".join(f'"{name}"' for name in columns)
    values = _placeholders(len(columns), rows)
    return f'INSERT INTO "{table.name}" ({names}) VALUES {values} {conflict}'


@lru_cache(maxsize=1024)
def lease_text(lanes: int) -> str:
    """Each lane gives its own oldest due rows: a backlog of one is never ahead of another."""
    lane = (
        "SELECT * FROM (SELECT event_key, subscription_no FROM delivery_queue "
        "WHERE subscription_no = ? AND due_at <= ? AND token IS NULL ORDER BY due_at LIMIT ?)"
    )
    return (
        "UPDATE delivery_queue SET due_at = ?, token = ?, attempts = attempts + 1, step = step + 1 "
        # the SELECT around the UNION lets SQLite find the rows by their key (see one_of)
        "WHERE (event_key, subscription_no) IN "
        f"(SELECT * FROM ({' UNION ALL '.join([lane] * lanes)})) "
        "RETURNING event_key, subscription_no, attempts, step, trigger, operation_key"
    )


@lru_cache(maxsize=4096)
def _placeholders(columns: int, rows: int) -> str:
    """``(?, ?), (?, ?)`` for 2 columns and 2 rows."""
    row = f"({', '.join('?' * columns)})"
    return ", ".join([row] * rows)


def flat(rows: Iterable[Sequence[Any]]) -> Row:
    """The rows' values one after the other."""
    return tuple(chain.from_iterable(rows))
