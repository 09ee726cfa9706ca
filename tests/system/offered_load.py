"""Healthy receivers under an offered rate: how late each event reaches its receiver.

The rate is offered whatever becomes of it (an open loop): a service that falls behind is not spared
the events that come meanwhile. Times are from just before an event is posted, its commit included,
until its receiver has read all of it. Generator, service, healthy and hostile receivers are
processes of their own.
"""

import asyncio
import itertools
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
#: The share of all processors from which on it matters that others use it.
BUSY = 0.15
_TICKS = os.sysconf("SC_CLK_TCK")

Event = dict[str, str]


@dataclass(frozen=True, slots=True)
class Window:
    """What was measured for some seconds. Times are ms."""

    posted: int
    missing: int
    p50: float
    p99: float
    worst: float
    #: Processor time of the service, for each event of these.
    cpu: float
    #: Percent of the time in which the service's event loop had work and got no processor.
    starved: float


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
        """The median over all pairs."""
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
        self._turn = itertools.cycle(range(len(receivers.first)))

    async def subscribe(self) -> None:
        """A subscription for each receiver."""
        for lane, port in enumerate(self._receivers.first):
            wanted = {"url": f"http://127.0.0.1:{port}/", "eventTypes": [f"healthy.{lane}"]}
            async with self._http.post("/v1/subscriptions", json=wanted) as answer:
                assert answer.status == 201, await answer.text()

    async def window(self, seconds: float) -> Window:
        """Post for so many seconds, then wait until all has arrived."""
        before, count = Spent.by(self._server.pid), round(self._rate * seconds)
        posted = await self.post([self._event() for _ in range(count)], self._rate)
        arrived = await self._arrivals(posted)
        spent = Spent.by(self._server.pid)
        late = sorted((at - posted[name]) * 1000 for name, at in arrived.items())
        return Window(
            posted=count,
            missing=count - len(late),
            p50=share(late, 0.5),
            p99=share(late, 0.99),
            worst=share(late, 1.0),
            cpu=round((spent.cpu - before.cpu) / count * 1000, 2),
            starved=round((spent.starved - before.starved) / (spent.at - before.at) * 100, 1),
        )

    async def post(self, events: Sequence[Event], rate: float) -> dict[str, float]:
        """Post these at ``rate`` a second, each by itself; when each was, by its id."""
        posted = dict[str, float]()
        begun = time.monotonic()
        async with asyncio.TaskGroup() as posts:
            for number, event in enumerate(events):
                at = begun + (number + self._dice.random()) / rate
                await asyncio.sleep(max(at - time.monotonic(), 0))
                posts.create_task(self._post(event, posted))
        return posted

    async def _post(self, event: Event, posted: dict[str, float]) -> None:
        at = time.monotonic()
        async with self._http.post("/v1/events", json=event) as answer:
            assert answer.status == 202, await answer.text()
            posted[(await answer.json())["data"][0]["id"]] = at

    def _event(self) -> Event:
        """An event for the next of the subscriptions in turn."""
        lane = next(self._turn)
        return {"operationId": f"healthy-{lane}", "type": f"healthy.{lane}", "data": DATA}

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
        load = Load(server, http, receivers, rate, seed)
        await load.subscribe()
        yield load


async def metric(api: Blackbox, name: str) -> int:
    """One of the service's own numbers."""
    text = (await api.http.get("/metrics")).text
    (found,) = re.findall(rf"^ringback_{name} (\S+)$", text, re.MULTILINE)
    return int(float(found))


async def drained(api: Blackbox, name: str, patience: float) -> int:
    """The number as soon as it is 0, or when patience (s) ends."""
    deadline = time.monotonic() + patience
    while True:
        left = await metric(api, name)
        if not left or time.monotonic() > deadline:
            return left
        await asyncio.sleep(0.25)


def share(late: Sequence[float], part: float) -> float:
    """How late the given share of sorted times was at most."""
    return round(late[max(math.ceil(len(late) * part) - 1, 0)], 2) if late else math.nan


@dataclass(frozen=True, slots=True)
class Spent:
    """What a process has spent by a moment, in seconds."""

    at: float
    cpu: float
    #: Its main thread, waiting for a processor.
    starved: float

    @classmethod
    def by(cls, pid: int) -> "Spent":
        """What the process has spent by now."""
        process = Path(f"/proc/{pid}")
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        waited = int((process / "schedstat").read_text().split()[1]) / 1e9
        return cls(time.monotonic(), (int(fields[11]) + int(fields[12])) / _TICKS, waited)


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


async def quiet_moment(patience: float) -> None:
    """Wait, ``patience`` seconds at most, until others leave most of the processors alone."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        before = _ticks()
        await asyncio.sleep(1.0)
        busy, whole = (now - then for now, then in zip(_ticks(), before, strict=True))
        if busy < BUSY * whole:
            return


def _ticks() -> tuple[int, int]:
    """Of all processors: in use, and in all."""
    user, nice, system, idle, waiting, *rest = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    busy = user + nice + system + sum(rest)
    return busy, busy + idle + waiting


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


def pair_grid(pairs: Pairs, names: tuple[str, str]) -> str:
    """Pairs of windows as text."""
    head = ("window", "posted", "p50 ms", "p99 ms", "max ms", "service CPU ms", "starved %")
    rows = [
        (f"{name} {number}", w.posted, w.p50, w.p99, w.worst, w.cpu, w.starved)
        for number, pair in enumerate(zip(pairs.calm, pairs.beside, strict=True), start=1)
        for name, w in zip(names, pair, strict=True)
    ]
    return grid([head, *rows])


def _mib(kib: str) -> float:
    return round(int(kib) / 1024, 1)
