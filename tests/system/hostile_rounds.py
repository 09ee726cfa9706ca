"""Hostile receivers of every kind beside healthy ones: who is delayed, what it costs, what is left.

    python -m tests.system.hostile_rounds --deliveries 200 [--rounds 10] [--breaker on] [--seed 7]

In each round events for fifty healthy subscriptions are posted at a fixed rate, first alone, then
while events for every hostile kind come as well; when all of these have met their end the next
round begins, with new subscriptions to the hostile. Prints tables and, in the last line, the same
as JSON; the exit code is 1 when a bound is broken: healthy p99 at least twice the calm one of the
same round in the median, memory that grows by 100 MB, an attempt more than a tenth over its
deadline. Give it a machine of its own.
"""

import argparse
import asyncio
import json
import random
import sqlite3
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from tests.support.blackbox import Blackbox
from tests.support.certificates import certificate
from tests.support.lateness import Lateness
from tests.support.server import LOCAL, Server
from tests.support.talking import Talker, talking
from tests.system.hostile_receivers import EXPIRED_TLS
from tests.system.offered_load import (
    DATA,
    Holdings,
    Load,
    Pairs,
    drained,
    forget_peak,
    grid,
    holdings,
    load_average,
    offered,
    pair_grid,
    quiet_moment,
)

HEALTHY = 50
#: Bounds: times the calm p99, MiB, times the deadline.
MOST_DELAY = 2.0
MOST_MEMORY = 100.0
MOST_TIME = 1.1
#: Seconds for all hostile deliveries of a round to meet their end, and, where circuits keep them
#: back, until no more is waited for.
PATIENCE = 300.0
KEPT_BACK = 5.0
#: Events in one request where all come at once.
BATCH = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. Times are seconds."""

    folder: Path
    deliveries: int = 200
    rounds: int = 10
    #: How long each window is, and over which part of it the hostile events are spread; 0: none.
    seconds: float = 8.0
    over: float = 8.0
    rate: float = 100.0
    timeout: float = 1.0
    breaker: bool = False
    seed: int = 7
    #: Of the receivers to all else here: with the most they come to nothing on a busy machine.
    nice: int = 19
    #: Nobody is hostile: what the same events cost anyway.
    tame: bool = False
    #: For a quiet moment of the machine before each round, at most.
    wait: float = 0.0
    #: A part of the kinds' names; only those that have it attack.
    only: str = ""


@dataclass(slots=True)
class Kind:
    """What came of one kind's deliveries."""

    deliveries: int = 0
    attempts: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    #: Milliseconds of the longest attempt, by the service's own account.
    longest: float = 0.0
    #: Milliseconds for which the receiver saw a connection open; 0 where that says nothing.
    seen: float = 0.0


@dataclass(slots=True)
class Result:
    """What came of a run."""

    plan: Plan
    pairs: Pairs
    kinds: dict[str, Kind]
    before: Holdings
    after: Holdings
    #: Bytes that the service logged.
    logged: int
    load_average: list[float]
    #: Milliseconds by which this very process woke up late at most: so busy was the machine.
    late: float
    faults: list[str] = field(default_factory=list)


