"""What every table is made of."""

from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, Integer, MetaData

#: SQLite makes a 64-bit key the row's own address only when its type is spelled INTEGER.
Big = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def given(column: Column[Any]) -> dict[str, Any]:
    """For an index of the rows in which ``column`` is given, in every dialect's words."""
    return those(column.is_not(None))


def those(where: ColumnElement[bool]) -> dict[str, Any]:
    """For an index of the rows of which ``where`` is so, likewise."""
    return {"sqlite_where": where, "postgresql_where": where}
