"""The whole store against a plain model of it: whatever happens, in whatever order.

After every step each (event, subscription) pair must be where the model has it, in exactly one
place. ``TEST_EFFORT=20`` makes twenty times the tries.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.domain.acceptance import Accepted
from service.domain.delivery import DeliveryStatus, Trigger
from service.domain.errors import Refusal
from service.domain.ids import DeliveryRef, key_floor
from service.domain.matching import matches
from service.domain.outcome import Outcome
from service.domain.retry import DeadReason, Delivered, RetryAfter
from service.domain.subscription import Subscription
from service.domain.times import HURRIED, NEVER
from service.ports import Claimed, LaneQuota, ReplayRun, Settlement
from service.store import schema
from service.store.database import Stretch
from service.store.postgres import parting
from tests.support.clock import FakeClock
from tests.support.databases import Place
from tests.support.postgres import Databases
from tests.support.world import LEASE, World, answer, event, fault, migrated_file

T = TypeVar("T")

#: How many times as long as usual to look for a way to break it.
EFFORT = float(os.environ.get("TEST_EFFORT", "1"))
pytestmark = pytest.mark.timeout(400 + 60 * EFFORT)  # to find the shortest way takes minutes

SCHEDULE = (0.0, 5.0)
RETENTION = 3_600_000
DAY = 86_400_000
#: Few enough deliveries that much happens to each of them.
MANY = 8
ENDS = {"COMPLETED", "FAILED"}
OUTCOMES: dict[str, Callable[[], Outcome]] = {
    "delivered": lambda: answer(200),
    "failed": lambda: answer(500),
    "unreachable": fault,
    "held": lambda: answer(503, {"retry-after": "30"}),
    "gone": lambda: answer(410),
}


@dataclass
class Pair:
    """Where one delivery is."""

    status: str = "pending"
    due: int = 0
    attempts: int = 0
    step: int = 0
    token: int | None = None
    lease_end: int = 0
    #: The state of its dead letter.
    letter: str | None = None
    replays: int = 0
    discarded: bool = False
    #: In an ordered lane: the operation whose events go one after the other.
    chain: str | None = None
    #: It waits for another of its chain.
    parked: bool = False

    @property
    def queued(self) -> bool:
        return self.status in {"pending", "delivering"}


@dataclass
class Lane:
    """One subscription."""

    made: Subscription
    pattern: str
    status: str = "active"
    hold: int = 0
    deleted: bool = False
    ordering: str = "none"

    @property
    def closed(self) -> bool:
        return self.deleted or self.status == "disabled"


@dataclass
class Log:
    """The events of one operation."""

    status: str = "PENDING"
    sequence: int = 0


@dataclass
class Known:
    """One event that is still there."""

    id: str
    operation: str
    type: str
    sequence: int


@dataclass
class Model:
    """Everything that the store should know."""

    now: int
    lanes: dict[int, Lane] = field(default_factory=dict)
    operations: dict[str, Log] = field(default_factory=dict)
    events: dict[int, Known] = field(default_factory=dict)
    pairs: dict[DeliveryRef, Pair] = field(default_factory=dict)
    accepted: int = 0
    #: The last event of each chain that was sent in its turn.
    turns: dict[tuple[int, str], int] = field(default_factory=dict)

    def chained(self) -> dict[tuple[int, str], list[Pair]]:
        """What is queued of each chain, oldest event first."""
        chains: dict[tuple[int, str], list[Pair]] = {}
        for ref, pair in sorted(self.pairs.items()):
            if pair.queued and pair.chain is not None:
                chains.setdefault((ref.subscription_no, pair.chain), []).append(pair)
        return chains

    def make(self, ref: DeliveryRef, operation: str) -> None:
        """A new event's delivery."""
        pair = Pair(due=self.now)
        if self.lanes[ref.subscription_no].ordering == "operation":
            pair.chain = operation
            pair.parked = (ref.subscription_no, operation) in self.chained()
        self.pairs[ref] = pair

    def move_up(self) -> None:
        """Whatever took rows out of the queue lets those go that are first now."""
        for first, *_ in self.chained().values():
            if first.parked:
                first.parked, first.due = False, max(first.due, self.now)

    def unpark(self) -> None:
        for ref, pair in self.pairs.items():
            if pair.parked and self.lanes[ref.subscription_no].ordering == "none":
                pair.chain, pair.parked, pair.due = None, False, max(pair.due, self.now)

    def bury(self, ref: DeliveryRef) -> None:
        pair = self.pairs[ref]
        pair.status, pair.token, pair.letter, pair.discarded = "dead", None, "open", False
        pair.parked = False

    def reopen(self, ref: DeliveryRef, trigger: Trigger = Trigger.REPLAY) -> None:
        pair = self.pairs[ref]
        due = HURRIED if trigger is Trigger.MANUAL else self.now
        pair.status, pair.step, pair.due, pair.chain = "pending", 0, due, None
        if pair.letter == "open":
            pair.letter, pair.replays = "replaying", pair.replays + 1

    def settle(self, claimed: Claimed, result: Settlement) -> None:
        pair, lane = self.pairs[claimed.ref], self.lanes[claimed.ref.subscription_no]
        verdict = result.verdict
        pair.token = None
        if isinstance(verdict, Delivered):
            pair.status = "delivered"
            pair.letter = pair.letter and "resolved"
            return
        if verdict.hold_ms:
            lane.hold = max(lane.hold, self.now + verdict.hold_ms)
        if isinstance(verdict, RetryAfter):
            pair.status, pair.due = "pending", self.now + verdict.delay_ms
        else:
            self.bury(claimed.ref)
            if verdict.reason is DeadReason.GONE and not lane.deleted:
                lane.status = "disabled"

    def lose_leases(self, before: int) -> None:
        """What the sweep does with leases that ended by then."""
        for ref, pair in self.pairs.items():
            if pair.token is not None and pair.lease_end <= before:
                pair.token = None
                if pair.step >= len(SCHEDULE):
                    self.bury(ref)
                else:
                    pair.status, pair.due = "pending", self.now
        self.move_up()

    def retire(self) -> None:
        for ref, pair in self.pairs.items():
            if pair.status == "pending" and self.lanes[ref.subscription_no].closed:
                self.bury(ref)
        self.move_up()

    def forget(self, stretches: Iterable[Stretch]) -> None:
        floor = key_floor(self.now - RETENTION)
        for ref, pair in self.pairs.items():
            if ref.event_key < floor and ref.event_key in self.events and pair.status == "pending":
                self.bury(ref)
        queued = {ref.event_key for ref, pair in self.pairs.items() if pair.queued}
        for key in list(self.old(stretches, floor, queued)):
            del self.events[key]
        for ref, pair in list(self.pairs.items()):
            orphan = ref.event_key not in self.events and ref.event_key not in queued
            if orphan and pair.letter in (None, "resolved"):
                del self.pairs[ref]
        self.move_up()

    def old(
        self, stretches: Iterable[Stretch], floor: int, queued: Container[int]
    ) -> Iterator[int]:
        """The events that retention takes: what is dropped whole, only in order."""
        for low, high, is_whole in stretches:
            keys = sorted(key for key in self.events if low <= key < min(high, floor))
            wanted = [key for key in keys if key in queued]
            end = wanted[0] if is_whole and wanted else high
            yield from (key for key in keys if key < end and key not in queued)
            if wanted:
                return

    def claimable(self, number: int) -> list[DeliveryRef]:
        """What a lane has to give now."""
        lane = self.lanes[number]
        if lane.closed:
            return []
        shut = lane.status != "active" or lane.hold > self.now
        horizon = HURRIED if shut else self.now
        return [
            ref
            for ref, pair in self.pairs.items()
            if (ref.subscription_no, pair.status) == (number, "pending")
            and not pair.parked
            and pair.due <= horizon
        ]


