"""Statements as all databases share them; how each writes them is in its own folder.

A statement is written in SQLAlchemy Core and compiled once, or as text where it is about many
rows. On the hot path it then goes straight to the driver.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sqlalchemy import BindParameter, Column, ColumnElement, Executable, Table, bindparam
from sqlalchemy.sql import ClauseElement

Row = tuple[Any, ...]

#: Rows in one statement, so that no job holds the others up for long.
CHUNK: Final = 500

_MARK: Final = re.compile(r"(\{rows\}|:[a-z_]+)")


class among(ColumnElement[bool]):  # noqa: N801  reads like SQLAlchemy's own lower-case constructs
    """``column IN (the list bound as name)``: one statement text for lists of every length."""

    inherit_cache = False

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        self.values: BindParameter[Any] = bindparam(name)


class bytewise(ColumnElement[str]):  # noqa: N801  as above
    """A column of text to lock rows by, in the order of ``sorted`` whatever the database's own is.

    That is the order of its language, and who locks in one order meets who locks in the other.
    """

    inherit_cache = False

    def __init__(self, column: ColumnElement[str]) -> None:
        self.column = column


class unindexed(ColumnElement[str]):  # noqa: N801  as above
    """A column that nothing is to be looked up by, in a statement that bounds another.

    SQLite, which counts no rows, takes one value to be fewer than any stretch of others: it would
    read and sort all that has it. PostgreSQL, which does, is told nothing.
    """

    inherit_cache = False

    def __init__(self, column: ColumnElement[str]) -> None:
        self.column = column
        self.type = column.type


class Statement:
    """A statement that each database compiles once."""

    __slots__ = ("core",)

    def __init__(self, statement: Executable) -> None:
        if not isinstance(statement, ClauseElement):
            raise TypeError(statement)
        self.core: ClauseElement = statement


class Many:
    """A statement about many rows at once.

    In its text ``{rows}`` is a table ``v`` of the rows, whose columns are ``column1``, ``column2``
    and so on, of the types of ``columns``; ``:name`` is a value that is given.
    """

    __slots__ = ("parts", "types")

    def __init__(self, text: str, *columns: Column[Any]) -> None:
        #: Text, and marks between.
        self.parts: Final[Sequence[str]] = tuple(_MARK.split(text))
        self.types: Final = tuple(column.type for column in columns)


class Insert(NamedTuple):
    """Many rows for a table; ``conflict`` is what follows them in the statement."""

    table: Table
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    conflict: str = ""


class Change(NamedTuple):
    """A statement about many rows, with the rows and what is given.

    By its ``name`` what is written together with it refers to the rows that it returns.
    """

    statement: Many
    rows: Sequence[Row]
    given: Mapping[str, Any] = MappingProxyType({})
    name: str = ""


Write = Insert | Change


def deletion(*columns: Column[Any], where: str = "TRUE") -> Many:
    """Deletes the rows that have one of the given values in these columns of their table."""
    names = [column.name for column in columns]
    return Many(f"DELETE FROM {columns[0].table.name} WHERE {one_of(names)} AND {where}", *columns)


def one_of(columns: Sequence[str]) -> str:
    """``(a, b) IN`` the rows of a :class:`Many`, in the form for which SQLite takes an index.

    The bare ``IN (VALUES ..., ...)`` is a compound of as many SELECTs, and for such it reads the
    whole table.
    """
    picked = ", ".join(f"column{number}" for number in range(1, len(columns) + 1))
    return f"({', '.join(columns)}) IN (SELECT {picked} FROM {{rows}})"
