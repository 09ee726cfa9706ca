"""A real PgBouncer for tests, where there is one on PATH.

Each transaction of a client may be on another connection to the server than the one before.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from tests.support.server import free_port

PROGRAM: Final = shutil.which("pgbouncer")
#: Fewer connections to the server than one process of the service opens to it.
POOL: Final = 3
_READY: Final = 10.0
_POLL: Final = 0.02
_TRIES: Final = 5
_SETTINGS: Final = {
    "listen_addr": "127.0.0.1",
    "unix_socket_dir": "",
    "auth_type": "any",
    "pool_mode": "transaction",
    "default_pool_size": str(POOL),
    "max_client_conn": "500",
    # who was refused by a server that is just starting asks again soon, not after 15 seconds
    "server_login_retry": "1",
}


@dataclass(slots=True)
class PgBouncer:
    """One that lends connections to the server in the folder of sockets ``host``."""

    folder: Path
    host: str
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres", *, is_told: bool = True) -> str:
        """Where a database is through it; ``is_told``: with the flag that says so."""
        flag = "&pgbouncer=true" if is_told else ""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}?sslmode=disable{flag}"

    def start(self) -> None:
        """Start it and wait until it listens; an error when another has the port."""
        config = self.folder / "pgbouncer.ini"
        config.write_text(self._config())
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(PROGRAM), str(config)], stdout=log, stderr=log, **_identity()
            )
        end = time.monotonic() + _READY
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise ConnectionError(self._log.read_text())
            time.sleep(_POLL)

    def kill(self) -> None:
        """SIGKILL: whoever is connected through it is cut off. Nothing where it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal: SIGHUP is RELOAD, SIGUSR1 is PAUSE, SIGUSR2 is RESUME."""
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def _log(self) -> Path:
        return self.folder / "pgbouncer.log"

    def _config(self) -> str:
        own = {**_SETTINGS, "listen_port": str(self.port), **self.settings}
        said = "\n".join(f"{name} = {value}" for name, value in own.items())
        return f"[databases]\n* = host={self.host} user=postgres\n[pgbouncer]\n{said}\n"

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def pgbouncer(url: str, **settings: str) -> Iterator[PgBouncer]:
    """One before the server of a URL that names its folder of sockets, started."""
    (host,) = parse_qs(urlsplit(url).query)["host"]
    with tempfile.TemporaryDirectory(prefix="ringback-pgbouncer-") as folder:
        Path(folder).chmod(0o755)
        made = PgBouncer(Path(folder), host, settings)
        for _ in range(_TRIES):
            try:
                made.start()
            except ConnectionError:
                made.port = free_port()
            else:
                break
        try:
            yield made
        finally:
            made.kill()


def _identity() -> dict[str, Any]:
    """Whom to run as: like the server, it does not run as root."""
    if os.geteuid() != 0:
        return {}
    return {"user": "nobody", "group": "nogroup", "extra_groups": []}
