"""One subscription that hangs with a backlog beside healthy ones: does it delay them?

    python -m tests.system.backlog_rounds --backlog 20000 [--healthy 99] [--rounds 4] [--seed 7]

In each round events for the healthy are posted at a fixed rate, first while the one that hangs is
paused, then while it is sent to. The windows before there is any backlog say what it costs just to
have it. Prints a table and, in the last line, the same as JSON; the exit code is 1 when a bound is
broken: healthy p99 at least twice that without any backlog, or twice that of the same round's
pause (medians over the rounds); or when it did not hang, or its backlog was not there to the end.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from tests.support.blackbox import Blackbox
from tests.support.certificates import certificate
from tests.support.server import LOCAL, Server
from tests.support.talking import talking
from tests.system.offered_load import (
    DATA,
    WINDOW_HEAD,
    Holdings,
    Load,
    Pairs,
    Window,
    drained,
    forget_peak,
    grid,
    holdings,
    load_average,
    metric,
    offered,
    window_row,
)

#: Times the p99 without the backlog.
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
    rounds: int = 4
    seconds: float = 15.0
    rate: float = 100.0
    timeout: float = 5.0
    kind: str = HANGING
    breaker: bool = False
    seed: int = 7


@dataclass(slots=True)
class Result:
    """What came of a run."""

    plan: Plan
    #: Windows before there was a backlog.
    without: list[Window]
    #: Windows with it: paused, and sent to.
    pairs: Pairs
    before: Holdings
    after: Holdings
    #: Deliveries that were open at the end.
    left: int
    load_average: list[float]
    #: To the one that hangs.
    connections: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """How much larger p99 was than without a backlog."""
        with_it, without = (median(w.p99 for w in ws) for ws in (self.pairs.beside, self.without))
        return round(with_it / without, 2)


async def run(plan: Plan) -> Result:
    """Run all windows and judge what was seen."""
    expired = certificate(plan.folder, expired=True)
    breaker = "on" if plan.breaker else "off"
    server = Server(plan.folder / "service", {**LOCAL, "RINGBACK_BREAKER": breaker})
    hostile = ("tests.system.hostile_receivers", "--certificate", str(expired))
    with server:
        async with (
            talking(*hostile) as receivers,
            offered(server, plan.healthy, plan.rate, plan.seed) as load,
            server.client() as client,
        ):
            api = Blackbox(client)
            result = await windows(plan, server, api, load, receivers.first[plan.kind])
            result.connections = (await receivers.ask())[plan.kind][0]
    judge(result)
    return result


async def windows(plan: Plan, server: Server, api: Blackbox, load: Load, port: int) -> Result:
    """The windows, and what was measured in them."""
    await load.subscribe(api)
    await load.window(plan.seconds / 2)  # connections and caches are warm from here on
    before = holdings(server.pid)
    forget_peak(server.pid)
    without = [await load.window(plan.seconds) for _ in range(plan.rounds)]
    path = await pile_up(api, plan, port)
    pairs = Pairs([], [])
    for _ in range(plan.rounds):
        pairs.calm.append(await load.window(plan.seconds))
        await api.post(f"{path}/resume", status=200)
        pairs.beside.append(await load.window(plan.seconds))
        await api.post(f"{path}/pause", status=200)
        await drained(api, "sends_in_flight", 2 * plan.timeout)
    left = await metric(api, "deliveries_open")
    after = holdings(server.pid)
    return Result(plan, without, pairs, before, after, left, load_average())


async def pile_up(api: Blackbox, plan: Plan, port: int) -> str:
    """A paused subscription and its backlog; where it is to be found."""
    made = await api.subscribe(
        f"http://127.0.0.1:{port}/", eventTypes=["backlog"], timeoutSeconds=plan.timeout
    )
    path = f"/v1/subscriptions/{made['id']}"
    await api.post(f"{path}/pause", status=200)
    for start in range(0, plan.backlog, BATCH):
        count = min(BATCH, plan.backlog - start)
        event = {"operationId": f"backlog-{start}", "type": "backlog", "data": DATA}
        await api.post("/v1/events", [event] * count)
    return path


def judge(result: Result) -> None:
    """Note which bounds were broken."""
    faults = result.faults
    if result.ratio >= MOST_DELAY:
        faults.append(f"healthy p99 was {result.ratio} x the one without a backlog")
    if result.pairs.ratio >= MOST_DELAY:
        faults.append(f"healthy p99 was {result.pairs.ratio} x the one of the pause")
    measured = (*result.without, *result.pairs.calm, *result.pairs.beside)
    missing = sum(window.missing for window in measured)
    if missing:
        faults.append(f"{missing} healthy deliveries did not come")
    if not result.connections:
        faults.append("nothing was sent to the one that hangs")
    if result.left < result.plan.backlog / 2:
        faults.append(f"only {result.left} of the backlog were left")


def table(result: Result) -> str:
    """All of it for people."""
    rows = [window_row(f"no backlog {n}", w) for n, w in enumerate(result.without, start=1)]
    pairs = zip(result.pairs.calm, result.pairs.beside, strict=True)
    for number, (paused, beside) in enumerate(pairs, start=1):
        rows.append(window_row(f"paused {number}", paused))
        rows.append(window_row(f"hanging {number}", beside))
    before, after = result.before, result.after
    lines = [
        grid([WINDOW_HEAD, *rows]),
        f"healthy p99, hanging / no backlog: {result.ratio}",
        f"healthy p99, hanging / paused: {result.pairs.ratio} (rounds: {result.pairs.ratios})",
        f"connections to the one that hangs: {result.connections}; left: {result.left}",
        f"memory MiB: {before.memory} before, {after.peak} at most, {after.memory} after",
        f"load average: {result.load_average}",
        *(f"BROKEN: {fault}" for fault in result.faults),
    ]
    return "\n".join(lines)


def facts(result: Result) -> dict[str, Any]:
    """All of it for machines."""
    plan = {**asdict(result.plan), "folder": ""}
    ratios = {"ratio": result.ratio, "pairs_ratio": result.pairs.ratio}
    return {**asdict(result), "plan": plan, **ratios}


def main() -> int:
    """Run, print, and say by the exit code whether all bounds were kept."""
    parser = argparse.ArgumentParser(description="One that hangs with a backlog, beside others.")
    parser.add_argument("--backlog", type=int, default=20_000)
    parser.add_argument("--healthy", type=int, default=99)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each window")
    parser.add_argument("--rate", type=float, default=100.0, help="healthy events per second")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds of an attempt")
    parser.add_argument("--kind", default=HANGING, choices=HANGS, help="how it hangs")
    parser.add_argument("--breaker", choices=("on", "off"), default="off")
    parser.add_argument("--seed", type=int, default=7)
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
