"""Runs the revisions in one transaction."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from service.ports import StoreUnavailableError

#: The advisory lock of whoever migrates a server's database.
_LOCK: Final = 7_242_255_225


def upgrade(path: Path, wanted: str) -> None:
    """Upgrade a SQLite file to the revision ``wanted``; on any error it stays as it was.

    Raises:
        StoreUnavailableError: SQLite did not take a statement of it.
    """
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        isolation_level="AUTOCOMMIT",
        poolclass=NullPool,
        hide_parameters=True,
    )
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            connection.exec_driver_sql("PRAGMA synchronous=FULL")
            # closing the connection on the way out of an error rolls back
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            _run(connection, wanted)
            connection.exec_driver_sql("COMMIT")
    except DBAPIError as error:
        raise StoreUnavailableError(
            f"{path} could not be brought to the schema {wanted} and is as it was: {error.orig}."
        ) from error


async def upgrade_server(connect: Callable[[], Awaitable[Any]], limits: str, wanted: str) -> None:
    """Upgrade a PostgreSQL database to the revision ``wanted``; on any error it stays as it was.

    ``limits`` is the statement that gives them to the transaction.

    Of several processes that start at once one does it, and the others find it done.
    """
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        poolclass=NullPool,
        hide_parameters=True,
    )
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql(limits)
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            await connection.run_sync(_run, wanted)
    finally:
        await engine.dispose()


def _run(connection: Connection, wanted: str) -> None:
    config = Config()
    config.set_main_option("script_location", "service.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, wanted)
