"""Where a service keeps what it has: an SQLite file in its folder, or a database of a server.

The benchmark reads and fills it beside the service, and makes copies of one that is prepared.
"""

import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from service.lab.bench import filling
from service.lab.bench.faults import BenchError
from service.lab.bench.filling import Bulk
from service.lab.bench.processes import spawn
from service.lab.servers import Postgres, Valkey

#: Of a bulk load: its size, when it began, the subscription it begins with, and the feed's place.
Shape = Callable[[int, int, int, int], Bulk]

_FEED: Final = "SELECT feed_position FROM tenants WHERE id = 'default'"
_NEWEST: Final = "SELECT max(no) FROM subscriptions"
#: Checks that cost time and that a store made for an hour does not need.
_PRAGMAS: Final = ("journal_mode=WAL", "synchronous=OFF", "cache_size=-200000")
_MIGRATION_SECONDS: Final = 60.0


class Store(Protocol):
    """The database of one service."""

    @property
    def settings(self) -> Mapping[str, str]:
        """What the service is told of it."""

    @property
    def words(self) -> filling.Words:
        """What it says in its own way."""

    def prepare(self) -> None:
        """Make it, if the service does not do so itself; nothing if it is there."""

    def copy_of(self, other: "Store") -> None:
        """Be as the other one is, which nobody uses now; the folder was copied before."""

    def run(self, statements: list[str]) -> None:
        """Run statements in one transaction."""

    def number(self, query: str) -> int:
        """The one number that a query finds; 0 for none."""

    def tidy(self) -> None:
        """Do now what the database does in time: checkpoint, vacuum, statistics."""

    def slow_down(self, milliseconds: float) -> float:
        """Let each commit take so much longer; how much of it is left to the service's process."""

    def remove(self) -> None:
        """Leave nothing of it outside of its folder."""


class SqliteStore:
    """See :class:`Store`: the file that a service makes by itself."""

    settings: Final[Mapping[str, str]] = {}
    words: Final = filling.SQLITE

    def __init__(self, folder: Path) -> None:
        self._path = folder / "data" / "ringback.db"

    def prepare(self) -> None:
        """The service does so."""

    def copy_of(self, other: Store) -> None:
        """It came with the folder."""

    def run(self, statements: list[str]) -> None:
        """See :class:`Store`."""
        with closing(sqlite3.connect(self._path, isolation_level=None)) as file:
            for pragma in _PRAGMAS:
                file.execute(f"PRAGMA {pragma}")
            file.execute("BEGIN IMMEDIATE")
            for text in statements:
                file.execute(text)
            file.execute("COMMIT")

    def number(self, query: str) -> int:
        """See :class:`Store`."""
        place = f"{self._path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(place, uri=True)) as file:
            return int(file.execute(query).fetchone()[0] or 0)

    def tidy(self) -> None:
        """It checkpoints, and has no statistics, as the service's own has none."""
        with closing(sqlite3.connect(self._path)) as file:
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def slow_down(self, milliseconds: float) -> float:
        """The process that commits waits itself."""
        return milliseconds

    def remove(self) -> None:
        """It goes with the folder."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Servers that stand, and what a service with several processes has to be told besides."""

    postgres: Postgres
    valkey: Valkey
    settings: Mapping[str, str]


class PostgresStore:
    """See :class:`Store`: a database of a server that stands, named like the folder."""

    words: Final = filling.POSTGRES

    def __init__(self, servers: Servers, folder: Path) -> None:
        self._servers = servers
        self._postgres = servers.postgres
        self._folder = folder
        self.name = f"{folder.parent.name}-{folder.name}"

    @property
    def settings(self) -> Mapping[str, str]:
        """See :class:`Store`."""
        return {**self._servers.settings, "RINGBACK_DATABASE_URL": self._postgres.url(self.name)}

    def prepare(self) -> None:
        """Create and migrate it."""
        self._servers.valkey.flush()
        found = f"SELECT count(*) FROM pg_database WHERE datname = '{self.name}'"
        if int(self._postgres.sql(found)):
            return
        self._postgres.create(self.name)
        log = self._folder / "migrate.log"
        process = spawn(("service", "migrate"), self._folder, self.settings, log)
        try:
            code = process.wait(_MIGRATION_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code:
            raise BenchError(f"The database cannot be migrated:\n{log.read_text(errors='replace')}")

    def copy_of(self, other: Store) -> None:
        """See :class:`Store`."""
        if isinstance(other, PostgresStore):
            self._postgres.create(self.name, other.name)

    def run(self, statements: list[str]) -> None:
        """See :class:`Store`."""
        self._postgres.sql("; ".join(statements), self.name)

    def number(self, query: str) -> int:
        """See :class:`Store`."""
        return int(self._postgres.sql(query, self.name) or 0)

    def tidy(self) -> None:
        """See :class:`Store`."""
        self._postgres.sql("CHECKPOINT", self.name)
        self._postgres.sql("VACUUM (ANALYZE)", self.name)

    def slow_down(self, milliseconds: float) -> float:
        """The server waits before it writes its log, and whoever commits meanwhile joins in."""
        wait = f"ALTER SYSTEM SET commit_delay = {round(milliseconds * 1000)}"
        for text in (wait, "ALTER SYSTEM SET commit_siblings = 0", "SELECT pg_reload_conf()"):
            self._postgres.sql(text)
        return 0.0

    def remove(self) -> None:
        """See :class:`Store`."""
        self._postgres.sql(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')


def fill(store: Store, shape: Shape, count: int, since: int, first_no: int | None = None) -> None:
    """Write so many events of a shape, accepted from ``since`` (ms) on, and let it settle.

    Their deliveries are the newest subscription's, or begin with that of a number.
    """
    no = store.number(_NEWEST) if first_no is None else first_no
    for statements in filling.texts(shape(count, since, no, store.number(_FEED)), store.words):
        store.run(statements)
    store.tidy()
