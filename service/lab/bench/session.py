"""One run of the benchmark: its tools, its sizes, and what earlier rows found."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from service.lab.bench import tools
from service.lab.bench.board import Board, Slot
from service.lab.bench.faults import BenchError
from service.lab.bench.figures import Values
from service.lab.bench.hosting import Mode, Service, running, with_workers
from service.lab.bench.measuring import Look, Pids, Window, look
from service.lab.bench.processes import HOST
from service.lab.bench.tools import Tool

_LOOK_EVERY: Final = 0.02
#: Percent of a core's time that a tool may use: it has one thread that works.
_BUSY: Final = 90.0
#: Seconds without any progress after which what is outstanding is taken for lost.
_PATIENCE: Final = 20.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long, and how much."""

    warm_seconds: float
    seconds: float
    paced_seconds: float
    idle_seconds: float
    rounds: int
    history: int
    backlog: int
    watchers: int
    #: Deliveries in the store whose lists are timed.
    listed: int
    #: How often each of them is asked for.
    requests: int

    def lasting(self, seconds: float) -> "Sizes":
        """The same with loads, and the rest between them, of so many seconds."""
        idle = min(self.idle_seconds, seconds)
        return replace(self, seconds=seconds, paced_seconds=seconds, idle_seconds=idle)


#: Both modes in less than three minutes, of which starts and stops are the larger part.
QUICK: Final = Sizes(
    warm_seconds=0.4,
    seconds=1.0,
    paced_seconds=1.2,
    idle_seconds=1.2,
    rounds=1,
    history=20_000,
    backlog=8_000,
    watchers=200,
    listed=10_000,
    requests=5,
)
FULL: Final = Sizes(
    warm_seconds=5.0,
    seconds=60.0,
    paced_seconds=30.0,
    idle_seconds=60.0,
    rounds=9,
    history=10_000_000,
    backlog=1_000_000,
    watchers=2_000,
    listed=1_000_000,
    requests=50,
)
#: For what grows: many steps, and what is asked of each is its cost, not how long it lasts.
SCALED: Final = replace(FULL, seconds=20.0)


@dataclass(slots=True)
class Session:
    """What every row needs."""

    mode: Mode
    sizes: Sizes
    folder: Path
    board: Board
    receiver: Tool
    generator: Tool
    port: int
    #: What the rows before found, by row.
    found: dict[str, Values] = field(default_factory=dict)
    _folders: int = 0

    def new_folder(self) -> Path:
        """An empty folder."""
        self._folders += 1
        made = self.folder / f"run-{self._folders}"
        made.mkdir()
        return made

    @property
    def installed(self) -> Path:
        """A folder in which a service was started and stopped once; not to be changed."""
        made = self.folder / "installed"
        if not made.exists():
            with running(self.mode, made):
                pass
        return made

    @contextmanager
    def service(
        self, folder: Path | None = None, sync_ms: float = 0.0, workers: int = 1
    ) -> Iterator[Service]:
        """A service in a folder of its own, or in one that was prepared."""
        own = folder or self.copy_of_installed()
        try:
            with running(with_workers(self.mode, workers), own, sync_ms) as service:
                yield service
        finally:
            self.mode.store(own).remove()
            shutil.rmtree(own, ignore_errors=True)

    def copy_of_installed(self) -> Path:
        """A new folder that is as after a first start."""
        made = self.new_folder()
        shutil.copytree(self.installed, made, dirs_exist_ok=True)
        self.mode.store(made).copy_of(self.mode.store(self.installed))
        return made

    def url(self, path: str = "/hook") -> str:
        """A path of the receiver."""
        return f"http://{HOST}:{self.port}{path}"

    def look(self, service: Service) -> Look:
        """Look at a service and at the tools."""
        return look({**service.pids, **self.tool_pids}, self.board, *service.boards)

    @property
    def tool_pids(self) -> Pids:
        """The tools' processes."""
        return {each.name: (each.pid,) for each in (self.generator, self.receiver)}

    async def empty(self) -> None:
        """Forget what came to the receiver."""
        await self.receiver.ask("empty")

    async def received(self, count: int) -> None:
        """Wait until so many requests more than at the start of the run came to the receiver."""
        last, moved_at = -1, time.monotonic()
        while (now := self.board[Slot.RECEIVED]) < count:
            if now != last:
                last, moved_at = now, time.monotonic()
            if time.monotonic() - moved_at > _PATIENCE:
                raise BenchError(f"{count - now} deliveries did not come within {_PATIENCE:.0f} s.")
            await asyncio.sleep(_LOOK_EVERY)

    def route(self, service: Service, batch: int = 1, types: int = 1) -> Mapping[str, Any]:
        """Where the generator is to post, and what."""
        return {"port": service.port, "key": service.key, "batch": batch, "types": types}

    def cpu_values(self, window: Window, pids: Pids, per: Slot) -> dict[str, float]:
        """Microseconds by process, the service's together first; the tools' last.

        Raises:
            BenchError: a tool had no time left: what was measured is the tool.
        """
        tools_own = self.tool_pids
        shares = {f"{name} share": window.share(name) for name in tools_own}
        if max(shares.values()) > _BUSY:
            raise BenchError(f"The generator or the receiver is the bottleneck: {shares}.")
        each = {name: window.micros(name, per) for name in (*pids, *tools_own)}
        together = sum(micros for name, micros in each.items() if name not in tools_own)
        parts = each if len(pids) > 1 else {n: m for n, m in each.items() if n in tools_own}
        return {"service cpu": together, **{f"{n} cpu": m for n, m in parts.items()}, **shares}


@asynccontextmanager
async def opened(mode: Mode, sizes: Sizes, folder: Path) -> AsyncIterator[Session]:
    """A session with its tools."""
    path = folder / "board"
    board = Board.make(path)
    async with (
        tools.started("receiver", str(path)) as receiver,
        tools.started("generator", str(path)) as generator,
    ):
        port = (await receiver.ask("port"))["port"]
        yield Session(mode, sizes, folder, board, receiver, generator, port)


def check_answers(statuses: Mapping[str, int], wanted: str = "202") -> None:
    """Make sure that every request was answered as it should be.

    Raises:
        BenchError: one was not; the figure would not be true.
    """
    others = {status: count for status, count in statuses.items() if status != wanted}
    if others:
        raise BenchError(f"Requests were answered otherwise than {wanted}: {others}.")