class Attack:
    """New subscriptions to every hostile receiver, and events for them."""

    def __init__(
        self, api: Blackbox, load: Load, ports: Mapping[str, int], plan: Plan, number: int
    ) -> None:
        self._api = api
        self._load = load
        self._ports = ports
        self._plan = plan
        self._number = number
        #: Kinds by their subscriptions.
        self.made: dict[str, str] = {}

    async def subscribe(self) -> None:
        for place, (kind, port) in enumerate(self._ports.items()):
            scheme = "https" if kind == EXPIRED_TLS else "http"
            made = await self._api.subscribe(
                f"{scheme}://127.0.0.1:{port}/",
                eventTypes=[self._type(place)],
                timeoutSeconds=self._plan.timeout,
                retrySchedule=[0],
            )
            self.made[made["id"]] = kind

    async def post(self) -> None:
        """As many events for each kind as this round is to have, mixed; at once without a time."""
        events = [
            {"operationId": self._type(place), "type": self._type(place), "data": DATA}
            for place in range(len(self._ports))
            for _ in range(self.deliveries)
        ]
        random.Random(f"{self._plan.seed}/{self._number}").shuffle(events)  # noqa: S311  to be repeated, not to be safe
        if self._plan.over:
            await self._load.post(events, len(events) / self._plan.over)
        else:
            for start in range(0, len(events), BATCH):
                await self._api.post("/v1/events", events[start : start + BATCH])

    @property
    def deliveries(self) -> int:
        """How many each kind gets in this round."""
        whole, rest = divmod(self._plan.deliveries, self._plan.rounds)
        return whole + (self._number < rest)

    async def end(self) -> None:
        """Wait until all has met its end, then be gone."""
        patience = KEPT_BACK if self._plan.breaker else PATIENCE
        await drained(self._api, "deliveries_open", patience)
        for name in self.made:
            answer = await self._api.http.delete(f"/v1/subscriptions/{name}")
            answer.raise_for_status()
        left = await drained(self._api, "deliveries_open", PATIENCE)
        assert not left, f"{left} deliveries have met no end"

    def _type(self, place: int) -> str:
        return f"hostile-{self._number}-{place}"


async def run(plan: Plan) -> Result:
    """Run all rounds and judge what was seen."""
    expired = certificate(plan.folder, expired=True)
    settings = {
        **LOCAL,
        "RINGBACK_BREAKER": "on" if plan.breaker else "off",
        "SSL_CERT_FILE": str(expired),  # it is to be refused for its date alone
    }
    server = Server(plan.folder / "service", settings)
    hostile = ["tests.system.hostile_receivers", "--certificate", str(expired)]
    hostile += ["--nice", str(plan.nice)]
    hostile += ["--tame"] if plan.tame else []
    with server:
        async with (
            talking(*hostile) as receivers,
            offered(server, HEALTHY, plan.rate, plan.seed) as load,
            server.client() as client,
        ):
            result, made = await rounds(plan, server, Blackbox(client), load, receivers)
        code = server.stop()
    collect(server.database, made, result)
    result.logged = server.output.count("\n")
    judge(result)
    if code:
        result.faults.append(f"exit code {code}")
    return result


async def rounds(
    plan: Plan, server: Server, api: Blackbox, load: Load, receivers: Talker
) -> tuple[Result, dict[str, str]]:
    """The rounds; what was measured, and the kinds by all the subscriptions to them."""
    pairs, made, lateness = Pairs([], []), dict[str, str](), Lateness()
    ports = {kind: port for kind, port in receivers.first.items() if plan.only in kind}
    await load.window(plan.seconds / 2)  # connections and caches are warm from here on
    before = holdings(server.pid)
    forget_peak(server.pid)
    for number in range(plan.rounds):
        await quiet_moment(plan.wait)
        pairs.calm.append(await load.window(plan.seconds))
        attack = Attack(api, load, ports, plan, number)
        await attack.subscribe()
        made |= attack.made
        posting = asyncio.create_task(attack.post())
        pairs.beside.append(await load.window(plan.seconds))
        await posting
        await attack.end()
    after = holdings(server.pid)
    kinds = {kind: Kind() for kind in ports}
    for kind, (_, longest) in (await receivers.ask()).items():
        if kind in kinds:
            kinds[kind].seen = round(longest * 1000)
    late = round(lateness.stop().worst * 1000, 1)
    return Result(plan, pairs, kinds, before, after, 0, load_average(), late), made


