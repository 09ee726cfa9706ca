"""Runs the revisions in one transaction."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, create_engine
from sqlalchemy.pool import NullPool


def upgrade(path: Path, wanted: str) -> None:
    """Upgrade a SQLite file to the revision ``wanted``; on any error it stays as it was."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)), isolation_level="AUTOCOMMIT", poolclass=NullPool
    )
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        connection.exec_driver_sql("PRAGMA synchronous=FULL")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            _run(connection, wanted)
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")


def _run(connection: Connection, wanted: str) -> None:
    config = Config()
    config.set_main_option("script_location", "service.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, wanted)
