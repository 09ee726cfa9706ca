"""Bulk replays carried through: their rate, their events, and what a crash leaves behind."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from service.domain.delivery import Trigger
from service.domain.event import own_event
from service.domain.ids import DeliveryRef
from service.domain.operation import REPLAY_TYPE
from service.ports import Principal, ReplayPlan, ReplayRun, ReplayStep, StoreUnavailableError
from service.pubsub import InProcessBackplane
from service.store import bulk_replay, schema
from service.store.replaying import ReplayStore
from service.usecases import replay as replay_module
from service.usecases.accept import Accept
from service.usecases.replay import Replays
from tests.support.dice import SeededDice
from tests.support.sending import PATIENCE, Wakes
from tests.support.world import World, event

pytestmark = pytest.mark.anyio

WHO = Principal("key_test", "default", frozenset())


class FaultyStore(ReplayStore):
    """The real store, apart from what is told to fail."""

    finish_faults = 0
    broken = ""
    #: What is done after each step.
    after_step: Callable[[], None] = staticmethod(lambda: None)

    async def step_replay(self, run: ReplayRun, limit: int) -> ReplayStep:
        if run.operation.id == self.broken:
            raise ValueError("a bug")
        step = await super().step_replay(run, limit)
        self.after_step()
        return step

    async def finish_replay(self, run: ReplayRun) -> None:
        if self.finish_faults:
            self.finish_faults -= 1
            raise StoreUnavailableError("away")
        await super().finish_replay(run)


class Turns:
    """Lets :meth:`Replays.run` go round once each time it is asked to."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.wakes = Wakes()
        self.store = FaultyStore(world.database, world.keys)
        accept = Accept(world.accept, self.wakes, InProcessBackplane())
        chance = (world.clock, SeededDice())
        self.replays = Replays(self.store, accept, self.wakes, world.keys, chance)
        self.waits: list[float] = []
        self._done, self._go = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._done.set()
        await self._go.wait()
        self._go.clear()

    async def turn(self, ms: int = 0) -> None:
        """Go round once, ``ms`` later."""
        self.world.clock.advance(ms)
        self._done.clear()
        if self._task is None:
            self._task = asyncio.create_task(self.replays.run())
        else:
            self._go.set()
        async with asyncio.timeout(PATIENCE):
            await self._done.wait()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def start(self, plan: ReplayPlan) -> str:
        run = await self.replays.start(WHO, plan)
        assert isinstance(run, ReplayRun)
        return run.operation.id

    # --- what can be seen

    async def replayed(self) -> int:
        return len(await self.world.rows(schema.delivery_queue))

    async def events(self) -> list[dict[str, Any]]:
        rows = await self.world.rows(schema.events, operation_type=REPLAY_TYPE)
        return [json.loads(row["body"]) for row in rows]

    async def types(self) -> list[str]:
        return [each["type"] for each in await self.events()]

    async def finished(self) -> bool:
        return await self.store.running_replays() == []


@pytest.fixture
async def turns(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Turns]:
    turns = Turns(world)
    monkeypatch.setattr(Replays, "_pause", lambda _, seconds: turns.pause(seconds))
    yield turns
    await turns.stop()


async def dead(world: World, count: int, name: str = "sub") -> list[DeliveryRef]:
    lane = await world.subscribe(name)
    refs = await world.queued(lane, count)
    await world.exhaust()
    return refs


async def test_a_bulk_replay_is_an_operation_with_events(world: World, turns: Turns) -> None:
    refs = await dead(world, 7)
    watcher = await world.subscribe("watcher", operation_types=(REPLAY_TYPE,))
    name = await turns.start(world.plan())

    await turns.turn()

    assert await turns.replayed() == 7 + 2  # and the replay's own two events for its watcher
    assert turns.wakes.lanes == {refs[0].subscription_no, watcher.no}
    started, completed = await turns.events()
    assert (started["type"], started["operationId"], started["sequence"]) == ("STARTED", name, 1)
    assert completed["type"] == "COMPLETED"
    assert completed["progress"] == {"current": 7, "total": 7, "percentage": 100.0}
    assert completed["result"] == {"matched": 7, "replayed": 7, "skipped": 0, "dryRun": False}
    assert await turns.finished()
    await turns.turn()
    assert len(await turns.events()) == 2