def collect(database: Path, made: Mapping[str, str], result: Result) -> None:
    """What the service wrote down of every attempt."""
    attempts = (
        "SELECT s.id, coalesce(a.error_class, a.status_code), count(*), max(a.duration_ms) "
        "FROM attempts a JOIN subscriptions s ON s.no = a.subscription_no GROUP BY 1, 2"
    )
    with closing(sqlite3.connect(database)) as file:
        found = file.execute(attempts).fetchall()
    for name, outcome, count, longest in found:
        if name in made:
            kind = result.kinds[made[name]]
            kind.attempts += count
            kind.outcomes[str(outcome)] = kind.outcomes.get(str(outcome), 0) + count
            kind.longest = max(kind.longest, round(longest, 1))
    for kind in result.kinds.values():
        kind.deliveries = result.plan.deliveries


def judge(result: Result) -> None:
    """Note which bounds were broken."""
    plan, faults = result.plan, result.faults
    if result.pairs.ratio >= MOST_DELAY:
        faults.append(f"healthy p99 was {result.pairs.ratio} x its calm one")
    missing = sum(window.missing for window in (*result.pairs.calm, *result.pairs.beside))
    if missing:
        faults.append(f"{missing} healthy deliveries did not come")
    grown = result.after.peak - result.before.memory
    if grown >= MOST_MEMORY:
        faults.append(f"memory grew by {grown:.1f} MiB")
    for name, kind in result.kinds.items():
        if kind.longest > plan.timeout * 1000 * MOST_TIME:
            faults.append(f"{name}: an attempt took {kind.longest} ms")
        if kind.attempts < (1 if plan.breaker else plan.deliveries):
            faults.append(f"{name}: only {kind.attempts} attempts")


def tables(result: Result) -> str:
    """All of it for people."""
    kinds = [
        [name, k.attempts, " ".join(f"{o}:{n}" for o, n in k.outcomes.items()), k.longest, k.seen]
        for name, k in result.kinds.items()
    ]
    deadline = f"longest ms of {result.plan.timeout * 1000:g}"
    before, after = result.before, result.after
    lines = [
        grid([("kind", "attempts", "outcomes", deadline, "receiver saw"), *kinds]),
        pair_grid(result.pairs, ("calm", "attacked")),
        (f"healthy p99, attacked / calm: {result.pairs.ratio}, by rounds {result.pairs.ratios}"),
        f"memory MiB: {before.memory} before, {after.peak} at most, {after.memory} after",
        f"open files: {before.files} before, {after.files} after",
        f"lines logged: {result.logged}",
        f"load average: {result.load_average}; this process woke up {result.late} ms late at most",
        *(f"BROKEN: {fault}" for fault in result.faults),
    ]
    return "\n\n".join(lines[:2]) + "\n\n" + "\n".join(lines[2:])


def facts(result: Result) -> dict[str, Any]:
    """All of it for machines."""
    plan = {**asdict(result.plan), "folder": ""}
    return {**asdict(result), "plan": plan, "ratio": result.pairs.ratio}


def main() -> int:
    """Run, print, and say by the exit code whether all bounds were kept."""
    parser = argparse.ArgumentParser(description="Hostile receivers beside healthy ones.")
    parser.add_argument("--deliveries", type=int, default=200, help="for each hostile kind")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each window")
    parser.add_argument(
        "--over", type=float, default=8.0, help="seconds of hostile events in it; 0: all at once"
    )
    parser.add_argument("--rate", type=float, default=100.0, help="healthy events per second")
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds of an attempt")
    parser.add_argument("--breaker", choices=("on", "off"), default="off")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", default="", help="part of the names of those kinds that attack")
    parser.add_argument("--tame", action="store_true", help="nobody is hostile, to compare")
    parser.add_argument("--wait", type=float, default=0.0, help="at most, for a quiet moment")
    options = vars(parser.parse_args())
    options["breaker"] = options["breaker"] == "on"
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        result = runner.run(run(Plan(Path(folder), **options)))
    sys.stdout.write(f"{tables(result)}\n{json.dumps(facts(result))}\n")
    return 1 if result.faults else 0


if __name__ == "__main__":
    sys.exit(main())
