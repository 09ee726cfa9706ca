"""Kill -9 at random instants under load, and count: nothing accepted is lost.

    python -m tests.system.kill_rounds --rounds 50 --seed 7 [--json] [--keep FOLDER]

Producers post over several connections while the service is killed and started again, round after
round. Then it may finish what is left, and everything it has is held against what was answered and
what was received. Prints a table; the exit code is 1 when any promise was broken.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.support.blackbox import Blackbox
from tests.support.server import LOCAL, ROOT, Server, environment
from tests.system.kill_check import (
    OPEN,
    Evidence,
    Figures,
    Subscribed,
    collect,
    integrity,
    judge,
    read_log,
)
from tests.system.kill_producers import Ledger, Producer

PRODUCERS = 8
#: Seconds from readiness to the kill.
LIFE = (0.05, 1.5)
#: In every so many rounds it is killed once more on its way up, within so many seconds.
STILLBORN_EVERY = 3
STILLBORN = (0.0, 0.8)
#: Seconds for everything to be delivered or dead once nobody posts or kills any more.
PATIENCE = 120.0
#: In every so many rounds all dead letters are replayed, so that kills meet replays as well.
REPLAY_EVERY = 4
SUBSCRIPTIONS: dict[str, dict[str, Any]] = {
    "/ok": {"eventTypes": ["*"], "retrySchedule": [0, 0.2, 0.2, 0.2, 0.2]},
    "/flaky": {
        "eventTypes": ["payment.*", "COMPLETED", "FAILED"],
        "retrySchedule": [0, 0.3, 0.6],
    },
    "/slow": {"eventTypes": ["COMPLETED", "FAILED"], "retrySchedule": [0, 0.5, 0.5, 0.5]},
}


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    rounds: int
    seed: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it."""

    figures: Figures
    faults: list[str]


async def run(plan: Plan) -> Result:
    """Run all rounds and judge what is left."""
    with receivers(plan) as port, Server(plan.folder / "service", LOCAL) as server:
        ledger = Ledger(plan.folder / "accepted.jsonl")
        subscribed = await subscribe(server, port)
        figures = Figures(plan.seed, plan.rounds)
        await kill_again_and_again(plan, server, ledger, figures)
        async with server.client() as client:
            api = Blackbox(client)
            deliveries = await drained(api)
            evidence = await collect(api, ledger, subscribed, deliveries)
            evidence.received = read_log(log_of(plan))
            evidence.fault("replays left running", await some_replays(api))
        judge(evidence, figures)
        figures.max_restart_seconds = round(max(server.start_seconds[1:], default=0.0), 2)
        check_end(evidence, server)
    return Result(figures, evidence.faults)


def log_of(plan: Plan) -> Path:
    """Where the receivers write."""
    return plan.folder / "received.jsonl"


