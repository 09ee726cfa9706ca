"""One run: start everything, let producers and the nemesis work, wait for the end, judge."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from service.lab.processes import LabError
from service.lab.torture import receivers
from service.lab.torture.checker import Figures, judge
from service.lab.torture.evidence import OPEN, Evidence, Subscribed, collect
from service.lab.torture.ledger import Ledger
from service.lab.torture.nemesis import Nemesis
from service.lab.torture.plan import Plan
from service.lab.torture.producers import Allowance, Producer
from service.lab.torture.site import Site, standing
from service.lab.torture.talking import Api, Talk

_PRODUCERS: Final = 8
#: Seconds without a request to any receiver after which nothing more is waited for.
_PATIENCE: Final = 90.0
_LOOK: Final = 0.1
#: Dead letters are replayed after every so many events, so that faults meet replays as well.
_REPLAY_EVERY: Final = 1_000
#: Replayed per second at most.
_REPLAY_RATE: Final = 200
_SUBSCRIPTIONS: Final[dict[str, dict[str, Any]]] = {
    receivers.ALL: {"eventTypes": ["*"]},
    receivers.FLAKY: {
        "eventTypes": ["payment.*", "COMPLETED", "FAILED"],
        "retrySchedule": [0, 0.3, 0.6],
    },
    receivers.ORDERED: {
        "eventTypes": ["STARTED", "payment.*", "COMPLETED", "FAILED"],
        "ordering": "operation",
    },
}


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run."""

    figures: Figures
    violations: Sequence[str]


async def run(plan: Plan, folder: Path) -> Result:
    """Torture; everything that was written stays in ``folder``."""
    begun = time.monotonic()
    ledger = Ledger.at(folder / "posted.jsonl")
    async with standing(plan, folder) as site:
        subscribed = await _subscribe(site)
        figures = Figures(plan.mode.value, plan.seed)
        nemesis = await _torment(site, ledger)
        await _drain(site)
        figures.faults = dict(nemesis.deeds.counts)
        if figures.faults:
            figures.recovery_seconds = round(time.monotonic() - nemesis.deeds.over_at, 1)
        figures.kills = sum(count for kind, count in figures.faults.items() if "kill" in kind)
        figures.in_flight = dict(nemesis.deeds.in_flight)
        figures.cut_off = nemesis.deeds.cut_off
        async with _asking(site) as api:
            evidence = await collect(api, ledger, subscribed, site.received)
            evidence.fault("replays left running", await _running_replays(api))
        starts = [each for member in site.members for each in member.start_seconds[1:]]
        figures.slowest_start_seconds = round(max(starts, default=0.0), 2)
        judge(evidence, figures)
        await _check_end(evidence, site)
    ledger.close()
    figures.seconds = round(time.monotonic() - begun, 1)
    return Result(figures, evidence.faults)


async def _subscribe(site: Site) -> dict[str, Subscribed]:
    """The subscriptions by their paths."""
    found = {}
    port = site.proxies["receivers"].port
    async with _asking(site) as api:
        for path, members in _SUBSCRIPTIONS.items():
            url = f"http://127.0.0.1:{port}{path}"
            secret = receivers.secret(site.plan.seed, path)
            body = {"url": url, "secret": secret, **members}
            made = await api.post("/v1/subscriptions", body, 201)
            types = tuple(members["eventTypes"])
            found[path] = Subscribed(made["id"], types, "ordering" in members)
    return found


async def _torment(site: Site, ledger: Ledger) -> Nemesis:
    """Load and harm, until the plan is done."""
    plan = site.plan
    until = None if plan.duration is None else time.monotonic() + plan.duration
    allowance = Allowance(most=1)
    nemesis = Nemesis(site, ledger, allowance)
    talks = [Talk(site.apis[n % len(site.apis)].port, site.key) for n in range(_PRODUCERS)]
    producers = [
        Producer(number, plan.seed, talk, ledger, allowance) for number, talk in enumerate(talks)
    ]
    replaying = asyncio.create_task(_replay_now_and_then(site, ledger))
    working = [asyncio.create_task(each.run(plan.events)) for each in producers]
    try:
        await nemesis.run(until)
        if until is not None and time.monotonic() > until:
            allowance.end()
        allowance.lift()
        await asyncio.gather(*working)
    finally:
        for task in (replaying, *working):
            task.cancel()
        await asyncio.gather(replaying, *working, return_exceptions=True)
        for talk in talks:
            talk.close()
    return nemesis


async def _replay_now_and_then(site: Site, ledger: Ledger) -> None:
    """Replay all dead letters there are, again and again."""
    replayed = 0
    async with _asking(site) as api:
        while True:
            await asyncio.sleep(_LOOK)
            if len(ledger.posted) // _REPLAY_EVERY > replayed:
                replayed = len(ledger.posted) // _REPLAY_EVERY
                try:
                    await api.post("/v1/dead-letters/replay", {"ratePerSecond": _REPLAY_RATE})
                except LabError:
                    continue  # the service is away: next time


async def _drain(site: Site) -> None:
    """Wait until every delivery was seen at its end, or nothing moves any more.

    A look at one status after the other would overlook what goes from being sent to waiting in
    between; without replays an end is for good.
    """
    size, moved = 0, time.monotonic()
    async with _asking(site) as api:
        while time.monotonic() < moved + _PATIENCE:
            now = site.received.stat().st_size
            if now > size:
                size, moved = now, time.monotonic()
            open_now = [await api.get("/v1/deliveries", status=s, limit=1) for s in (*OPEN, *OPEN)]
            replays = await _running_replays(api)
            if not replays and not any(page["data"] for page in open_now):
                return
            await asyncio.sleep(_LOOK)


async def _running_replays(api: Api) -> list[str]:
    """The replays that are still at work."""
    return [
        each["operationId"]
        for status in ("PENDING", "PROCESSING")
        for each in await api.all("/v1/operations", status=status, type="ringback.replay")
    ]


async def _check_end(evidence: Evidence, site: Site) -> None:
    """A clean stop, a sound file, no process that ended by itself, nothing that was a surprise."""
    codes = [await asyncio.to_thread(member.stop) for member in site.members]
    evidence.fault("exit codes of the stop", [code for code in codes if code])
    evidence.fault("processes that ended by themselves", [e for m in site.members for e in m.ends])
    evidence.fault("faults in the file", site.damage())
    said = [line for member in site.members for line in member.program.said.splitlines()]
    evidence.fault("tracebacks", [line for line in said if "Traceback" in line])


@asynccontextmanager
async def _asking(site: Site) -> AsyncIterator[Api]:
    """The API, asked directly."""
    port = site.api.port
    if port is None:
        raise LabError("No process answers the API.")
    api = Api(port, site.key)
    try:
        yield api
    finally:
        api.close()