async def test_what_never_was_is_counted_first_so_that_it_is_known_how_far_it_is(
    world: World, turns: Turns
) -> None:
    await world.posted(*(event(f"op-{number}") for number in range(4)))
    lane = await world.subscribe("late")
    plan = world.plan(only="missing", subscription_no=lane.no, rate_per_second=1)
    await turns.start(plan)

    await turns.turn()
    await turns.turn(1_000)

    (_, update) = await turns.events()
    assert update["progress"] == {"current": 2, "total": 4, "percentage": 50.0}
    while not await turns.finished():
        await turns.turn(1_000)
    completed = (await turns.events())[-1]
    assert completed["progress"] == {"current": 4, "total": 4, "percentage": 100.0}
    assert completed["result"] == {"matched": 4, "replayed": 4, "skipped": 0, "dryRun": False}


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("many", [0, 3])
async def test_at_its_end_it_is_all_done_whatever_was_known_before(
    world: World, turns: Turns, monkeypatch: pytest.MonkeyPatch, many: int, *, dry_run: bool
) -> None:
    await world.posted(*(event(f"op-{number}") for number in range(many)))
    lane = await world.subscribe("late")
    monkeypatch.setattr(bulk_replay, "MOST_LOOKS", 0)
    await turns.start(
        world.plan(only="missing", subscription_no=lane.no, dry_run=dry_run, rate_per_second=1)
    )

    while not await turns.finished():
        await turns.turn(1_000)

    started, *updates, completed = await turns.events()
    assert started["type"] == "STARTED"
    assert all(each["progress"].keys() == {"current"} for each in updates)
    assert completed["progress"] == {"current": many, "total": many, "percentage": 100.0}


async def test_what_was_gone_before_its_turn_leaves_no_part_of_the_bar_empty(
    world: World, turns: Turns
) -> None:
    refs = await dead(world, 3)
    await turns.start(world.plan())
    await world.replay.discard("default", refs[0], "key_test")

    await turns.turn()

    completed = (await turns.events())[-1]
    assert completed["progress"] == {"current": 2, "total": 2, "percentage": 100.0}
    assert completed["result"] == {"matched": 3, "replayed": 2, "skipped": 0, "dryRun": False}


async def test_no_more_is_replayed_than_the_rate_allows(world: World, turns: Turns) -> None:
    await dead(world, 40)
    await turns.start(world.plan(rate_per_second=5))
    started = world.clock.now()
    await turns.turn()
    seen = [(0, await turns.replayed())]

    while not await turns.finished():
        await turns.turn(100)
        seen.append((world.clock.now() - started, await turns.replayed()))

    assert all(count <= 1 + 5 * elapsed / 1000 for elapsed, count in seen)
    assert seen[-1][1] == 40
    assert seen[-1][0] <= 8_000 + 200  # and it is not much slower either
    assert set(turns.waits[:-1]) == {0.1}
    assert turns.waits[-1] == 1.0


async def test_a_pause_does_not_save_up_for_more_than_a_second(world: World, turns: Turns) -> None:
    await dead(world, 40)
    await turns.start(world.plan(rate_per_second=5))
    await turns.turn()

    await turns.turn(60_000)

    assert await turns.replayed() == 1 + 5


