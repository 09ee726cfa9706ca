"""Which of SQLite's errors mean that the database cannot be worked with just now."""

import sqlite3
from typing import Final

#: After these the whole transaction is lost or in doubt; every other error is that of one
#: statement.
_FATAL: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)


def is_fatal(error: Exception) -> bool:
    """Whether the fault is the database's, not the statement's."""
    # the low byte is the error; what is above it says more
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.Error) and code is not None and code & 0xFF in _FATAL