@contextmanager
def receivers(plan: Plan) -> Iterator[int]:
    """The receivers' process; its port."""
    command = [sys.executable, "-m", "tests.system.kill_receivers"]
    options = ["--log", str(log_of(plan)), "--seed", str(plan.seed)]
    with subprocess.Popen(
        [*command, *options], cwd=ROOT, env=environment({}), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield int(process.stdout.readline() if process.stdout else "")
        finally:
            process.kill()


async def subscribe(server: Server, port: int) -> dict[str, Subscribed]:
    """The subscriptions by their paths."""
    found = {}
    async with server.client() as client:
        api = Blackbox(client)
        for path, members in SUBSCRIPTIONS.items():
            made = await api.subscribe(f"http://127.0.0.1:{port}{path}", **members)
            found[path] = Subscribed(made["id"], made["secret"], tuple(members["eventTypes"]))
    return found


async def kill_again_and_again(
    plan: Plan, server: Server, ledger: Ledger, figures: Figures
) -> None:
    """The rounds, with producers at work all the time."""
    dice = random.Random(plan.seed)  # noqa: S311  to be repeated, not to be safe
    up = asyncio.Event()
    up.set()
    async with producing(plan, server, ledger, up):
        for number in range(plan.rounds):
            if number % REPLAY_EVERY == REPLAY_EVERY - 1:
                await replay(server)
            await asyncio.sleep(dice.uniform(*LIFE))  # the instant is the point
            up.clear()
            server.kill()
            figures.kills += 1
            if number % STILLBORN_EVERY == STILLBORN_EVERY - 1:
                server.spawn()
                await asyncio.sleep(dice.uniform(*STILLBORN))
                server.kill()
                figures.kills += 1
            await asyncio.to_thread(server.start)
            up.set()


@asynccontextmanager
async def producing(
    plan: Plan, server: Server, ledger: Ledger, up: asyncio.Event
) -> AsyncIterator[None]:
    """Producers at work; at the end each finishes what it is at."""
    stop = asyncio.Event()
    clients = [server.client() for _ in range(PRODUCERS)]
    tasks = [
        asyncio.create_task(Producer(number, plan.seed, client, ledger, up).run(stop))
        for number, client in enumerate(clients)
    ]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)
        for client in clients:
            await client.aclose()


async def replay(server: Server) -> None:
    """Replay all dead letters there are."""
    async with server.client() as client:
        answer = await client.post("/v1/dead-letters/replay", json={"ratePerSecond": 200})
        answer.raise_for_status()


async def drained(api: Blackbox) -> list[dict[str, Any]]:
    """All deliveries, as soon as every one was seen at its end, or when patience ends.

    Without replays an end is for good; a look at one status after the other would overlook what
    goes from being sent to waiting in between.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        quiet = not await some_deliveries(api, "pending") and not await some_replays(api)
        if quiet or time.monotonic() > deadline:
            found = await api.all("/v1/deliveries")
            if not any(each["status"] in OPEN for each in found) or time.monotonic() > deadline:
                return found
        await asyncio.sleep(0.1)


async def some_replays(api: Blackbox) -> list[str]:
    """The replays that are still at work."""
    return [
        each["operationId"]
        for status in ("PENDING", "PROCESSING")
        for each in await api.all("/v1/operations", status=status, type="ringback.replay")
    ]


async def some_deliveries(api: Blackbox, status: str) -> list[Any]:
    """A delivery with the status, if there is any."""
    found: list[Any] = (await api.get("/v1/deliveries", status=status, limit=1))["data"]
    return found


def check_end(evidence: Evidence, server: Server) -> None:
    """A clean stop, a sound file, and nothing in the service's words that is not a greeting."""
    code = server.stop()
    evidence.fault("exit codes of the stop", [code] if code else [])
    evidence.fault("faults in the file", integrity(server.database))
    greeting = ("Ringback ", "Admin key", "It is kept in", "The admin key is in")
    said = [line for line in server.output.splitlines() if not line.startswith(greeting)]
    evidence.fault("lines of complaint", said)


def table(figures: Figures) -> str:
    """The figures under their names."""
    cells = {name.replace("_", " "): str(value) for name, value in asdict(figures).items()}
    widths = [max(len(name), len(value)) for name, value in cells.items()]
    rows = (cells, cells.values())
    return "\n".join("  ".join(map(str.rjust, row, widths)) for row in rows)


def main() -> int:
    """Run, print, and say by the exit code whether all promises held."""
    parser = argparse.ArgumentParser(description="Kill the service under load, then count.")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--keep", type=Path, help="leave the database and all logs there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        result = asyncio.run(run(Plan(options.rounds, options.seed, folder)))
    if options.json:
        figures = {**asdict(result.figures), "violations": result.faults}
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        lines = [table(result.figures), *(f"VIOLATION: {fault}" for fault in result.faults)]
        sys.stdout.write("\n".join(lines) + "\n")
    return 1 if result.faults else 0


if __name__ == "__main__":
    sys.exit(main())
