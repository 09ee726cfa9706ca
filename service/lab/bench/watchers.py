"""Thousands of watchers of one operation: does every event reach them all, how soon, at what cost?

    python -m service.lab.bench.watchers --watchers 2000 [--events 20] [--every 0.5]

Starts a service, lets a process of its own open the watchers (Server-Sent Events over raw
sockets), then posts events one by one. Prints a table and, in the last line, the same as JSON; the
exit code is 1 when any event did not reach any watcher. Times are from just before an event is
posted, its commit included, until a watcher has it.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from service.lab.bench.faults import BenchError
from service.lab.bench.figures import Values
from service.lab.bench.hosting import EMBEDDED, Service, running
from service.lab.bench.processes import cpu, environment, memory
from service.lab.bench.session import Session

_OPERATION: Final = "watched"
#: Files that a process has open besides its watchers.
SPARE_FILES: Final = 200
#: A description as long as most are: what is sent is part of the cost.
_MESSAGE: Final = "The report is being rendered; this takes a while. " * 4
#: Of the row: few events, far apart, since it is about memory.
_EVENTS: Final = 4
_EVERY: Final = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    watchers: int
    events: int
    #: Seconds from one event to the next.
    every: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of it."""

    watchers: int
    events: int
    #: (event, watcher) pairs that were reached, and that were not.
    reached: int
    missed: int
    #: Watchers that were turned away.
    refused: int
    #: Events that came twice, or before an earlier one.
    astray: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    connect_seconds: float
    rss_before_mib: float
    rss_with_mib: float
    kib_per_watcher: float
    #: Processor time of the API's process for each time that an event reached a watcher.
    us_per_reach: float

    @property
    def is_whole(self) -> bool:
        """Whether every watcher got every event, once and in order."""
        return not (self.missed or self.refused or self.astray)


async def row(session: Session) -> Values:
    """Many clients follow one operation by Server-Sent Events."""
    plan = Plan(session.sizes.watchers, _EVENTS, _EVERY)
    allow_files(plan.watchers + SPARE_FILES)
    with session.service() as service:
        figures = await run(plan, service)
    if not figures.is_whole:
        raise BenchError(f"Not every event reached every watcher once:\n{table(figures)}")
    return {
        "memory per 1,000": figures.kib_per_watcher * 1000 / 1024,
        "p50": figures.p50_ms,
        "p99": figures.p99_ms,
        "all reached in": figures.max_ms,
        "reach cpu": figures.us_per_reach,
    }


async def run(plan: Plan, service: Service) -> Figures:
    """Open the crowd, post, count."""
    pid = service.api_pid
    async with service.client() as client:
        await warm_up(client)
        before, begun = memory(pid), time.monotonic()
        async with crowd(service, plan) as process:
            connected, during = time.monotonic() - begun, memory(pid)
            used = cpu(pid).total
            posted = await post(client, plan)
            # what the service keeps of what it sent is its watchers' cost as well
            during = max(during, memory(pid))
            said = await line(process)
            used = cpu(pid).total - used
            seen = await _report(process, said)
    late = sorted(
        at - posted[sequence - 1]
        for sequence in range(1, plan.events + 1)
        for at in seen["times"].get(str(sequence), [])
    )
    return Figures(
        watchers=plan.watchers,
        events=plan.events,
        reached=len(late),
        missed=plan.watchers * plan.events - len(late),
        refused=seen["refused"],
        astray=seen["astray"],
        p50_ms=milliseconds(late, 0.5),
        p99_ms=milliseconds(late, 0.99),
        max_ms=milliseconds(late, 1.0),
        connect_seconds=round(connected, 2),
        rss_before_mib=round(before / 1024, 1),
        rss_with_mib=round(during / 1024, 1),
        kib_per_watcher=round((during - before) / plan.watchers, 1),
        us_per_reach=round(used * 1_000_000 / max(len(late), 1), 1),
    )


async def _report(process: asyncio.subprocess.Process, said: str) -> dict[str, Any]:
    """What the watchers saw.

    Raises:
        BenchError: their process did not say all of it.
    """
    code = await process.wait()
    try:
        seen: dict[str, Any] = json.loads(said)
    except ValueError as error:
        raise BenchError(
            f"The watchers' process ended with {code} amid its report, of {len(said)} characters."
        ) from error
    return seen


def allow_files(count: int) -> None:
    """Let this process and those it starts have so many files open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def warm_up(client: httpx.AsyncClient) -> None:
    """What every service has done once, so that it is not counted as a watcher's cost."""
    for kind in ("STARTED", "COMPLETED"):
        await _event(client, "warm", {"type": kind})
    for name in ("stream", "events"):
        (await client.get(f"/v1/operations/warm/{name}")).raise_for_status()
    described = {"type": "watched", "operationId": _OPERATION}
    (await client.post("/v1/operations", json=described)).raise_for_status()


async def _event(client: httpx.AsyncClient, operation: str, body: dict[str, object]) -> None:
    (await client.post(f"/v1/operations/{operation}/events", json=body)).raise_for_status()


@asynccontextmanager
async def crowd(service: Service, plan: Plan) -> AsyncIterator[asyncio.subprocess.Process]:
    """The watchers' process, as soon as all of them watch."""
    options = {
        "port": service.port,
        "path": f"/v1/operations/{_OPERATION}/stream",
        "key": service.key,
        "watchers": plan.watchers,
        "events": plan.events,
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", f"{__package__}.watchers_crowd", *arguments),
        env=environment({}),
        stdout=subprocess.PIPE,
        limit=64 * 1024 * 1024,
    )
    try:
        if await line(process) != "ready":
            raise BenchError("The watchers could not be opened.")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line(process: asyncio.subprocess.Process) -> str:
    """The next line that it prints."""
    if process.stdout is None:
        raise BenchError("The watchers cannot be heard.")
    return (await process.stdout.readline()).decode().rstrip("\n")


async def post(client: httpx.AsyncClient, plan: Plan) -> list[float]:
    """Post all events; when each was about to be."""
    posted = []
    for number in range(plan.events):
        at = time.monotonic()
        posted.append(at)
        update = {"type": "STATUS_UPDATE", "progress": number % 100, "message": _MESSAGE}
        await _event(client, _OPERATION, update)
        await asyncio.sleep(max(plan.every - (time.monotonic() - at), 0))
    return posted


def milliseconds(late: list[float], share: float) -> float:
    """How late the given share was at most."""
    return round(late[max(round(len(late) * share) - 1, 0)] * 1000, 1) if late else 0.0


def table(figures: Figures) -> str:
    """The figures beside their names."""
    rows = [(name.replace("_", " "), str(value)) for name, value in asdict(figures).items()]
    wide = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{wide}}  {value:>10}" for name, value in rows)


def main() -> int:
    """Run, print, and say by the exit code whether everybody got everything."""
    parser = argparse.ArgumentParser(description="Thousands of watchers of one operation.")
    parser.add_argument("--watchers", type=int, default=2000)
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--every", type=float, default=0.5, help="seconds between two events")
    options = parser.parse_args()
    allow_files(options.watchers + SPARE_FILES)
    with tempfile.TemporaryDirectory() as folder, running(EMBEDDED, Path(folder)) as service:
        figures = asyncio.run(run(Plan(options.watchers, options.events, options.every), service))
    sys.stdout.write(f"{table(figures)}\n{json.dumps(asdict(figures))}\n")
    return 0 if figures.is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
