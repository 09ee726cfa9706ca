"""How connections to the SQLite file are made."""

from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

WRITER: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA busy_timeout=5000",
    "PRAGMA mmap_size=0",
    "PRAGMA temp_store=MEMORY",
)
READER: Final = (*WRITER, "PRAGMA query_only=ON", "PRAGMA wal_autocheckpoint=0")

#: Statements that a connection keeps prepared: all there are on the hot path, each for every number
#: of rows that occurs. Python keeps 128.
_PREPARED: Final = 1_024


def engine(path: Path, pragmas: tuple[str, ...]) -> AsyncEngine:
    """An engine whose connections begin and end no transaction by themselves; it pools none."""
    url = URL.create("sqlite+aiosqlite", database=str(path))
    made = create_async_engine(
        url,
        isolation_level="AUTOCOMMIT",
        poolclass=NullPool,
        hide_parameters=True,  # else an error's text has them, and so has the log
        connect_args={
            "check_same_thread": False,  # short statements stay on the event loop's
            "cached_statements": _PREPARED,
        },
    )

    @event.listens_for(made.sync_engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    return made
