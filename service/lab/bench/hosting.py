"""The service under measurement: a folder, its processes, the few things the benchmark asks of it.

A mode says which processes there are and what they are told. Embedded is one process that does
everything; distributed has a process for each role, and those of PostgreSQL and Redis beside them,
whose time is the service's as well.
"""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

import httpx

from service.lab.bench.board import Board
from service.lab.bench.databases import SqliteStore, Store
from service.lab.bench.faults import BenchError
from service.lab.bench.processes import HOST, family, free_port, spawn, stop
from service.lab.bench.stamps import EVENT_TYPE

_START_SECONDS: Final = 30.0
_LOOK_EVERY: Final = 0.01
_LOG_LINES: Final = 12

#: Receivers are on this machine; all else is as it is by default, breaker included.
_SETTINGS: Final = {"RINGBACK_ALLOW_HTTP": "true", "RINGBACK_ALLOW_TARGETS": "127.0.0.0/8"}


@dataclass(frozen=True, slots=True)
class Mode:
    """A way to run the service."""

    name: str
    #: Each process of the service: its name in the figures, and its ``--roles``. The one that
    #: serves the API comes first.
    roles: Mapping[str, str]
    #: The database of a service in a folder.
    store: Callable[[Path], Store] = SqliteStore
    #: The first process of each server, which runs already, by name.
    servers: Mapping[str, int] = field(default_factory=dict)
    #: What the naive design is told of its database and its Redis, where it has any.
    naive: tuple[str, ...] = ()


EMBEDDED: Final = Mode("embedded", {"service": "api,worker,sweeper"})
#: The line that each process begins with when it is there.
_GREETING: Final = b"Ringback "


def with_workers(mode: Mode, count: int) -> Mode:
    """The same with so many workers."""
    more = {f"worker-{number}": "worker" for number in range(2, count + 1)}
    return replace(mode, roles={**mode.roles, **more})


@dataclass(slots=True)
class Service:
    """The service in a folder.

    Attributes:
        sync_ms: by how much the disk's fsync is to be slower than it is.
    """

    mode: Mode
    folder: Path
    sync_ms: float = 0.0
    port: int = 0
    #: Seconds that the last start took until ``/readyz`` said yes.
    start_seconds: float = 0.0
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _said_before: int = 0
    _own_wait: float = 0.0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}"

    @property
    def key(self) -> str:
        """A key with every scope."""
        given = self.store.settings.get("RINGBACK_ADMIN_KEY")
        return given or (self.folder / "data" / "admin.key").read_text().strip()

    @property
    def store(self) -> Store:
        """Its database."""
        return self.mode.store(self.folder)

    @property
    def own_pids(self) -> dict[str, tuple[int, ...]]:
        """Its processes by name."""
        return {name: (process.pid,) for name, process in self._running.items()}

    @property
    def server_pids(self) -> dict[str, tuple[int, ...]]:
        """The processes of its servers by name."""
        return {name: family(pid) for name, pid in self.mode.servers.items()}

    @property
    def pids(self) -> dict[str, tuple[int, ...]]:
        """Its processes by name, those of its servers included."""
        return {**self.own_pids, **self.server_pids}

    @property
    def api_pid(self) -> int:
        """The process that serves the API."""
        return next(iter(self._running.values())).pid

    @property
    def boards(self) -> list[Board]:
        """On which its processes count statements, each on one."""
        return [Board(self._board(name)) for name in self.mode.roles]

    def start(self) -> Self:
        """Start all of its processes; ready when this returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.store.prepare()
        self._own_wait = self.store.slow_down(self.sync_ms)
        self._said_before = len(self._said())
        self.port = free_port()
        begun = time.monotonic()
        for name, roles in self.mode.roles.items():
            self._spawn(name, roles)
        self._wait(begun)
        self.start_seconds = time.monotonic() - begun
        return self

    def stop(self) -> None:
        """End its processes."""
        with ExitStack() as ending:
            for process in self._running.values():
                ending.callback(stop, process)
        self._running = {}

    def client(self) -> httpx.AsyncClient:
        """A client that may do everything."""
        key = {"authorization": f"Bearer {self.key}"}
        return httpx.AsyncClient(base_url=self.url, headers=key, timeout=30.0, trust_env=False)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What comes of a request that has to succeed."""
        async with self.client() as client:
            answer = await client.post(path, json=body)
        if not answer.is_success:
            raise BenchError(f"POST {path} was answered {answer.status_code}: {answer.text}")
        made: dict[str, Any] = answer.json()
        return made

    async def subscribe(self, url: str, event_type: str = EVENT_TYPE) -> dict[str, Any]:
        """A subscription for the events of the benchmark, or for others."""
        return await self.post("/v1/subscriptions", {"url": url, "eventTypes": [event_type]})

    def _board(self, name: str) -> Path:
        return self.folder / f"statements-{name}"

    @property
    def _log(self) -> Path:
        return self.folder / "service.log"

    def _said(self) -> bytes:
        return self._log.read_bytes() if self._log.exists() else b""

    def _spawn(self, name: str, roles: str) -> None:
        settings = {**_SETTINGS, "RINGBACK_PORT": str(self.port), **self.store.settings}
        Board.make(self._board(name))
        board, slow = str(self._board(name)), str(self._own_wait)
        own = (f"{__package__}.counted", board, slow, "serve", "--roles", roles)
        self._running[name] = spawn(own, self.folder, settings, self._log)

    def _are_there(self) -> bool:
        """Whether all processes have said that they run."""
        said = self._said()[self._said_before :].splitlines()
        return sum(line.startswith(_GREETING) for line in said) == len(self.mode.roles)

    def _wait(self, begun: float) -> None:
        with httpx.Client(base_url=self.url, timeout=5.0, trust_env=False) as client:
            while time.monotonic() - begun < _START_SECONDS:
                if any(process.poll() is not None for process in self._running.values()):
                    break
                try:
                    if client.get("/readyz").is_success and self._are_there():
                        return
                except httpx.TransportError:
                    pass  # not listening yet
                time.sleep(_LOOK_EVERY)
        self.stop()
        words = self._said().decode(errors="replace").splitlines()[-_LOG_LINES:]
        raise BenchError("\n".join(("The service did not start. Its last words:", *words)))


@contextmanager
def running(mode: Mode, folder: Path, sync_ms: float = 0.0) -> Iterator[Service]:
    """A service, for as long as it is needed."""
    service = Service(mode, folder, sync_ms)
    try:
        yield service.start()
    finally:
        service.stop()