@pytest.mark.parametrize("rate", [0.5, 1])
async def test_a_rate_may_be_slow(world: World, turns: Turns, rate: float) -> None:
    await dead(world, 3)
    await turns.start(world.plan(rate_per_second=rate))
    counts = []
    for _ in range(9):
        await turns.turn(500)
        counts.append(await turns.replayed())

    step = round(2 / rate)
    assert counts == [min(1 + n // step, 3) for n in range(9)]


async def test_progress_is_told_once_a_second_at_most(world: World, turns: Turns) -> None:
    await dead(world, 30)
    await turns.start(world.plan(rate_per_second=10))
    while not await turns.finished():
        await turns.turn(100)

    events = await turns.events()
    updates = [each for each in events if each["type"] == "STATUS_UPDATE"]
    rows = await world.rows(schema.events, type="STATUS_UPDATE")
    times = [row["created_at"] for row in rows]
    assert 2 <= len(updates) <= 3
    assert all(after - before >= 1_000 for before, after in pairwise(times))
    told = [each["progress"]["current"] for each in updates]
    assert told == sorted(told)
    assert {each["progress"]["total"] for each in updates} == {30}


async def test_one_that_finds_little_among_much_leaves_others_their_turn(
    world: World, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_replay, "LOOKED", 1)
    turns.store.after_step = lambda: world.clock.advance(400)
    await world.posted(*(event(f"op{n}") for n in range(20)))
    long = await world.subscribe("long", event_types=("none",))
    short = await world.subscribe("short")
    await turns.start(world.plan(only="missing", subscription_no=long.no))
    world.clock.advance(10)
    later = world.plan(only="missing", subscription_no=short.no, since=world.clock.now())
    other = await turns.start(later)

    await turns.turn()

    assert await turns.types() == ["STARTED", "STARTED", "COMPLETED"]
    assert (await turns.events())[-1]["operationId"] == other
    while not await turns.finished():
        await turns.turn()
    *updates, last = (await turns.types())[3:]
    assert set(updates) == {"STATUS_UPDATE"}  # it is still at work
    assert last == "COMPLETED"


async def test_a_crash_between_the_last_event_and_the_note_is_repaired(
    world: World, turns: Turns
) -> None:
    await dead(world, 2)
    await turns.start(world.plan())
    turns.store.finish_faults = 1
    await turns.turn()
    assert await turns.types() == ["STARTED", "COMPLETED"]
    assert not await turns.finished()
    await turns.stop()
    await world.crash()
    after = Turns(world)

    replays = after.replays
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(replays), "_pause", lambda _, seconds: after.pause(seconds))
        await after.turn()

    assert await after.types() == ["STARTED", "COMPLETED"]
    assert await after.finished()
    assert await after.replayed() == 2
    await after.stop()


async def test_a_store_that_is_away_for_a_moment_only_delays_the_end(
    world: World, turns: Turns
) -> None:
    await dead(world, 2)
    await turns.start(world.plan())
    turns.store.finish_faults = 2

    for _ in range(3):
        await turns.turn(1_000)

    assert await turns.types() == ["STARTED", "COMPLETED"]
    assert await turns.finished()


async def test_a_cancelled_replay_stops(world: World, turns: Turns) -> None:
    await dead(world, 10)
    name = await turns.start(world.plan(rate_per_second=2))
    await turns.turn()
    await turns.turn(1_000)
    await world.posted(own_event("CANCELLED", name, operation_type=REPLAY_TYPE))

    await turns.turn(1_000)

    assert await turns.types() == ["STARTED", "STATUS_UPDATE", "CANCELLED"]
    assert await turns.replayed() == 3
    assert await turns.finished()


async def test_a_dry_run_tells_what_it_would_do(world: World, turns: Turns) -> None:
    refs = await dead(world, 3)
    lane = await world.subscribe("closed")
    await world.queued(lane, 1)
    (claimed, *_) = [each for each in await world.claim() if each.ref.subscription_no == lane.no]
    await world.settle([claimed], 410)
    await turns.start(world.plan(dry_run=True, rate_per_second=1.0))  # to count takes no pace

    await turns.turn()

    (_, completed) = await turns.events()
    assert completed["result"] == {"matched": 4, "replayed": 0, "skipped": 1, "dryRun": True}
    assert [await world.status(ref) for ref in refs] == ["dead"] * 3
    assert {row["state"] for row in await world.rows(schema.dead_letters)} == {"open"}


async def test_a_bug_in_one_replay_does_not_stop_another(
    world: World, turns: Turns, reports: list[tuple[str, BaseException]]
) -> None:
    await dead(world, 2)
    turns.store.broken = await turns.start(world.plan())
    other = await turns.start(world.plan())

    await turns.turn()

    assert [run.operation.id for run in await turns.store.running_replays()] == [turns.store.broken]
    assert [each["operationId"] for each in await turns.events()][-1] == other
    assert [message for message, _ in reports] == ["A bulk replay failed"]
    turns.store.broken = ""
    await turns.turn(1_000)
    assert await turns.finished()


async def test_a_replay_begins_when_it_is_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_module, "_PERIOD", 3_600.0)
    await dead(world, 1)
    turns = Turns(world)
    running = asyncio.create_task(turns.replays.run())
    looked = asyncio.Event()
    plain = turns.store.running_replays

    async def look() -> list[ReplayRun]:
        found = await plain()
        looked.set()
        return found

    monkeypatch.setattr(turns.store, "running_replays", look)
    await asyncio.wait_for(looked.wait(), PATIENCE)  # it has nothing to do for an hour now
    looked.clear()
    await turns.start(world.plan())
    await asyncio.wait_for(looked.wait(), PATIENCE)

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_one_that_is_replayed_is_woken(world: World) -> None:
    (ref,) = await dead(world, 1)
    turns = Turns(world)

    assert await turns.replays.one(WHO, ref, Trigger.REPLAY) == ref
    await turns.replays.one(WHO, ref, Trigger.REPLAY)  # under way already
    await turns.replays.one(replace(WHO, tenant_id="other"), ref, Trigger.REPLAY)

    assert turns.wakes.calls == [{ref.subscription_no}]
    turns.wakes.calls.clear()
    assert await turns.replays.cancel_delivery(WHO, ref) == "cancelled"
    assert turns.wakes.calls == [{ref.subscription_no}]  # where it is ordered the next may go
    assert await turns.replays.discard(WHO, ref) is None
