"""The nemesis: carries out the plan, fault by fault, while events are posted."""

import asyncio
import signal
import subprocess
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from service.lab.torture.clock import set_offset
from service.lab.torture.ledger import Ledger
from service.lab.torture.plan import Fault, Kind, Mode
from service.lab.torture.producers import Allowance
from service.lab.torture.proxy import FaultProxy, Harm
from service.lab.torture.site import Member, Site

_POLL: Final = 0.005
#: Seconds without a new event after which the plan goes on without.
_STALL: Final = 10.0
#: Seconds in which a database has to answer that is not to be down.
_ANSWERS: Final = 30.0
#: Events that may be posted beyond the next fault.
_AHEAD: Final = 50
#: One of so many kills is followed by one on the way up.
_STILLBORN: Final = 1 / 3
#: Milliseconds by which a clock jumps, at most.
_JUMP: Final = 20_000
#: Seconds by which traffic is delayed, at most; bytes of an answer that get through before a cut.
_DELAY: Final = 0.5
_LIMIT: Final = 2_000
#: Faults of several processes that go on while others come.
_LONG: Final = frozenset({Kind.PAUSE_BEYOND_LEASE, Kind.REDIS_ABSENCE})
_LONG_AT_ONCE: Final = 2

#: What needs a Redis that is there.
_ON_REDIS: Final = frozenset(
    {Kind.REDIS_FLUSH, Kind.REDIS_RESTART, Kind.REDIS_ABSENCE, Kind.REDIS_PAUSE}
)

