"""Which database a test's store is in: a file of SQLite, or a database of a PostgreSQL server."""

from pathlib import Path

import pytest

from service.ports import Clock
from service.store.database import Database
from service.store.postgres import PostgresDatabase
from service.store.sqlite import SqliteDatabase

#: Where a database is: a file, or a URL.
Place = Path | str

#: For tests of what only one of them has; the fixture ``place`` is both otherwise.
ONLY_SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
ONLY_POSTGRES = pytest.mark.parametrize("place", ["postgres"], indirect=True)


def database_at(place: Place, clock: Clock) -> Database:
    """The database at a place, not open yet; its time is that of ``clock``."""
    if isinstance(place, Path):
        return SqliteDatabase(place, clock)
    return PostgresDatabase(place, clock, fixed=True)
