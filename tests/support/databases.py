"""Which database a test's store is in: a file of SQLite, or a database of a PostgreSQL server."""

import re
from pathlib import Path
from typing import Any, Final

import pytest

from service.ports import Clock
from service.store.database import Database
from service.store.postgres import PostgresDatabase
from service.store.postgres.compiling import compiled
from service.store.sqlite import SqliteDatabase
from service.store.statements import Row, Statement

#: Where a database is: a file, or a URL.
Place = Path | str

#: For tests of what only one of them has; the fixture ``place`` is both otherwise.
ONLY_SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
ONLY_POSTGRES = pytest.mark.parametrize("place", ["postgres"], indirect=True)

#: What a transaction for reading does not take.
_NOT_READING: Final = re.compile(
    r"^\s*(INSERT|UPDATE|DELETE)\b|\bFOR\s+(NO KEY |KEY )?(UPDATE|SHARE)"
)


class _Strict(PostgresDatabase):
    """Reads only what it could read behind a pooler too, where each look is a transaction."""

    async def look(self, statement: Statement, **given: Any) -> list[Row]:  # noqa: ANN401  as it is
        text = compiled(statement).text
        assert not _NOT_READING.search(text), text
        return await super().look(statement, **given)


def database_at(place: Place, clock: Clock) -> Database:
    """The database at a place, not open yet; its time is that of ``clock``."""
    if isinstance(place, Path):
        return SqliteDatabase(place, clock)
    return _Strict(place, clock, fixed=True)
