"""What is SQLite's own: one file, one process, one writer."""

from service.store.sqlite.database import SqliteDatabase

__all__ = ["SqliteDatabase"]
