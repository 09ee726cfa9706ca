"""Deliver: claim for free send slots, send, judge, settle.

A wake puts lanes into the ring and claims for the slots that are free; it never awaits a send. A
send that is over is settled together with whatever else is over by then, and only then gives its
slot back, which claims again: so the pace of the store is the pace of the sends, and nothing
claimed ever queues in memory. Its lane goes on before that where the receiver took it: the limit of
a lane is what a receiver has to work off at once, and so claims and settles are of more at a time.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, NamedTuple

from service.domain import attempt_log
from service.domain.outcome import ErrorClass, Failed, Outcome, Timing
from service.domain.request import OutboundRequest
from service.domain.retry import Delivered, judge
from service.ports import (
    Claim,
    Claimed,
    Clock,
    DeliverStore,
    Dice,
    Lane,
    SealError,
    Sender,
    Settlement,
    StoreUnavailableError,
)
from service.usecases.compose import Composer
from service.usecases.gathering import Lull, turns
from service.usecases.measuring import Measures
from service.usecases.reporting import report
from service.usecases.ring import Ring, parted

#: Seconds a lease outlives the longest attempt: time to be judged and settled.
LEASE_MARGIN: Final = 10.0
#: Sends started in one turn of the event loop, about 0.2 ms each: a transaction takes a turn for
#: each of its statements, so whatever makes turns long delays every event that is being accepted.
_TOGETHER: Final = 8
#: Turns of the event loop before a claim and before a settle: what is accepted and answered in them
#: is in it, too. Sends that were started together end over several turns.
_TURNS_TO_CLAIM: Final = 4
_TURNS_TO_SETTLE: Final = 8
#: Seconds for which results gather that nobody waits for, and how many are enough: to settle one
#: takes more of the processor than to send three, and hardly less than to settle twenty.
_LULL: Final = 0.01
_ENOUGH: Final = 24
#: Results in one settle, and seconds until a store that does not answer is asked again.
_BATCH: Final = 500
_PATIENCE: Final = 0.5
#: Seconds that are left at the end of a stop for the last results.
_LAST: Final = 3.0
#: Seconds ahead for which a retry gets a timer of its own; what is further off is the sweep's.
_SOON: Final = 60.0
_NO_NAMES: Final = frozenset[str]()


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is sent at once, and when to try again."""

    #: Seconds before each attempt, where the subscription says nothing.
    schedule: tuple[float, ...]
    #: Seconds of the longest attempt that any subscription may ask for.
    longest: float
    #: Sends in flight in this process: half of them are enough for four lanes in full.
    slots: int = 768
    #: Sends in flight for one subscription, where it says nothing.
    per_lane: int = 96


class _Result(NamedTuple):
    """What came of a send."""

    settlement: Settlement
    #: Whether its lane goes on before that is settled, and whether no delivery waits for that.
    goes_on: bool
    has_time: bool


