"""Brings a SQLite file to the schema this version works with.

A start with nothing to do only reads one row: alembic is imported when there is work for it.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from service.ports import StoreUnavailableError
from service.store.revisions import check_known, head
from service.store.sqlite import filelock


def revision(path: Path) -> str | None:
    """The revision of the schema in the file; ``None`` when there is no file, or nothing in it."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
            tables = {row[0] for row in file.execute("SELECT name FROM sqlite_master")}
            if not tables:
                return None
            if "alembic_version" not in tables:
                raise StoreUnavailableError(
                    f"{path} holds a database of another program. "
                    "Set RINGBACK_DATABASE_URL to a file of Ringback's own."
                )
            row = file.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        raise StoreUnavailableError(f"{path} cannot be read as a database: {error}.") from error
    return None if row is None else str(row[0])


def migrate(path: Path) -> str:
    """Bring the file to :func:`head`, all or nothing; make it first if need be. Its revision then.

    Call it before the file is opened for work: it takes the file's lock while it changes anything.

    Raises:
        StoreUnavailableError: it could not be done; the database is as it was.
    """
    present, wanted = revision(path), head()
    if present == wanted:
        return wanted
    check_known(str(path), present)
    handle = filelock.hold(path)
    try:
        # a new file is its owner's only: it will hold what producers sent
        path.touch(mode=0o600)
        from service.store.migrations import upgrading  # noqa: PLC0415  heavy: see the file's top

        upgrading.upgrade(path, wanted)
    finally:
        os.close(handle)
    return wanted
