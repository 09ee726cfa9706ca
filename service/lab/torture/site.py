"""What is tortured: the service's processes, what they stand on, and the proxies between."""

import asyncio
import base64
import os
import random
import resource
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import (
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    closing,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final

from service.domain.api_keys import KEY_BYTES, new_key
from service.domain.ids import key_node
from service.lab.processes import HOST, LabError, Program, environment, free_port, module
from service.lab.servers import Postgres, Valkey
from service.lab.torture.clock import set_offset
from service.lab.torture.plan import Mode, Plan
from service.lab.torture.proxy import FaultProxy
from service.lab.torture.served import EVERYTHING
from service.lab.torture.talking import NoAnswerError, Talk

#: Processes of each role when there are several.
CREW: Final = {"api": 2, "worker": 4, "sweeper": 2}
#: Seconds for a process to be ready, and for one to stop.
_READY: Final = 60.0
_STOP: Final = 60.0
_POLL: Final = 0.02
_GREETING: Final = "Ringback "
_DATABASE: Final = "ringback"
_SETTINGS: Final = {
    "RINGBACK_HOST": HOST,
    "RINGBACK_ALLOW_HTTP": "true",
    "RINGBACK_RETRY_SCHEDULE": "0,0.5,0.5,1,1,2,2,4",
    "RINGBACK_REQUEST_TIMEOUT": "5",
    "RINGBACK_BREAKER": "off",  # what is measured is recovery from our faults, not receivers'
}
#: Bytes of a page of the database.
_PAGE: Final = 4096
_LEASED: Final = "SELECT token FROM delivery_queue WHERE token IS NOT NULL"


@dataclass(slots=True)
class Member:
    """One process of the service.

    Attributes:
        node_file: where it leaves the number that its leases have in them.
        port: where its API listens, if it has one.
        start_seconds: how long each start took until it was ready.
        ends: what it said last whenever it ended without being told to.
    """

    role: str
    program: Program
    node_file: Path
    port: int | None = None
    start_seconds: list[float] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    is_paused: bool = False

    async def start(self) -> None:
        """Start it until it is ready, as often as its surroundings let it fail."""
        begun = time.monotonic()
        while True:
            said = len(self.program.said)
            self.spawn()
            while self.program.is_running:
                if await self._is_ready(said):
                    self.start_seconds.append(time.monotonic() - begun)
                    return
                if time.monotonic() - begun > _READY:
                    self.kill()
                    raise LabError(f"{self.role} is not ready:\n{self.program.said[said:]}")
                await asyncio.sleep(_POLL)
            if time.monotonic() - begun > _READY:
                raise LabError(f"{self.role} does not start:\n{self.program.said[said:]}")

    def spawn(self) -> None:
        """Start it, and wait for nothing."""
        self.node_file.unlink(missing_ok=True)
        self.program.spawn()

    @property
    def node(self) -> int | None:
        """The number that its leases have in them; ``None``: it got not so far as to take any."""
        with suppress(OSError):
            return int(self.node_file.read_text() or -1)
        return None

    def kill(self) -> None:
        """SIGKILL."""
        if self.program.code is not None:
            self.ends.append(f"{self.role} with {self.program.code}")
        self.is_paused = False
        self.program.kill()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stopped by SIGSTOP; whoever is killed meanwhile is not waked."""
        self.is_paused = True
        self.program.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.program.send(signal.SIGCONT)
            self.is_paused = False

    def stop(self) -> int:
        """Ask it to stop; the exit code."""
        return self.program.stop(_STOP)

    async def _is_ready(self, said: int) -> bool:
        if _GREETING not in self.program.said[said:]:
            return False
        if self.port is None:
            return True
        talk = Talk(self.port, "")
        try:
            return (await talk.ask("GET", "/readyz")).status == HTTPStatus.OK
        except NoAnswerError:
            return False
        finally:
            talk.close()


@dataclass(slots=True)
class Site:
    """All of it. Proxies are by leg: ``api0``, ``receivers``, ``database``, ``redis``."""

    plan: Plan
    folder: Path
    key: str
    clock: Path
    members: list[Member]
    receivers: Program
    proxies: dict[str, FaultProxy]
    postgres: Postgres | None = None
    valkey: Valkey | None = None

    @property
    def apis(self) -> list[FaultProxy]:
        """The ways to the APIs that producers take."""
        return [proxy for leg, proxy in self.proxies.items() if leg.startswith("api")]

    @property
    def api(self) -> Member:
        """A process that answers the API."""
        return next(each for each in self.members if each.port is not None)

    @property
    def received(self) -> Path:
        """The receivers' log."""
        return self.folder / "received.jsonl"

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.folder / "ringback.db"

    def leased(self, member: Member) -> int:
        """How many deliveries a process has leased now: claimed, and not settled."""
        node = member.node
        return sum(key_node(token) == node for token in self._tokens())

    def _tokens(self) -> list[int]:
        if self.postgres is not None:
            return [int(each) for each in self.postgres.sql(_LEASED, _DATABASE).split()]
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as file:
            return [int(row[0]) for row in file.execute(_LEASED)]

    def damage(self) -> list[str]:
        """What SQLite finds wrong with its file."""
        if self.postgres is not None:
            return []
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as file:
            found = [str(row[0]) for row in file.execute("PRAGMA integrity_check")]
        return [] if found == ["ok"] else found

    def fill_disk(self) -> None:
        """Let the service write nothing beyond the first page of any file.

        The kernel refuses such writes, as it does where a disk is full; the error is another one
        of the same class (EFBIG, not ENOSPC), and no root is needed.
        """
        self._limit_files(_PAGE)

    def empty_disk(self) -> None:
        """Let files grow again."""
        self._limit_files(resource.RLIM_INFINITY)

    def _limit_files(self, size: int) -> None:
        for each in self.members:
            if each.program.is_running:
                hard = resource.prlimit(each.program.pid, resource.RLIMIT_FSIZE)[1]
                resource.prlimit(each.program.pid, resource.RLIMIT_FSIZE, (size, hard))


@asynccontextmanager
async def standing(plan: Plan, folder: Path) -> AsyncIterator[Site]:
    """The site, started; everything ends with it."""
    async with AsyncExitStack() as stack:
        site = _build(plan, folder)
        for proxy in site.proxies.values():
            await stack.enter_async_context(proxy)
        stack.enter_context(_running(site))
        site.receivers.spawn()
        if site.valkey is not None:
            site.valkey.start()
        if site.postgres is not None:
            await asyncio.to_thread(_prepare, site.postgres)
            await _migrate(site)
        for member in site.members:
            await member.start()
        yield site


@contextmanager
def _running(site: Site) -> Iterator[None]:
    """Whatever runs of the site is killed at the end."""
    with ExitStack() as ending:
        ending.callback(site.receivers.kill)
        if site.valkey is not None:
            ending.callback(site.valkey.program.kill)
        if site.postgres is not None:
            ending.callback(site.postgres.remove)
        for member in site.members:
            ending.callback(member.program.kill)
        yield


def _prepare(postgres: Postgres) -> None:
    postgres.install()
    postgres.start()
    postgres.create(_DATABASE)


async def _migrate(site: Site) -> None:
    """Make the schema, which no server does by itself."""
    program = Program(
        module("service", "migrate"),
        site.folder,
        site.folder / "migrate.log",
        site.members[0].program.environ,
    )
    program.spawn()
    if await asyncio.to_thread(program.ended, _READY) != 0:
        raise LabError(f"ringback migrate failed:\n{program.said}")


def _build(plan: Plan, folder: Path) -> Site:
    dice = random.Random(f"{plan.seed}/proxies")  # noqa: S311  to be repeated, not to be safe
    receivers, clock = free_port(), folder / "clock"
    set_offset(clock, 0)
    proxies = {"receivers": FaultProxy(free_port(), receivers, dice)}
    key = new_key(os.urandom(KEY_BYTES))
    target = f"{HOST}:{proxies['receivers'].port}"
    settings = {**_SETTINGS, "RINGBACK_ADMIN_KEY": key, "RINGBACK_ALLOW_TARGETS": target}
    postgres = valkey = None
    if plan.mode is Mode.EMBEDDED:
        settings["RINGBACK_DATABASE_URL"] = f"sqlite:///{folder / 'ringback.db'}"
        roles = [EVERYTHING]
    else:
        postgres, valkey = Postgres(folder / "postgres.log"), Valkey(folder)
        proxies["database"] = FaultProxy(free_port(), postgres.port, dice)
        proxies["redis"] = FaultProxy(free_port(), valkey.port, dice)
        settings |= _distributed(postgres, proxies)
        roles = [role for role, count in CREW.items() for _ in range(count)]
    members = [_member(folder, number, role, settings) for number, role in enumerate(roles)]
    for member in members:
        if member.port is not None:
            proxies[f"api{len(proxies)}"] = FaultProxy(free_port(), member.port, dice)
    words = ["--log", str(folder / "received.jsonl"), "--port", str(receivers)]
    listener = Program(
        module("service.lab.torture.receivers", *words, "--seed", str(plan.seed)),
        folder,
        folder / "receivers.log",
        environment({}),
    )
    return Site(plan, folder, key, clock, members, listener, proxies, postgres, valkey)


def _distributed(postgres: Postgres, proxies: Mapping[str, FaultProxy]) -> dict[str, str]:
    """Settings with which several processes share the work."""
    seal = base64.b64encode(os.urandom(32)).decode()
    return {
        "RINGBACK_DATABASE_URL": postgres.url(_DATABASE, proxies["database"].port),
        "RINGBACK_REDIS_URL": f"redis://{HOST}:{proxies['redis'].port}/0",
        "RINGBACK_ENCRYPTION_KEYS": f"torture:{seal}",
    }


def _member(folder: Path, number: int, role: str, settings: Mapping[str, str]) -> Member:
    port = free_port() if "api" in role else None
    own = {**settings, "RINGBACK_PORT": str(port)} if port else dict(settings)
    name = f"{role.partition(',')[0]}-{number}"
    node = folder / f"{name}.node"
    words = ["--clock", str(folder / "clock"), "--node", str(node), "--roles", role]
    command = module("service.lab.torture.served", *words)
    program = Program(command, folder, folder / f"{name}.log", environment(own))
    return Member(role, program, node, port)
