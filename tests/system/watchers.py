"""Thousands of watchers of one operation: does every event reach them all, how soon, at what cost?

    python -m tests.system.watchers --watchers 2000 [--events 20] [--every 0.5]

Starts a service, lets a process of its own open the watchers (Server-Sent Events over raw
sockets), then posts events one by one. Prints a table and, in the last line, the same as JSON; the
exit code is 1 when any event did not reach any watcher. Times are from just before an event is
posted, its commit included, until a watcher has it.
"""

import argparse
import asyncio
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support.blackbox import Blackbox
from tests.support.server import LOCAL, ROOT, Server, environment

OPERATION = "watched"
#: Files that a process has open besides its watchers.
SPARE = 200
#: A description as long as most are: what is sent is part of the cost.
MESSAGE = "The report is being rendered; this takes a while. " * 4


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    watchers: int
    events: int
    #: Seconds from one event to the next.
    every: float
    folder: Path


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


async def run(plan: Plan) -> Figures:
    """Start a service, open the crowd, post, count."""
    allow_files(plan.watchers + SPARE)
    with Server(plan.folder, LOCAL) as server:
        async with server.client() as client:
            api = Blackbox(client)
            await warm_up(api)
            before, begun = memory(server.pid), time.monotonic()
            async with crowd(server, plan) as process:
                connected, during = time.monotonic() - begun, memory(server.pid)
                posted = await post(api, plan)
                # what the service keeps of what it sent is its watchers' cost as well
                during = max(during, memory(server.pid))
                seen = json.loads(await line(process))
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
    )


def allow_files(count: int) -> None:
    """Let this process and those it starts have so many files open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def warm_up(api: Blackbox) -> None:
    """What every service has done once, so that it is not counted as a watcher's cost."""
    await api.event("warm", "STARTED")
    await api.event("warm", "COMPLETED")
    for name in ("stream", "events"):
        answer = await api.http.get(f"/v1/operations/warm/{name}")
        assert answer.status_code == 200
    await api.post("/v1/operations", {"type": "watched", "operationId": OPERATION})


@asynccontextmanager
async def crowd(server: Server, plan: Plan) -> AsyncIterator[asyncio.subprocess.Process]:
    """The watchers' process, as soon as all of them watch."""
    options = {
        "port": server.port,
        "path": f"/v1/operations/{OPERATION}/stream",
        "key": server.admin_key,
        "watchers": plan.watchers,
        "events": plan.events,
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.system.watchers_crowd", *arguments),
        cwd=ROOT,
        env=environment({}),
        stdout=subprocess.PIPE,
        limit=64 * 1024 * 1024,
    )
    try:
        assert await line(process) == "ready"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line(process: asyncio.subprocess.Process) -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().rstrip("\n")


async def post(api: Blackbox, plan: Plan) -> list[float]:
    """Post all events; when each was about to be."""
    posted = []
    for number in range(plan.events):
        at = time.monotonic()
        posted.append(at)
        await api.event(OPERATION, "STATUS_UPDATE", progress=number % 100, message=MESSAGE)
        await asyncio.sleep(max(plan.every - (time.monotonic() - at), 0))
    return posted


def memory(pid: int) -> int:
    """KiB of memory that a process has resident."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


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
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(options.watchers, options.events, options.every, Path(folder))
        figures = asyncio.run(run(plan))
    sys.stdout.write(f"{table(figures)}\n{json.dumps(asdict(figures))}\n")
    return 1 if figures.missed or figures.refused or figures.astray else 0


if __name__ == "__main__":
    sys.exit(main())
