"""Healthy receivers under an offered rate: how late each event reaches its receiver.

The rate is offered whatever becomes of it (an open loop): a service that falls behind is not spared
the events that come meanwhile. Times are from just before an event is posted, its commit included,
until its receiver has read all of it. Generator, service, healthy and hostile receivers are
processes of their own.
"""

import asyncio
import math
import os
import random
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from tests.support.blackbox import Blackbox
from tests.support.server import Server
from tests.support.talking import Talker, talking

#: About 1 KB in all.
DATA = "the quick brown fox " * 40
#: Seconds for what was posted to arrive; then it is missing.
PATIENCE = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Window:
    """What was measured for some seconds. Times are ms."""

    posted: int
    missing: int
    p50: float
    p99: float
    worst: float
    #: Of the service, for each event of these.
    cpu: float


@dataclass(frozen=True, slots=True)
class Pairs:
    """Windows without and with a disturbance, taken in turns."""

    calm: list[Window]
    beside: list[Window]

    @property
    def ratios(self) -> list[float]:
        """By what each window's p99 was larger beside the disturbance."""
        pairs = zip(self.calm, self.beside, strict=True)
        return [round(beside.p99 / calm.p99, 2) for calm, beside in pairs]

    @property
    def ratio(self) -> float:
        """The median of them: what disturbs the machine in one window is no finding."""
        return round(median(self.ratios), 2)


class Load:
    """Healthy subscriptions, and events for them."""

    def __init__(
        self, server: Server, http: aiohttp.ClientSession, receivers: Talker, rate: float, seed: int
    ) -> None:
        self._server = server
        self._http = http
        self._receivers = receivers
        self._rate = rate
        self._dice = random.Random(seed)  # noqa: S311  to be repeated, not to be safe
        self._lanes: int = len(receivers.first)
        self._count = 0

    async def subscribe(self, api: Blackbox) -> None:
        """A subscription for each receiver."""
        for lane, port in enumerate(self._receivers.first):
            await api.subscribe(f"http://127.0.0.1:{port}/", eventTypes=[f"healthy.{lane}"])

    async def window(self, seconds: float) -> Window:
        """Post for so many seconds, then wait until all has arrived."""
        cpu, posted = cpu_seconds(self._server.pid), dict[str, float]()
        begun, count = time.monotonic(), round(self._rate * seconds)
        posts = []
        for number in range(count):
            at = begun + (number + self._dice.random()) / self._rate
            await asyncio.sleep(max(at - time.monotonic(), 0))
            posts.append(asyncio.create_task(self._post(posted)))
        await asyncio.gather(*posts)
        arrived = await self._arrivals(posted)
        late = sorted((at - posted[name]) * 1000 for name, at in arrived.items())
        return Window(
            posted=count,
            missing=count - len(late),
            p50=share(late, 0.5),
            p99=share(late, 0.99),
            worst=share(late, 1.0),
            cpu=round((cpu_seconds(self._server.pid) - cpu) / count * 1000, 2),
        )

    async def _post(self, posted: dict[str, float]) -> None:
        number, self._count = self._count, self._count + 1
        lane, name = number % self._lanes, f"healthy-{number}"
        event = {
            "id": name,
            "operationId": f"healthy-{lane}",
            "type": f"healthy.{lane}",
            "data": DATA,
        }
        posted[name] = time.monotonic()
        async with self._http.post("/v1/events", json=event) as answer:
            assert answer.status == 202, await answer.text()

    async def _arrivals(self, posted: dict[str, float]) -> dict[str, float]:
        arrived: dict[str, float] = {}
        deadline = time.monotonic() + PATIENCE
        while len(arrived) < len(posted) and time.monotonic() < deadline:
            found = await self._receivers.ask()
            arrived |= {name: at for name, at in found.items() if name in posted}
            await asyncio.sleep(0.05)
        return arrived


@asynccontextmanager
async def offered(server: Server, lanes: int, rate: float, seed: int) -> AsyncIterator[Load]:
    """A load for a service, with its receivers and a client of its own."""
    key = {"authorization": f"Bearer {server.admin_key}"}
    async with (
        talking("tests.system.healthy_receivers", "--count", str(lanes)) as receivers,
        aiohttp.ClientSession(server.url, headers=key) as http,
    ):
        yield Load(server, http, receivers, rate, seed)


def share(late: Sequence[float], part: float) -> float:
    """How late the given share of sorted times was at most."""
    return round(late[max(math.ceil(len(late) * part) - 1, 0)], 2) if late else math.nan


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a process holds: MiB of memory, and what it held at most; open files."""

    memory: float
    peak: float
    files: int


def holdings(pid: int) -> Holdings:
    """What a process holds now, and at most since its peak was forgotten."""
    process = Path(f"/proc/{pid}")
    sizes = dict(
        re.findall(r"^(Vm\w+):\s+(\d+) kB", (process / "status").read_text(), re.MULTILINE)
    )
    files = len(list((process / "fd").iterdir()))
    return Holdings(_mib(sizes["VmRSS"]), _mib(sizes["VmHWM"]), files)


def forget_peak(pid: int) -> None:
    """Let the peak of a process's memory count from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def load_average() -> list[float]:
    """How busy the machine was in the last 1, 5, 15 minutes."""
    return [round(each, 2) for each in os.getloadavg()]


def grid(rows: Sequence[Sequence[Any]]) -> str:
    """Rows of cells as text, the first column to the left."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells
    )


def window_row(name: str, window: Window) -> list[Any]:
    """A window in a table."""
    return [name, window.posted, window.p50, window.p99, window.worst, window.cpu]


WINDOW_HEAD = ("window", "posted", "p50 ms", "p99 ms", "max ms", "service CPU ms")


def _mib(kib: str) -> float:
    return round(int(kib) / 1024, 1)
