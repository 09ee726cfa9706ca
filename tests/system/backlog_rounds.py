"""One subscription that hangs with a backlog beside healthy ones: does it delay them?

    python -m tests.system.backlog_rounds --backlog 20000 [--healthy 99] [--rounds 8] [--seed 7]

There are two services alike, but for one that hangs: in each round events for the healthy of the
one without it are posted at a fixed rate, then for those of the other. Prints a table and, in the
last line, the same as JSON; the exit code is 1 when a bound is broken: healthy p99 at least twice
that of the service without, in the median round. It is 1 as well when nothing was sent to the one
that hangs, or its backlog was not there to the end: then nothing was shown.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from tests.support.blackbox import Blackbox
from tests.support.certificates import certificate
from tests.support.server import LOCAL, Server
from tests.support.talking import talking
from tests.system.offered_load import (
    DATA,
    Holdings,
    Pairs,
    forget_peak,
    holdings,
    load_average,
    metric,
    offered,
    pair_grid,
    quiet_moment,
)

#: Times the p99 of the service without.
MOST_DELAY = 2.0
#: Events in one request of those that make the backlog.
BATCH = 500
#: The first never answers and fails; the others have said 200 by then, and so may have more and
#: more in flight.
HANGS = ("never reads", "hangs after headers", "body drip")
HANGING = HANGS[0]


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. Times are seconds."""

    folder: Path
    backlog: int = 20_000
    healthy: int = 99
    rounds: int = 8
    seconds: float = 10.0
    rate: float = 100.0
    timeout: float = 5.0
    kind: str = HANGING
    breaker: bool = False
    seed: int = 7
    #: For a quiet moment of the machine before each round, at most.
    wait: float = 0.0


@dataclass(slots=True)
class Result:
    """What came of a run."""

    plan: Plan
    #: Windows of the service without the one that hangs, and of the other.
    pairs: Pairs
    #: Of the other, without and with its backlog.
    before: Holdings
    after: Holdings
    #: Deliveries that were open at the end.
    left: int
    #: To the one that hangs.
    connections: int
    load_average: list[float]
    faults: list[str] = field(default_factory=list)


async def run(plan: Plan) -> Result:
    """Run all windows and judge what was seen."""
    expired = certificate(plan.folder, expired=True)
    settings = {**LOCAL, "RINGBACK_BREAKER": "on" if plan.breaker else "off"}
    hostile = ("tests.system.hostile_receivers", "--certificate", str(expired))
    with (
        Server(plan.folder / "without", settings) as without,
        Server(plan.folder / "beside", settings) as beside,
    ):
        async with (
            talking(*hostile) as receivers,
            offered(without, plan.healthy, plan.rate, plan.seed) as calm,
            offered(beside, plan.healthy, plan.rate, plan.seed) as load,
            beside.client() as client,
        ):
            for each in (calm, load):
                await each.window(plan.seconds / 2)  # connections and caches are warm from here on
            before = holdings(beside.pid)
            forget_peak(beside.pid)
            await pile_up(Blackbox(client), plan, receivers.first[plan.kind])
            pairs = Pairs([], [])
            for _ in range(plan.rounds):
                await quiet_moment(plan.wait)
                pairs.calm.append(await calm.window(plan.seconds))
                pairs.beside.append(await load.window(plan.seconds))
            left = await metric(Blackbox(client), "deliveries_open")
            connections = (await receivers.ask())[plan.kind][0]
            after = holdings(beside.pid)
    result = Result(plan, pairs, before, after, left, connections, load_average())
    judge(result)
    return result


async def pile_up(api: Blackbox, plan: Plan, port: int) -> None:
    """A subscription that hangs, and its backlog."""
    made = await api.subscribe(
        f"http://127.0.0.1:{port}/", eventTypes=["backlog"], timeoutSeconds=plan.timeout
    )
    await api.post(f"/v1/subscriptions/{made['id']}/pause", status=200)
    for start in range(0, plan.backlog, BATCH):
        count = min(BATCH, plan.backlog - start)
        event = {"operationId": f"backlog-{start}", "type": "backlog", "data": DATA}
        await api.post("/v1/events", [event] * count)
    await api.post(f"/v1/subscriptions/{made['id']}/resume", status=200)


def judge(result: Result) -> None:
    """Note which bounds were broken."""
    faults = result.faults
    if result.pairs.ratio >= MOST_DELAY:
        faults.append(f"healthy p99 was {result.pairs.ratio} x the one without")
    missing = sum(window.missing for window in (*result.pairs.calm, *result.pairs.beside))
    if missing:
        faults.append(f"{missing} healthy deliveries did not come")
    if not result.connections:
        faults.append("nothing was sent to the one that hangs")
    if result.left < result.plan.backlog / 2:
        faults.append(f"only {result.left} of the backlog were left")


def table(result: Result) -> str:
    """All of it for people."""
    before, after = result.before, result.after
    lines = [
        pair_grid(result.pairs, ("without", "beside")),
        (f"healthy p99, beside / without: {result.pairs.ratio}, by rounds {result.pairs.ratios}"),
        f"connections to the one that hangs: {result.connections}; left: {result.left}",
        f"memory MiB: {before.memory} before, {after.peak} at most, {after.memory} after",
        f"load average: {result.load_average}",
        *(f"BROKEN: {fault}" for fault in result.faults),
    ]
    return "\n".join(lines)


def facts(result: Result) -> dict[str, Any]:
    """All of it for machines."""
    plan = {**asdict(result.plan), "folder": ""}
    return {**asdict(result), "plan": plan, "ratio": result.pairs.ratio}


def main() -> int:
    """Run, print, and say by the exit code whether all bounds were kept."""
    parser = argparse.ArgumentParser(description="One that hangs with a backlog, beside others.")
    parser.add_argument("--backlog", type=int, default=20_000)
    parser.add_argument("--healthy", type=int, default=99)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each window")
    parser.add_argument("--rate", type=float, default=100.0, help="healthy events per second")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds of an attempt")
    parser.add_argument("--kind", default=HANGING, choices=HANGS, help="how it hangs")
    parser.add_argument("--breaker", choices=("on", "off"), default="off")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--wait", type=float, default=0.0, help="at most, for a quiet moment")
    options = vars(parser.parse_args())
    options["breaker"] = options["breaker"] == "on"
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        result = runner.run(run(Plan(Path(folder), **options)))
    sys.stdout.write(f"{table(result)}\n{json.dumps(facts(result))}\n")
    return 1 if result.faults else 0


if __name__ == "__main__":
    sys.exit(main())
