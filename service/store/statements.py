"""How statements reach the driver cheaply.

A statement is written in SQLAlchemy Core and compiled once; on the hot path it then goes straight
to the driver connection that SQLAlchemy's engine opened: one hop to aiosqlite's thread (about 45
us of processor time) where ``AsyncConnection.execute`` takes four (about 210 us). Many rows go as
one statement with many ``VALUES``, since ``executemany`` gives the interpreter away once a row.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import BindParameter, ColumnElement, Executable, Table, bindparam
from sqlalchemy.dialects.sqlite import aiosqlite as sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

Row = tuple[Any, ...]

#: Rows in one statement, so that no job holds the writer long.
CHUNK: Final = 500

_DIALECT: Final = sqlite.dialect(paramstyle="qmark")


class among(ColumnElement[bool]):  # noqa: N801  reads like SQLAlchemy's own lower-case constructs
    """``column IN (the list bound as name)``: one statement text for lists of every length."""

    inherit_cache = False

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        self.values: BindParameter[Any] = bindparam(name)


@compiles(among, "sqlite")
def _among_sqlite(element: among, compiler: SQLCompiler, **kw: Any) -> str:
    column = compiler.process(element.column, **kw)
    values = compiler.process(element.values, **kw)
    return f"{column} IN (SELECT value FROM json_each({values}))"


class Statement:
    """A compiled statement and the order of its parameters."""

    __slots__ = ("_names", "_rest", "text")

    def __init__(self, statement: Executable) -> None:
        if not isinstance(statement, ClauseElement):
            raise TypeError(statement)
        compiled = statement.compile(dialect=_DIALECT)
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


def _bound(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value


@lru_cache(maxsize=4096)
def placeholders(columns: int, rows: int) -> str:
    """``(?, ?), (?, ?)`` for 2 columns and 2 rows."""
    row = f"({', '.join('?' * columns)})"
    return ", ".join([row] * rows)


@lru_cache(maxsize=4096)
def is_one_of(columns: tuple[str, ...], rows: int) -> str:
    """``(a, b) IN`` a list of rows, in the form for which SQLite takes an index.

    The bare ``IN (VALUES ..., ...)`` is a compound of as many SELECTs, and for such it reads the
    whole table.
    """
    picked = ", ".join(f"column{number}" for number in range(1, len(columns) + 1))
    values = placeholders(len(columns), rows)
    return f"({', '.join(columns)}) IN (SELECT {picked} FROM (VALUES {values}))"


@lru_cache(maxsize=4096)
def insert_text(table: Table, columns: tuple[str, ...], rows: int, conflict: str = "") -> str:
    """One INSERT of many rows into ``table``."""
    names = ", ".join(f'"{name}"' for name in columns)
    return (
        f'INSERT INTO "{table.name}" ({names}) VALUES {placeholders(len(columns), rows)} {conflict}'
    )


def flat(rows: Iterable[Sequence[Any]]) -> tuple[Any, ...]:
    """The rows' values one after the other."""
    return tuple(value for row in rows for value in row)
