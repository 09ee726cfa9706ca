"""Every failpoint with every action: what a receiver then gets twice, and what never.

A subscription lets one delivery at a time be in flight, so the counts are exact.
"""

import asyncio
import base64
import json
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from service import runtime, settings
from service.domain.api_keys import KEY_BYTES, new_key
from service.lab.processes import HOST, LabError, Program, environment, free_port, module
from service.lab.servers import Postgres
from service.lab.torture import receivers
from service.lab.torture.evidence import OPEN, read_received
from service.lab.torture.failpoints import Action, Failing, Spot
from service.lab.torture.plan import Mode
from service.lab.torture.served import EVERYTHING
from service.lab.torture.talking import Api, NoAnswerError, Talk

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

#: Events of a scenario.
EVENTS: Final = 5
#: Scenarios at once: most of their time is waiting.
_AT_ONCE: Final = 6
_PATIENCE: Final = 60.0
_POLL: Final = 0.05
_TEMPLATE: Final = "migrated"
_MODULE: Final = __name__


class Came(NamedTuple):
    """What came of a scenario."""

    duplicates: int
    losses: int


_CLEAN: Final = Came(0, 0)
_TWICE: Final = Came(1, 0)
#: What is not named here comes to nothing lost and nothing twice.
_OTHERS: Final = {
    # the receiver has it, and nobody wrote that down
    (Spot.SEND_AFTER, Action.EXIT): _TWICE,
    (Spot.SETTLE_COMMIT, Action.EXIT): _TWICE,
    (Spot.SEND_AFTER, Action.RAISE): _TWICE,
    (Spot.SETTLE_COMMIT, Action.RAISE): _TWICE,
    # its lease is over when it is sent, or settled: somebody else's turn comes too
    (Spot.SEND_BEFORE, Action.SLEEP): _TWICE,
    (Spot.SEND_AFTER, Action.SLEEP): _TWICE,
}
#: Where results are a statement by itself nothing keeps the sweep away until it is sent.
_ALONE: Final = {(Spot.SETTLE_COMMIT, Action.SLEEP): _TWICE}


def _expected(others: Mapping[tuple[Spot, Action], Came]) -> Mapping[tuple[Spot, Action], Came]:
    """All 36."""
    return {each: others.get(each, _CLEAN) for each in product(Spot, Action)}


#: By database.
EXPECTED: Final = {
    "SQLite": _expected(_OTHERS),
    "PostgreSQL": _expected(_OTHERS | _ALONE),
}


class Ground(Protocol):
    """Where scenarios keep their data."""

    def settings(self, name: str) -> dict[str, str]:
        """Settings with an empty database of this name."""


@dataclass(frozen=True, slots=True)
class OnSqlite:
    """A file for each scenario."""

    folder: Path

    def settings(self, name: str) -> dict[str, str]:
        """See :class:`Ground`."""
        return {"RINGBACK_DATABASE_URL": f"sqlite:///{self.folder / name / 'ringback.db'}"}


@dataclass(frozen=True, slots=True)
class OnPostgres:
    """A database for each scenario, copied from one that was migrated."""

    server: Postgres
    folder: Path
    keys: str = field(default_factory=lambda: base64.b64encode(os.urandom(32)).decode())

    def prepare(self) -> None:
        """Make the one to copy."""
        self.server.create(_TEMPLATE)
        log = self.folder / "migrate.log"
        known = environment(self._settings(_TEMPLATE))
        program = Program(module("service", "migrate"), self.folder, log, known)
        program.spawn()
        if program.ended(_PATIENCE) != 0:
            raise LabError(f"ringback migrate failed:\n{program.said}")

    def settings(self, name: str) -> dict[str, str]:
        """See :class:`Ground`."""
        database = name.replace("-", "_")
        self.server.create(database, _TEMPLATE)
        return self._settings(database)

    def _settings(self, database: str) -> dict[str, str]:
        url = self.server.url(database)
        return {"RINGBACK_DATABASE_URL": url, "RINGBACK_ENCRYPTION_KEYS": f"lab:{self.keys}"}


@contextmanager
def ground(mode: Mode, folder: Path) -> Iterator[Ground]:
    """Files for one process; for several a server, which ends with this."""
    if mode is Mode.EMBEDDED:
        yield OnSqlite(folder)
        return
    server = Postgres(folder / "postgres.log")
    try:
        server.install()
        server.start()
        prepared = OnPostgres(server, folder)
        prepared.prepare()
        yield prepared
    finally:
        server.remove()


async def run(
    which: Iterable[tuple[Spot, Action]], ground: Ground, folder: Path
) -> dict[tuple[Spot, Action], Came]:
    """Run these scenarios, several at a time; what came of each."""
    turn = asyncio.Semaphore(_AT_ONCE)
    with ExitStack() as stack:
        hook = _Hook(folder)
        stack.callback(hook.program.kill)
        hook.program.spawn()

        async def one(spot: Spot, action: Action) -> tuple[tuple[Spot, Action], Came]:
            async with turn:
                return (spot, action), await _Scenario(spot, action, ground, hook).run()

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(*each)) for each in which]
        return dict(task.result() for task in tasks)