_Strike = Callable[[Fault], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class Deeds:
    """What was done."""

    counts: Counter[str] = field(default_factory=Counter)
    #: Deliveries in flight in the very process that was killed, paused or lost its time, by kind.
    in_flight: Counter[str] = field(default_factory=Counter)
    #: Requests to receivers whose connection was cut before it was answered.
    cut_off: int = 0
    #: When the last fault was over, on the monotonic clock.
    over_at: float = 0.0


class Nemesis:
    """Does harm to a site by its plan."""

    def __init__(self, site: Site, ledger: Ledger, allowance: Allowance) -> None:
        self._site = site
        self._ledger = ledger
        self._allowance = allowance
        self._long: set[asyncio.Task[None]] = set()
        self._redis = asyncio.Lock()
        self.deeds = Deeds()
        self._strikes: dict[Kind, _Strike] = {
            Kind.KILL: self._kill,
            Kind.KILL_API: self._kill,
            Kind.KILL_SWEEPER: self._kill,
            Kind.PAUSE: self._pause,
            Kind.PAUSE_BEYOND_LEASE: self._pause,
            Kind.DISK_FULL: self._disk_full,
            Kind.CLOCK: self._clock,
            Kind.REDIS_FLUSH: self._redis_flush,
            Kind.REDIS_RESTART: self._redis_gone,
            Kind.REDIS_ABSENCE: self._redis_gone,
            Kind.REDIS_PAUSE: self._redis_pause,
            Kind.POSTGRES_RESTART: self._postgres_restart,
            Kind.POSTGRES_TERMINATE: self._postgres_terminate,
            Kind.POSTGRES_PAUSE: self._postgres_pause,
        }

    async def run(self, until: float | None) -> None:
        """Do it all; after ``until`` (monotonic) no fault begins."""
        faults = deque(self._site.plan.faults())
        while faults and (until is None or time.monotonic() < until):
            fault = faults.popleft()
            if fault.kind in _ON_REDIS and self._redis.locked():
                faults.append(fault)  # it is away: later
                await asyncio.sleep(_POLL)
                continue
            self._allowance.raise_to(fault.at + _AHEAD)
            await self._wait_for(fault.at)
            await self._strike(fault)
        while self._long:
            await asyncio.wait(self._long)
            self._tidy()
        self.deeds.over_at = time.monotonic()

    async def _wait_for(self, posted: int) -> None:
        """Wait for load."""
        seen, moved = -1, time.monotonic()
        while (count := len(self._ledger.posted)) < posted:
            if count > seen:
                seen, moved = count, time.monotonic()
            elif time.monotonic() - moved > _STALL:
                return
            await asyncio.sleep(_POLL)

    async def _strike(self, fault: Fault) -> None:
        self._tidy()
        strike = self._strikes.get(fault.kind, self._traffic)
        self.deeds.counts[fault.kind.value] += 1
        if fault.kind not in _LONG or self._site.plan.mode is Mode.EMBEDDED:
            await strike(fault)
            return
        while len(self._long) >= _LONG_AT_ONCE:
            await asyncio.wait(self._long, return_when=asyncio.FIRST_COMPLETED)
            self._tidy()
        self._long.add(asyncio.create_task(strike(fault)))

    def _tidy(self) -> None:
        for task in [each for each in self._long if each.done()]:
            self._long.discard(task)
            task.result()

    def _victim(self, role: str, pick: float) -> Member:
        able = [m for m in self._site.members if role in m.role and not m.is_paused]
        return able[int(pick * len(able))]

    async def _count_in_flight(self, kind: Kind, victim: Member) -> None:
        """Add what the victim has leased; a server that is just being ended is asked again."""
        end = time.monotonic() + _ANSWERS
        while True:
            try:
                leased = await asyncio.to_thread(self._site.leased, victim)
            except subprocess.CalledProcessError:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(_POLL)
            else:
                self.deeds.in_flight[kind.value] += leased
                return

    # --- processes

    async def _kill(self, fault: Fault) -> None:
        role = {Kind.KILL_API: "api", Kind.KILL_SWEEPER: "sweeper"}.get(fault.kind, "worker")
        victim = self._victim(role, fault.pick)
        victim.kill()
        await self._count_in_flight(fault.kind, victim)
        if fault.pick < _STILLBORN:
            victim.spawn()
            await asyncio.sleep(fault.seconds)
            victim.kill()
            self.deeds.counts["kills on the way up"] += 1
            await self._count_in_flight(fault.kind, victim)
        await victim.start()

    async def _pause(self, fault: Fault) -> None:
        victim = self._victim("worker", fault.pick)
        with victim.paused():
            await self._count_in_flight(fault.kind, victim)
            await asyncio.sleep(fault.seconds)

    async def _disk_full(self, fault: Fault) -> None:
        self._site.fill_disk()
        await asyncio.sleep(fault.seconds)
        self._site.empty_disk()

    async def _clock(self, fault: Fault) -> None:
        for offset in (round((fault.pick * 2 - 1) * _JUMP), 0):
            if self._site.plan.mode is Mode.EMBEDDED:  # elsewhere leases are in the server's time
                await self._count_in_flight(fault.kind, self._site.api)
            set_offset(self._site.clock, offset)
            await asyncio.sleep(fault.seconds)

    # --- connections

    async def _traffic(self, fault: Fault) -> None:
        """Cut what is there and what comes, delay it, or let what is there hang, on one leg."""
        what, _, leg = fault.kind.value.partition("_")
        proxies = [p for name, p in self._site.proxies.items() if name.startswith(leg)]
        proxy = proxies[int(fault.pick * len(proxies))]
        before = proxy.cuts
        await _harm(proxy, what, fault)
        if leg == "receivers":
            self.deeds.cut_off += proxy.cuts - before

    # --- servers

    async def _redis_flush(self, _fault: Fault) -> None:
        if self._site.valkey is not None:
            await asyncio.to_thread(self._site.valkey.flush)

    async def _redis_gone(self, fault: Fault) -> None:
        valkey = self._site.valkey
        if valkey is not None:
            async with self._redis:
                valkey.program.kill()
                await asyncio.sleep(fault.seconds)
                await asyncio.to_thread(valkey.start)

    async def _redis_pause(self, fault: Fault) -> None:
        valkey = self._site.valkey
        if valkey is not None:
            async with self._redis:
                valkey.program.send(signal.SIGSTOP)
                await asyncio.sleep(fault.seconds)
                valkey.program.send(signal.SIGCONT)

    async def _postgres_restart(self, _fault: Fault) -> None:
        if self._site.postgres is not None:
            await asyncio.to_thread(self._site.postgres.crash)
            await asyncio.to_thread(self._site.postgres.start)

    async def _postgres_terminate(self, _fault: Fault) -> None:
        if self._site.postgres is not None:
            await asyncio.to_thread(self._site.postgres.terminate)

    async def _postgres_pause(self, fault: Fault) -> None:
        if self._site.postgres is not None:
            with self._site.postgres.paused():
                await asyncio.sleep(fault.seconds)


async def _harm(proxy: FaultProxy, what: str, fault: Fault) -> None:
    """Let a proxy do harm for a while."""
    if what == "hang":
        proxy.hang()
        return
    if what == "delay":
        proxy.suffer(Harm(delay=fault.pick * _DELAY))
    elif fault.pick < 1 / 3:
        proxy.suffer(Harm(is_down=True))
    else:
        proxy.cut()
        proxy.suffer(Harm(limit=_LIMIT))
    await asyncio.sleep(fault.seconds)
    proxy.suffer(Harm())