#: The events that are not forgotten.
KEPT = "events WHERE key >= (SELECT forgotten_before FROM retention)"


class StoreMachine(RuleBasedStateMachine):
    """Producers, workers, the sweep and operators, taking turns."""

    #: The attempts that are deleted with their events, not some time after.
    loose: ClassVar[str] = "attempts"

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.given = ExitStack()
        self.clock = FakeClock()
        self.world = World(self.place(), self.clock, SCHEDULE)
        self.do(self.world.open())
        self.renew_parts()
        self.model = Model(self.clock.at)
        self.claims: list[Claimed] = []
        self.made = 0

    def place(self) -> Place:
        """An empty database, which is there until the end."""
        folder = self.given.enter_context(TemporaryDirectory())
        path = Path(folder) / "ringback.db"
        path.write_bytes(migrated_file())
        return path

    def teardown(self) -> None:
        self.do(self.world.close())
        self.runner.close()
        self.given.close()

    def do(self, work: Awaitable[T]) -> T:
        async def run() -> T:
            return await work

        return self.runner.run(run())

    def choose(self, data: st.DataObject) -> DeliveryRef:
        """A delivery; those that died once are the more interesting ones."""
        lettered = sorted(ref for ref, pair in self.model.pairs.items() if pair.letter)
        every = st.sampled_from(sorted(self.model.pairs))
        return data.draw(st.sampled_from(lettered) | every if lettered else every)

    # --- subscriptions

    @initialize(ordering=st.sampled_from(["none", "operation"]))
    def begins_with_one(self, ordering: str) -> None:
        self.subscribe("*", ordering)

    @precondition(lambda self: len(self.model.lanes) < 3)
    @rule(
        pattern=st.sampled_from(["*", "A*", "COMPLETED"]),
        ordering=st.sampled_from(["none", "operation"]),
    )
    def subscribe(self, pattern: str, ordering: str) -> None:
        name = f"sub{len(self.model.lanes)}"
        made = self.do(self.world.subscribe(name, event_types=(pattern,), ordering=ordering))
        self.model.lanes[made.no] = Lane(made, pattern, ordering=ordering)

    @rule(data=st.data(), ordering=st.sampled_from(["none", "operation"]))
    def changes_ordering(self, data: st.DataObject, ordering: str) -> None:
        lane = self.model.lanes[data.draw(st.sampled_from(sorted(self.model.lanes)))]
        if not lane.deleted:
            self.do(self.world.change(lane.made, ordering=ordering))
            lane.ordering = ordering

    @rule(
        data=st.data(), status=st.sampled_from(["active", "active", "active", "paused", "disabled"])
    )
    def changes_status(self, data: st.DataObject, status: str) -> None:
        lane = self.model.lanes[data.draw(st.sampled_from(sorted(self.model.lanes)))]
        if not lane.deleted:
            self.do(self.world.set_status(lane.made, status))
            lane.status, lane.hold = status, 0

    @rule(data=st.data())
    def is_away_for_a_while(self, data: st.DataObject) -> None:
        """Disabled for long enough to lose what waits for it."""
        lane = self.model.lanes[data.draw(st.sampled_from(sorted(self.model.lanes)))]
        if not lane.deleted:
            for status in ("disabled", "active"):
                self.do(self.world.set_status(lane.made, status))
                lane.status, lane.hold = status, 0
                self.sweeps()

    @rule(data=st.data())
    def deletes(self, data: st.DataObject) -> None:
        lane = self.model.lanes[data.draw(st.sampled_from(sorted(self.model.lanes)))]
        if not lane.deleted and sum(not each.closed for each in self.model.lanes.values()) > 1:
            self.do(self.world.delete(lane.made))
            lane.deleted = True

    # --- producers

    @precondition(lambda self: len(self.model.pairs) < MANY)
    @rule(
        posts=st.lists(
            st.tuples(
                st.sampled_from(["op1", "op2", "op3"]),
                st.sampled_from(["A", "A", "AB", "B", "STARTED", "COMPLETED"]),
                st.sampled_from([None, None, "e1", "e2", "e3"]),
            ),
            min_size=1,
            max_size=4,
        )
    )
    def posts(self, posts: list[tuple[str, str, str | None]]) -> None:
        """Events, in operations of their own generation so that some can always be posted to."""
        posts = [(f"{operation}-{self.made // 12}", *rest) for operation, *rest in posts]  # type: ignore[misc]  # the rest is two
        events = [event(operation, type_, id=name) for operation, type_, name in posts]
        verdicts = self.do(self.world.post(*events))
        keys = self.do(self.world.event_keys())
        for (operation, type_, name), verdict in zip(posts, verdicts, strict=True):
            self.was_judged(operation, type_, name, verdict, keys)

    def was_judged(
        self, operation: str, type_: str, name: str | None, verdict: object, keys: dict[str, int]
    ) -> None:
        seen = [known for known in self.model.events.values() if name and known.id == name]
        log = self.model.operations.get(operation) or Log()
        if seen:
            same = (seen[0].operation, seen[0].type) == (operation, type_)
            assert isinstance(verdict, Accepted if same else Refusal)
            if isinstance(verdict, Accepted):
                assert (verdict.duplicate, verdict.sequence) == (True, seen[0].sequence)
        elif log.status in ENDS:
            assert isinstance(verdict, Refusal)
        else:
            assert isinstance(verdict, Accepted)
            assert (verdict.duplicate, verdict.sequence) == (False, log.sequence + 1)
            self.was_accepted(operation, type_, keys[verdict.id], verdict)

    def was_accepted(self, operation: str, type_: str, key: int, verdict: Accepted) -> None:
        model = self.model
        log = model.operations.setdefault(operation, Log())
        log.sequence += 1
        if type_ in ENDS:
            log.status = type_
        elif type_ == "STARTED":
            log.status = "PROCESSING"
        assert verdict.status == log.status
        model.events[key] = Known(verdict.id, operation, type_, log.sequence)
        model.accepted += 1
        self.made += 1
        for number, lane in model.lanes.items():
            if not lane.closed and matches(lane.pattern, type_):
                model.make(DeliveryRef(key, number), operation)

    # --- workers

    @rule(quota=st.integers(1, 5))
    def claims_some(self, quota: int) -> None:
        model = self.model
        wanted = {number: model.claimable(number) for number in model.lanes}
        due = self.do(self.world.sweep.due_lanes())
        assert set(due) == {number for number, refs in wanted.items() if refs}

        quotas = [LaneQuota(number, quota) for number in model.lanes]
        claim = self.do(self.world.deliver.claim(quotas, LEASE))

        got = Counter(each.ref.subscription_no for each in claim.deliveries)
        assert got == Counter({n: min(quota, len(refs)) for n, refs in wanted.items() if refs})
        latest = {
            n: max((model.pairs[r].due for r in self.taken(claim.deliveries, n)), default=0)
            for n in wanted
        }
        for each in claim.deliveries:
            self.was_claimed(each, wanted[each.ref.subscription_no])
        for number, refs in wanted.items():  # the oldest due came first
            left = [model.pairs[ref].due for ref in refs if model.pairs[ref].token is None]
            assert all(latest[number] <= at for at in left)

    def taken(self, deliveries: Iterable[Claimed], number: int) -> list[DeliveryRef]:
        return [each.ref for each in deliveries if each.ref.subscription_no == number]

    def was_claimed(self, claimed: Claimed, wanted: list[DeliveryRef]) -> None:
        assert claimed.ref in wanted
        pair = self.model.pairs[claimed.ref]
        if pair.chain is not None:
            chain = (claimed.ref.subscription_no, pair.chain)
            assert claimed.ref.event_key >= self.model.turns.get(chain, 0)
            self.model.turns[chain] = claimed.ref.event_key
        pair.status, pair.token = "delivering", claimed.token
        pair.attempts, pair.step = pair.attempts + 1, pair.step + 1
        pair.lease_end = self.model.now + LEASE
        assert (claimed.attempt, claimed.step) == (pair.attempts, pair.step)
        self.claims.append(claimed)

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(), results=st.lists(st.sampled_from(sorted(OUTCOMES)), min_size=1, max_size=4)
    )
    def settles(self, data: st.DataObject, results: list[str]) -> None:
        """Any claims, in any order, those that lost their lease among them."""
        chosen = data.draw(st.permutations(self.claims))[: len(results)]
        settlements = [
            self.world.settlement(claimed, OUTCOMES[name]())
            for claimed, name in zip(chosen, results, strict=False)
        ]
        self.was_settled(settlements)

    def was_settled(self, settlements: list[Settlement]) -> None:
        settled = self.do(self.world.deliver.settle(settlements))

        current = [each for each in settlements if self.is_current(each.claimed)]
        assert settled.late == len(settlements) - len(current)
        for each in current:
            self.model.settle(each.claimed, each)
        self.model.move_up()
        over = [each.claimed for each in settlements]
        self.claims = [each for each in self.claims if each not in over]

    def is_current(self, claimed: Claimed) -> bool:
        pair = self.model.pairs.get(claimed.ref)
        return pair is not None and pair.token == claimed.token

    @rule(result=st.sampled_from(["delivered", "failed", "failed"]))
    def works(self, result: str) -> None:
        """Claim whatever is due and settle it at once, as workers mostly do."""
        others = len(self.claims)
        self.claims_some(5)
        mine = self.claims[others:]
        self.was_settled([self.world.settlement(each, OUTCOMES[result]()) for each in mine])

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def gives_back(self, data: st.DataObject) -> None:
        claimed = data.draw(st.sampled_from(self.claims))
        self.do(self.world.deliver.release([claimed]))
        self.claims.remove(claimed)
        if self.is_current(claimed):
            pair = self.model.pairs[claimed.ref]
            in_hurry = claimed.trigger is Trigger.MANUAL
            pair.status, pair.token = "pending", None
            pair.due = HURRIED if in_hurry else self.model.now
            pair.attempts, pair.step = pair.attempts - 1, pair.step - 1

    @rule()
    def crashes(self) -> None:
        """Whatever was claimed is lost; results never come."""
        self.claims = []
        self.do(self.world.crash())
        self.model.lose_leases(2**62)

    # --- time and the sweep

    @rule(ms=st.sampled_from([1, 5_000, 31_000]))
    def time_passes(self, ms: int) -> None:
        self.clock.advance(ms)
        self.model.now += ms

    @rule()
    def sweeps(self) -> None:
        self.do(self.until_nothing_is_left(lambda: self.world.sweep.reclaim(SCHEDULE)))
        self.model.lose_leases(self.model.now)
        self.do(self.until_nothing_is_left(self.world.sweep.unpark))
        self.model.unpark()
        self.do(self.until_nothing_is_left(self.world.sweep.retire))
        self.model.retire()

    @rule(ms=st.sampled_from([1, RETENTION // 2, RETENTION + 1, DAY + RETENTION]))
    def forgets(self, ms: int) -> None:
        self.time_passes(ms)
        self.do(self.until_nothing_is_left(lambda: self.world.sweep.forget(RETENTION)))
        self.model.forget(self.do(self.stretches()))
        self.renew_parts()
        self.claims = [each for each in self.claims if each.ref in self.model.pairs]

    def renew_parts(self) -> None:
        self.do(self.until_nothing_is_left(lambda: self.world.sweep.renew_parts(RETENTION)))

    async def stretches(self) -> list[Stretch]:
        async with self.world.database.read() as tx:
            return await tx.stretches(schema.events)

    async def until_nothing_is_left(self, work: Callable[[], Awaitable[object]]) -> None:
        while await work():
            pass

    # --- operators

    @precondition(lambda self: self.model.pairs)
    @rule(data=st.data(), trigger=st.sampled_from([Trigger.REPLAY, Trigger.MANUAL]))
    def replays_one(self, data: st.DataObject, trigger: Trigger) -> None:
        ref = self.choose(data)
        pair, closed = self.model.pairs[ref], self.model.lanes[ref.subscription_no].closed

        done = self.do(self.world.replay.replay_one("default", ref, trigger, "key_test"))

        if trigger is Trigger.REPLAY:
            possible = pair.letter == "open" and not closed
        else:
            possible = pair.status == "pending" or (not pair.queued and not closed)
        assert (done == ref) == possible, done
        if possible and pair.queued:
            pair.due = HURRIED
            if pair.parked:  # out of turn on request: nothing waits for it
                pair.parked, pair.chain = False, None
        elif possible:
            self.model.reopen(ref, trigger)

    @precondition(lambda self: self.model.pairs)
    @rule(data=st.data())
    def cancels_one(self, data: st.DataObject) -> None:
        ref = self.choose(data)
        pair = self.model.pairs[ref]

        done = self.do(self.world.replay.cancel_delivery("default", ref, "key_test"))

        assert (done is DeliveryStatus.CANCELLED) == pair.queued
        if pair.queued:
            pair.status, pair.token, pair.parked = "cancelled", None, False
            self.model.move_up()
            pair.letter = "open" if pair.letter == "replaying" else pair.letter

    @precondition(lambda self: any(each.letter for each in self.model.pairs.values()))
    @rule(data=st.data())
    def discards_one(self, data: st.DataObject) -> None:
        lettered = sorted(ref for ref, pair in self.model.pairs.items() if pair.letter)
        ref = data.draw(st.sampled_from(lettered))
        pair = self.model.pairs[ref]

        refused = self.do(self.world.replay.discard("default", ref, "key_test"))

        assert (refused is not None) == pair.queued
        if not pair.queued:
            pair.letter, pair.replays, pair.discarded = None, 0, True
            if ref.event_key not in self.model.events:
                del self.model.pairs[ref]
                self.claims = [each for each in self.claims if each.ref != ref]

    @rule(limit=st.integers(1, 3), dies=st.booleans(), dry_run=st.booleans())
    def replays_dead_letters(self, limit: int, *, dies: bool, dry_run: bool) -> None:
        self.lets_none_die_meanwhile(dies=dies)
        wanted = [
            ref
            for ref, pair in self.model.pairs.items()
            if pair.letter == "open" and not self.model.lanes[ref.subscription_no].closed
        ]
        plan = {"dry_run": dry_run}

        assert self.replays_many(plan, limit, dies=dies) == len(wanted)

        for ref in () if dry_run else wanted:
            self.model.reopen(ref)

    @rule(
        data=st.data(),
        limit=st.integers(1, 3),
        dies=st.booleans(),
        only=st.sampled_from(["missing", "all"]),
    )
    def replays_events(self, data: st.DataObject, limit: int, only: str, *, dies: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.model.lanes)))
        self.lets_none_die_meanwhile(dies=dies)
        wanted = self.replayable(number, only)

        plan = {"subscription_no": number, "only": only}
        assert self.replays_many(plan, limit, dies=dies) == len(wanted)

        for ref in wanted:
            if ref in self.model.pairs:
                self.model.reopen(ref)
            else:
                self.model.pairs[ref] = Pair(due=self.model.now)

    def lets_none_die_meanwhile(self, *, dies: bool) -> None:
        """What dies of the crash in the middle of a replay may be one more to replay."""
        if dies:
            self.crashes()

    def replayable(self, number: int, only: str) -> list[DeliveryRef]:
        lane = self.model.lanes[number]
        if lane.closed:
            return []
        refs = [
            DeliveryRef(key, number)
            for key, known in self.model.events.items()
            if matches(lane.pattern, known.type)
        ]
        finished = [r for r in refs if r in self.model.pairs and not self.model.pairs[r].queued]
        missing = [ref for ref in refs if ref not in self.model.pairs]
        return missing + finished if only == "all" else missing

    def replays_many(self, members: dict[str, Any], limit: int, *, dies: bool) -> int:
        """Carry a bulk replay through, the process dying once if it ``dies``."""
        world = self.world
        operation = world.replay_operation(
            f"replay{self.do(world.accept.pending())}-{world.keys.next(self.model.now)}"
        )
        plan = world.plan(until=self.model.now + 10**9, **members)
        run = self.do(world.replay.start_replay(operation, plan, "key_test"))
        assert isinstance(run, ReplayRun)
        finished = False
        while not finished:
            step = self.do(world.replay.step_replay(run, limit))
            assert step.run.replayed - run.replayed <= limit
            run, finished = step.run, step.finished
            if dies:
                dies = False
                self.crashes()
                if not finished:
                    (run,) = self.do(world.replay.running_replays())
        self.do(world.replay.finish_replay(run))
        return run.replayed

    # --- what must always hold

    @invariant()
    def every_pair_is_in_exactly_one_place(self) -> None:
        queue = self.rows(
            "event_key, subscription_no, attempts, step, token, due_at", "delivery_queue"
        )
        ended = self.rows("event_key, subscription_no, attempts, status", "deliveries")
        refs = [DeliveryRef(*row[:2]) for row in (*queue, *ended)]
        assert len(set(refs)) == len(refs)
        assert set(refs) == set(self.model.pairs)
        for event_key, number, attempts, step, token, due_at in queue:
            pair = self.model.pairs[DeliveryRef(event_key, number)]
            assert (attempts, step, token) == (pair.attempts, pair.step, pair.token)
            assert pair.status == ("pending" if token is None else "delivering")
            due = pair.due + (NEVER if pair.parked else 0)
            assert due_at == (due if token is None else pair.lease_end)
        for event_key, number, attempts, status in ended:
            pair = self.model.pairs[DeliveryRef(event_key, number)]
            assert (status, attempts) == (pair.status, pair.attempts)

    @invariant()
    def of_each_chain_the_first_may_go_and_no_other(self) -> None:
        chains: dict[tuple[int, int], list[int]] = {}
        for _, number, operation, due_at in self.rows(
            "event_key, subscription_no, operation_key, due_at", "delivery_queue"
        ):
            if operation is not None:
                chains.setdefault((number, operation), []).append(due_at)
        for first, *others in chains.values():
            assert first < NEVER
            assert all(due_at >= NEVER for due_at in others)

    @invariant()
    def dead_letters_are_those_of_the_dead(self) -> None:
        letters = {
            DeliveryRef(*row[:2]): row[2:]
            for row in self.rows("event_key, subscription_no, state, replays", "dead_letters")
        }
        wanted = {ref: (p.letter, p.replays) for ref, p in self.model.pairs.items() if p.letter}
        assert letters == wanted
        for pair in self.model.pairs.values():
            if pair.status == "dead":
                assert pair.letter == "open" or pair.discarded
            if pair.queued:
                assert pair.letter != "open"
            if pair.status == "delivered":
                assert pair.letter in (None, "resolved")

    @invariant()
    def attempts_are_numbered_without_gaps(self) -> None:
        numbers: dict[DeliveryRef, list[int]] = {}
        for event_key, subscription_no, number in self.rows(
            "event_key, subscription_no, number", "attempts"
        ):
            numbers.setdefault(DeliveryRef(event_key, subscription_no), []).append(number)
        for ref, pair in self.model.pairs.items():
            closed = pair.attempts - (pair.token is not None)
            assert numbers.pop(ref, []) == list(range(1, closed + 1))
        left = {DeliveryRef(*row) for row in self.rows("event_key, subscription_no", self.loose)}
        assert left <= self.model.pairs.keys()

    @invariant()
    def the_log_has_no_gaps(self) -> None:
        columns = "key, operation_id, sequence, type, id, feed_position"
        told, rows = (
            self.rows(columns, f"{KEPT} AND operation_id IS {which}")
            for which in ("NULL", "NOT NULL")
        )
        known = {
            key: (each.operation, each.sequence, each.type, each.id)
            for key, each in self.model.events.items()
        }
        assert {row[0]: row[1:5] for row in rows} == known
        positions = [row[5] for row in sorted([*rows, *told])]
        assert positions == sorted(positions)
        assert len(set(positions)) == len(positions)
        ((feed,),) = self.rows("feed_position", "tenants")
        # what is told of deaths has its places too, and goes to nobody here: bare stars
        assert feed >= max([self.model.accepted, *positions])
        assert dict(self.rows("id, sequence", "operations WHERE type IS NULL")) == {
            name: log.sequence for name, log in self.model.operations.items()
        }

    def rows(self, columns: str, source: str) -> list[Any]:
        async def read() -> list[Any]:
            async with self.world.database.read() as tx:
                return await tx.sql(f"SELECT {columns} FROM {source}")  # noqa: S608  words of this file

        return sorted(self.do(read()), key=lambda row: row[:2])


class ServerMachine(StoreMachine):
    """The same on PostgreSQL."""

    databases: ClassVar[Databases]
    loose: ClassVar[str] = "attempts WHERE tableoid::regclass::text !~ '[0-9]$'"

    def place(self) -> Place:
        return self.given.enter_context(self.databases.database())


@pytest.fixture(scope="module", autouse=True)
def server(databases: Databases) -> Iterator[None]:
    ServerMachine.databases = databases
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parting, "AHEAD", DAY)  # most of the time would go into making parts
        yield


def tried(examples: int) -> settings:
    return settings(
        max_examples=round(examples * EFFORT),
        derandomize=EFFORT == 1,  # the same tries at every change; more and other ones on request
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


TestStore = StoreMachine.TestCase
TestStore.settings = tried(40)
TestStoreOnPostgres = ServerMachine.TestCase
TestStoreOnPostgres.settings = tried(12)