class _Hook:
    """The receiver of all scenarios."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "received.jsonl"
        self.log.touch()
        self.port = free_port()
        words = ["--log", str(self.log), "--port", str(self.port), "--seed", "0"]
        command = module("service.lab.torture.receivers", *words)
        self.program = Program(command, folder, folder / "receivers.log", environment({}))


class _Scenario:
    """One process with one failpoint, and one without after it died."""

    def __init__(self, spot: Spot, action: Action, ground: Ground, hook: _Hook) -> None:
        self._name = f"{spot.name}-{action.name}".lower().replace("_", "-")
        self._failpoint = (spot, action)
        self._ground = ground
        self._hook = hook
        self._folder = hook.log.parent / self._name
        self._key = new_key(os.urandom(KEY_BYTES))
        self._port = free_port()
        self._process: ForkServerProcess | None = None

    async def run(self) -> Came:
        """Post, let it fail, wait until it is over, count."""
        self._folder.mkdir()
        chosen = {
            **await asyncio.to_thread(self._ground.settings, self._name),
            "RINGBACK_HOST": HOST,
            "RINGBACK_PORT": str(self._port),
            "RINGBACK_ADMIN_KEY": self._key,
            "RINGBACK_ALLOW_HTTP": "true",
            "RINGBACK_ALLOW_TARGETS": f"{HOST}:{self._hook.port}",
            "RINGBACK_RETRY_SCHEDULE": "0,0.2,0.2,0.2",
            "RINGBACK_BREAKER": "off",
        }
        talk, api = Talk(self._port, self._key), Api(self._port, self._key)
        try:
            await self._start(chosen, talk, failing=True)
            await self._subscribe(api)
            async with asyncio.timeout(_PATIENCE):
                keeping = asyncio.create_task(self._keep_running(chosen))
                await self._post(talk)
                await self._drain(api)
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
        finally:
            talk.close()
            api.close()
            self._kill()
        return self._count()

    async def _start(self, chosen: dict[str, str], talk: Talk, *, failing: bool) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([_MODULE])
        point = self._failpoint if failing else None
        self._process = context.Process(target=serve, args=(chosen, point, self._folder))
        self._process.start()
        async with asyncio.timeout(_PATIENCE):
            await _until_ready(talk)

    async def _keep_running(self, chosen: dict[str, str]) -> None:
        """Start it again when it has died."""
        talk = Talk(self._port, self._key)
        try:
            while self._process is not None:
                await asyncio.to_thread(self._process.join)
                await self._start(chosen, talk, failing=False)
        finally:
            talk.close()

    async def _subscribe(self, api: Api) -> None:
        secret = receivers.secret(0, receivers.ALL)
        url = f"http://{HOST}:{self._hook.port}{receivers.ALL}"
        body = {"url": url, "secret": secret, "maxConcurrency": 1}
        await api.post("/v1/subscriptions", body, 201)

    async def _post(self, talk: Talk) -> None:
        """All events in one request, until it is accepted."""
        names = [f"{self._name}-{n}" for n in range(EVENTS)]
        events = [{"id": each, "operationId": each, "type": "COMPLETED"} for each in names]
        while True:
            try:
                answer = await talk.ask("POST", "/v1/events", json.dumps(events).encode())
            except NoAnswerError:
                await asyncio.sleep(_POLL)
                continue
            if answer.status == HTTPStatus.ACCEPTED:
                return
            await asyncio.sleep(_POLL)

    async def _drain(self, api: Api) -> None:
        while True:
            found = [await api.get("/v1/deliveries", status=s, limit=1) for s in (*OPEN, *OPEN)]
            if not any(page["data"] for page in found):
                return
            await asyncio.sleep(_POLL)

    def _count(self) -> Came:
        """What the receiver took, held against what was accepted."""
        taken = Counter(
            each.event
            for each in read_received(self._hook.log)
            if each.is_taken and each.event.startswith(f"{self._name}-")
        )
        return Came(sum(taken.values()) - len(taken), EVENTS - len(taken))

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()


async def _until_ready(talk: Talk) -> None:
    while True:
        try:
            answer = await talk.ask("GET", "/readyz")
        except NoAnswerError:
            await asyncio.sleep(_POLL)
            continue
        if answer.status == HTTPStatus.OK:
            return
        await asyncio.sleep(_POLL)


def serve(chosen: dict[str, str], failpoint: tuple[Spot, Action] | None, folder: Path) -> None:
    """Serve, in a process forked from one that has imported everything."""
    log = os.open(folder / "service.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(log, stream.fileno())
    runtime.serve(
        settings.load(chosen), frozenset(EVERYTHING.split(",")), outside=Failing(failpoint)
    )