class Deliver:
    """One worker's deliveries. All methods run on one event loop."""

    def __init__(
        self,
        store: DeliverStore,
        sender: Sender,
        composer: Composer,
        chance: tuple[Clock, Dice],
        pace: Pace,
    ) -> None:
        self._store = store
        self._sender = sender
        self._composer = composer
        self._clock, self._dice = chance
        self._pace = pace
        self._ring = Ring(pace.per_lane, pace.slots)
        self._free = pace.slots
        self._sends: set[asyncio.Task[None]] = set()
        self._fills: set[asyncio.Task[None]] = set()
        self._results: list[_Result] = []
        self._unsent: list[Claimed] = []
        #: Lanes to begin slowly with.
        self._recovered: set[int] = set()
        self._timers: dict[int, tuple[int, asyncio.TimerHandle]] = {}
        self._claiming = False
        self._settler: asyncio.Task[None] | None = None
        self._lull = Lull(_LULL)
        self._stopping = False
        self.measures = Measures()

    @property
    def free(self) -> int:
        """Sends that could be started now."""
        return self._free

    @property
    def in_flight(self) -> int:
        """Sends under way, those included that wait to be settled."""
        return self._pace.slots - self._free

    def allowed(self, lane: int) -> int:
        """How much of the lane may be in flight in this process."""
        return self._ring.allowed(lane)

    async def serve(self, lanes: Iterable[int]) -> None:
        """Look at these lanes: start what is due in them, as far as slots are free."""
        self._ring.wake(lanes)
        await self._fill()

    def wake(self, lanes: Iterable[int]) -> None:
        """Look at these lanes soon; returns at once. See :class:`service.ports.Waker`."""
        self._ring.wake(lanes)
        self._refill()

    async def stop(self, patience: float) -> None:
        """Claim nothing more; wait ``patience`` seconds for what is in flight, and settle it.

        A store that is away is waited for little longer: leases of which it hears nothing run out.
        """
        self._stopping = True
        self._lull.end()
        for _, timer in self._timers.values():
            timer.cancel()
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        await _ended(self._fills, patience)
        await _ended(self._sends, end - loop.time())
        if self._settler is not None:
            await _ended({self._settler}, end - loop.time() + _LAST)

    # --- claim

    async def _fill(self) -> None:
        if self._claiming:
            return  # whoever claims now sees the ring as it is then
        self._claiming = True
        try:
            while self._ring and self._free and not self._stopping:
                await turns(_TURNS_TO_CLAIM)
                if not self._stopping:
                    await self._claim()
        except StoreUnavailableError:
            return  # the sweep wakes these lanes again
        finally:
            self._claiming = False
            self._press()

    async def _claim(self) -> None:
        quotas = self._ring.plan(self._free, self._clock.monotonic())
        self._pause(self._ring.take_pauses())
        if not quotas:
            return
        claim, back = Claim({}, ()), dict[int, int]()
        started = self._clock.monotonic()
        try:
            lease = self._pace.longest + LEASE_MARGIN
            claim = await self._store.claim(quotas, round(lease * 1000))
        finally:
            for number, lane in claim.lanes.items():
                self._ring.meet(number, lane.subscription)
            taken = Counter(each.ref.subscription_no for each in claim.deliveries)
            back = self._ring.claimed(quotas, taken, self._free, self._clock.monotonic())
        kept, surplus = parted(claim.deliveries, back)
        await self._start_all(Claim(claim.lanes, kept), started)
        if surplus:
            await self._persist([], surplus)

    async def _start_all(self, claim: Claim, leased: float) -> None:
        """Start what was claimed, a few in each turn of the event loop: others have work there."""
        for begin in range(0, len(claim.deliveries), _TOGETHER):
            if begin:
                await asyncio.sleep(0)
            if self._stopping:
                await self._store.release(claim.deliveries[begin:])
                return
            for each in claim.deliveries[begin : begin + _TOGETHER]:
                self._start(claim.lanes[each.ref.subscription_no], each, leased)

    def _start(self, lane: Lane, claimed: Claimed, leased: float) -> None:
        self._free -= 1
        send = asyncio.create_task(self._send(lane, claimed, leased))
        self._sends.add(send)
        send.add_done_callback(self._sends.discard)

    # --- send

    async def _send(self, lane: Lane, claimed: Claimed, leased: float) -> None:
        if self._clock.monotonic() - leased > LEASE_MARGIN / 2:
            self._unsent.append(claimed)  # too late to be sure to end within the lease
        else:
            # first the await, then the list: a settle may have put another in its place meanwhile
            settlement = await self._attempt(lane, claimed)
            goes_on = self._judged(settlement)
            has_time = goes_on and lane.subscription.ordering == "none"
            self._results.append(_Result(settlement, goes_on, has_time))
        if self._settler is None or self._settler.done():
            self._settler = asyncio.create_task(self._settle(), name="settle")
        self._press()

    async def _attempt(self, lane: Lane, claimed: Claimed) -> Settlement:
        subscription = lane.subscription
        started_at = self._clock.now()
        request = self._request(lane, claimed)
        outcome = await self._outcome(request)
        schedule = subscription.retry_schedule or self._pace.schedule
        now = self._clock.now()
        verdict = judge(outcome, claimed.step, schedule, self._dice.random(), now)
        self.measures.attempted(claimed, outcome, verdict, (started_at, now))
        return Settlement(claimed, outcome, verdict, started_at, _detail(lane, request, outcome))

    def _request(self, lane: Lane, claimed: Claimed) -> OutboundRequest | str:
        """The request; why there is none, when the subscription's secrets cannot be opened."""
        try:
            return self._composer.compose(lane, claimed)
        except SealError as error:
            return f"The request could not be signed: {error}"
        except Exception as error:  # noqa: BLE001  one attempt fails, not the worker
            report("A request could not be built", error)
            return f"The request could not be built: {type(error).__name__}"

    async def _outcome(self, request: OutboundRequest | str) -> Outcome:
        """What came of it, whatever happens: its slot is never free without."""
        if isinstance(request, str):
            return Failed(ErrorClass.UNKNOWN, request, Timing(0.0))
        try:
            return await self._sender.send(request)
        except Exception as error:  # noqa: BLE001  a bug, which costs one attempt
            report("A send failed", error)
            said = f"The request could not be sent: {type(error).__name__}"
            return Failed(ErrorClass.UNKNOWN, said, Timing(0.0))

    def _judged(self, settlement: Settlement) -> bool:
        """Judge a lane by how a send went; whether it goes on at once.

        A receiver that did not take it may have closed its lane: the store knows of that.
        """
        claimed, outcome, now = settlement.claimed, settlement.outcome, self._clock.now()
        if isinstance(settlement.verdict, Delivered):
            return self._ring.taken(claimed, outcome, now)
        self._ring.judge(claimed, outcome, now)
        return False

    # --- settle

    async def _settle(self) -> None:
        while self._results or self._unsent:
            await turns(_TURNS_TO_SETTLE)
            if not self._is_pressing():
                await self._lull.wait()
            over, self._results = self._results[:_BATCH], self._results[_BATCH:]
            unsent, self._unsent = self._unsent, []
            self._refill()
            try:
                await self._keep([each.settlement for each in over], unsent)
            finally:
                self._give_slots_back(over, unsent)
            self._refill()

    def _press(self) -> None:
        if self._lull.lasts and self._is_pressing():
            self._lull.end()

    def _is_pressing(self) -> bool:
        """Whether to settle at once: there is more to do, or something waits for that."""
        return (
            bool(self._stopping or self._unsent or self._ring)
            or len(self._results) >= _ENOUGH
            or self._free < self._pace.slots // 2
            or not all(each.has_time for each in self._results)
        )

    def _give_slots_back(self, over: Sequence[_Result], unsent: Sequence[Claimed]) -> None:
        now = self._clock.now()
        for lane in self._recovered:
            self._ring.restart(lane, now)
        self._recovered.clear()
        self._free += len(over) + len(unsent)
        for each in over:
            lane = each.settlement.claimed.ref.subscription_no
            if not each.goes_on:
                self._ring.over(lane)
            elif self._ring.has_own_limit(lane):  # since then: the store counted it until now
                self._ring.wake([lane])
        for claimed in unsent:
            self._ring.over(claimed.ref.subscription_no)

    async def _keep(self, batch: list[Settlement], unsent: list[Claimed]) -> None:
        """Persist; a batch that fails by itself is tried result by result."""
        try:
            await self._persist(batch, unsent)
        except Exception as error:  # noqa: BLE001  a bug in one result is none in the others
            if len(batch) > 1:
                for each in batch:
                    await self._keep([each], [])
            else:  # its lease ends, and the sweep writes it off
                report("A result could not be settled", error)

    async def _persist(self, batch: list[Settlement], unsent: list[Claimed]) -> None:
        while True:
            try:
                if unsent:
                    await self._store.release(unsent)
                if batch:
                    settled = await self._store.settle(batch)
                    self.measures.settled.observe(len(batch))
                    self.measures.late += settled.late
                    self._recovered |= settled.recovered
                    self._remember(settled.retries)
            except StoreUnavailableError:
                # the results are kept until the store takes them; a lease that ends meanwhile
                # fences them
                await asyncio.sleep(_PATIENCE)
            else:
                return

    def _refill(self) -> None:
        if self._ring and not self._claiming and not self._stopping:
            self._background(self._fill())

    def _background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._fills.add(task)
        task.add_done_callback(self._filled)

    def _filled(self, task: asyncio.Task[None]) -> None:
        self._fills.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:  # the sweep wakes these lanes again
            report("A claim failed", error)

    def _remember(self, retries: Mapping[int, int]) -> None:
        """Look at a lane when something is due in it; what is far off is left to the sweep."""
        now = self._clock.now()
        for lane, due in retries.items():
            if due <= now:
                self._ring.wake([lane])  # whoever settles looks at the ring next
                continue
            known = self._timers.get(lane)
            if (known is not None and known[0] <= due) or due - now > _SOON * 1000:
                continue
            if known is not None:
                known[1].cancel()
            # a little late rather than early: an early look finds nothing and waits for the sweep
            delay = max(0, due - now) / 1000 + 0.002
            timer = asyncio.get_running_loop().call_later(delay, self._due, lane)
            self._timers[lane] = (due, timer)

    def _pause(self, pauses: Mapping[int, float]) -> None:
        """Look again at lanes that are ahead of their rates when they may send again."""
        now, moment = self._clock.now(), self._clock.monotonic()
        waits = {lane: max(ceil((at - moment) * 1000), 1) for lane, at in pauses.items()}
        self._remember({lane: now + wait for lane, wait in waits.items()})

    def _due(self, lane: int) -> None:
        del self._timers[lane]
        self._background(self.serve([lane]))


async def _ended(tasks: Collection[asyncio.Task[None]], patience: float) -> None:
    """Wait for tasks, but no longer than ``patience`` seconds; then they are cancelled."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=max(patience, 0.0))
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)


def _detail(lane: Lane, request: OutboundRequest | str, outcome: Outcome) -> bytes:
    if not isinstance(request, OutboundRequest):
        request = OutboundRequest(lane.subscription.url, (), b"", 0.0)
    names = lane.subscription.header_names
    masked = frozenset([name.lower() for name in names]) if names else _NO_NAMES
    return attempt_log.detail(request, outcome, masked)
