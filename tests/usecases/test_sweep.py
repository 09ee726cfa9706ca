"""The sweep: what it finds, how often it looks, and that nothing stops it."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from service.ports import Backlog, StoreUnavailableError
from service.store import schema
from service.usecases import sweep as sweep_module
from service.usecases.sweep import Chore, Rounds, Sweep, Terms, due
from tests.support.clock import FakeClock
from tests.support.sending import PATIENCE, Wakes
from tests.support.world import LEASE, SCHEDULE, World, event

pytestmark = pytest.mark.anyio

DAY = 24 * 3600 * 1000
TERMS = Terms(SCHEDULE, DAY)


def sweep_of(world: World, wakes: Wakes) -> Sweep:
    return Sweep(world.sweep, wakes, world.clock, TERMS)


async def test_what_is_due_is_woken(world: World) -> None:
    wakes = Wakes()
    lane = await world.subscribe("a", retry_schedule=(10.0,))
    await world.posted(event())
    rounds = Rounds(world.clock, [due(world.sweep, wakes)])

    await rounds.tick()
    assert wakes.calls == []
    world.clock.advance(12_000)
    await rounds.tick()

    assert wakes.calls == [{lane.no}]


async def test_a_lease_that_ran_out_is_due_and_woken_in_the_same_look(world: World) -> None:
    wakes = Wakes()
    lane = await world.subscribe()
    await world.queued(lane, 1)
    await world.claim()
    world.clock.advance(LEASE)

    await sweep_of(world, wakes).tick()

    assert wakes.calls == [{lane.no}]


async def test_a_start_voids_every_lease_however_many(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 501)
    assert len(await world.claim(lane.no, quota=501)) == 501

    await sweep_of(world, Wakes()).start()

    assert len(await world.claim(lane.no, quota=600)) == 501


async def test_closed_lanes_and_old_events_are_looked_after(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 1)
    await world.delete(lane)
    sweep = sweep_of(world, Wakes())

    await sweep.tick()
    assert [row["reason"] for row in await world.rows(schema.dead_letters)] == [
        "subscription_deleted"
    ]
    world.clock.advance(DAY + 1)
    await sweep.tick()

    assert await world.rows(schema.events) == []


class ScriptedStore:
    """Counts looks; ``work`` is what retiring and forgetting still find to do."""

    def __init__(self) -> None:
        self.looks: Counter[str] = Counter()
        self.work: Counter[str] = Counter()
        self.faults: dict[str, Exception] = {}
        self.news = asyncio.Condition()

    async def look(self, name: str) -> int:
        async with self.news:
            self.looks[name] += 1
            self.news.notify_all()
        if name in self.faults:
            raise self.faults[name]
        found = min(self.work[name], 1)
        self.work[name] -= found
        return found

    async def due_lanes(self) -> list[int]:
        return [1] * await self.look("due")

    async def reclaim(self, _schedule: tuple[float, ...], *, everything: bool = False) -> list[int]:
        return [1] * await self.look("everything" if everything else "leases")

    async def unpark(self) -> list[int]:
        return [1] * await self.look("parked")

    async def retire(self) -> int:
        return await self.look("closed")

    async def forget(self, retention: int) -> int:
        assert retention == DAY
        return await self.look("old")

    async def renew_parts(self, retention: int) -> int:
        assert retention == DAY
        return await self.look("parts")

    async def backlog(self) -> Backlog:
        return Backlog(0, 0, 0, 0)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE), self.news:
            await self.news.wait_for(holds)


async def test_the_rarer_looks_have_periods_of_their_own() -> None:
    store, clock = ScriptedStore(), FakeClock()
    sweep = Sweep(store, Wakes(), clock, TERMS)

    for _ in range(61):
        await sweep.tick()
        clock.advance(1_000)

    assert store.looks == {"leases": 61, "parked": 21, "closed": 31, "parts": 2, "old": 3}


async def test_a_look_that_found_something_is_repeated_at_once() -> None:
    store, clock = ScriptedStore(), FakeClock()
    store.work = Counter(closed=5, old=3, leases=2, parked=3)
    sweep = Sweep(store, Wakes(), clock, TERMS)

    for _ in range(10):
        await sweep.tick()

    assert store.looks == {"leases": 12, "parked": 4, "closed": 6, "parts": 1, "old": 4}


@pytest.mark.parametrize("broken", ["leases", "parked", "due", "closed", "old"])
@pytest.mark.parametrize("error", [StoreUnavailableError("away"), ValueError("a bug")])
async def test_nothing_ends_the_sweep(
    monkeypatch: pytest.MonkeyPatch,
    reports: list[tuple[str, BaseException]],
    broken: str,
    error: Exception,
) -> None:
    monkeypatch.setattr(sweep_module, "_DUE", 0)
    store, clock = ScriptedStore(), FakeClock()
    store.faults[broken] = error
    chores = (due(store, Wakes()),)
    sweeping = asyncio.create_task(Sweep(store, Wakes(), clock, TERMS, chores).run())

    await store.until(lambda: min(store.looks[name] for name in ("leases", "due")) > 3)
    await store.until(lambda: min(store.looks[name] for name in ("parked", "closed", "old")) > 0)
    store.faults.clear()
    store.work["closed"] = 1
    clock.advance(60_000)
    await store.until(lambda: store.work["closed"] == 0)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)

    assert {bug for _, bug in reports} == ({error} if isinstance(error, ValueError) else set())


class Long:
    """A chore that may take long, beside one that is done in every round."""

    def __init__(self) -> None:
        self.begun = 0
        self.rounds = 0
        self.ended = 0
        self.error: Exception | None = None
        self.go_on = asyncio.Event()
        self.news = asyncio.Condition()

    async def work(self) -> int:
        await self._tell("begun")
        try:
            await self.go_on.wait()
        finally:
            self.ended += 1
        if self.error is not None:
            raise self.error
        return 0

    async def look(self) -> int:
        await self._tell("rounds")
        return 0

    async def _tell(self, what: str) -> None:
        async with self.news:
            setattr(self, what, getattr(self, what) + 1)
            self.news.notify_all()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE), self.news:
            await self.news.wait_for(holds)

    async def more_rounds(self) -> None:
        """A few rounds from now."""
        seen = self.rounds
        await self.until(lambda: self.rounds > seen + 5)

    def rounds_of(self, clock: FakeClock) -> Rounds:
        chores = (Chore("long", 60.0, self.work, is_long=True), Chore("short", 0.0, self.look))
        return Rounds(clock, chores)


async def test_no_round_waits_for_what_takes_long_and_it_ends_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep_module, "_DUE", 0)
    long, clock = Long(), FakeClock()
    rounds = long.rounds_of(clock)
    sweeping = asyncio.create_task(rounds.run())

    await long.until(lambda: long.begun == 1)
    clock.advance(600_000)
    await long.more_rounds()
    assert (long.begun, long.ended, rounds.age) == (1, 0, 0.0)  # one at a time
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)

    assert (sweeping.cancelled(), long.ended) == (True, 1)


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), ValueError("a bug")])
async def test_what_takes_long_is_tried_again_ever_later_when_it_failed(
    monkeypatch: pytest.MonkeyPatch, reports: list[tuple[str, BaseException]], error: Exception
) -> None:
    monkeypatch.setattr(sweep_module, "_DUE", 0)
    long, clock = Long(), FakeClock()
    rounds = long.rounds_of(clock)
    long.error = error
    long.go_on.set()
    sweeping = asyncio.create_task(rounds.run())

    for number, pause in enumerate((60, 240, 540, 960, 1500, 2160, 2940, 3600, 3600), 1):
        await long.until(lambda number=number: long.begun == number)  # type: ignore[misc]  # bound now
        await long.more_rounds()
        clock.advance(pause * 1000 - 1)
        await long.more_rounds()
        assert (long.begun, rounds.age) == (number, 0.0)
        clock.advance(1)
    long.error = None
    await long.until(lambda: long.begun == 10)
    await long.more_rounds()
    clock.advance(60_000)
    await long.until(lambda: long.begun == 11)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)

    assert len(reports) == (9 if isinstance(error, ValueError) else 0)


class Slow(ScriptedStore):
    """One in which the parts of tables take for ever."""

    async def renew_parts(self, retention: int) -> int:
        await super().renew_parts(retention)
        await asyncio.Event().wait()
        return 0


async def test_nothing_waits_for_the_parts_of_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "_DUE", 0)
    store, clock = Slow(), FakeClock()
    sweeping = asyncio.create_task(Sweep(store, Wakes(), clock, TERMS).run())

    await store.until(lambda: store.looks["parts"] == 1)
    seen = store.looks.copy()
    clock.advance(60_000)
    looks = ("leases", "parked", "closed", "old")
    await store.until(lambda: all(store.looks[name] > seen[name] for name in looks))
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)

    assert store.looks["parts"] == 1


async def test_what_is_only_in_memory_is_kept_at_the_end() -> None:
    done: list[str] = []

    def chore(name: str, *, keeps: bool, error: Exception | None = None) -> Chore:
        async def work() -> int:
            done.append(name)
            if error is not None:
                raise error
            return 0

        return Chore(name, 60.0, work, keeps=keeps)

    away = StoreUnavailableError("away")
    rounds = Rounds(
        FakeClock(),
        [
            chore("counts", keeps=True, error=away),
            chore("old", keeps=False),
            chore("use", keeps=True),
        ],
    )
    await rounds.finish()

    assert done == ["counts", "use"]


async def test_at_the_end_it_is_tried_again_while_others_are_in_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep_module, "_AGAIN", 0)
    left = [2, 1, 0]

    async def work() -> int:
        return left.pop(0)

    await Rounds(FakeClock(), [Chore("counts", 60.0, work, keeps=True)]).finish()

    assert left == []


async def test_the_age_of_a_round_grows_while_any_chore_fails(
    monkeypatch: pytest.MonkeyPatch, reports: list[tuple[str, BaseException]]
) -> None:
    monkeypatch.setattr(sweep_module, "_DUE", 0)
    store, clock = ScriptedStore(), FakeClock()
    sweep = Sweep(store, Wakes(), clock, TERMS)
    idle = sweep.age
    sweeping = asyncio.create_task(sweep.run())
    await store.until(lambda: store.looks["leases"] > 2)
    store.faults["leases"] = ValueError("a bug")
    seen = store.looks["leases"]
    await store.until(lambda: store.looks["leases"] > seen + 1)
    clock.advance(5_000)
    await store.until(lambda: store.looks["leases"] > seen + 3)
    failing = sweep.age
    store.faults.clear()
    seen = store.looks["leases"]
    await store.until(lambda: store.looks["leases"] > seen + 2)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)

    assert (idle, failing, sweep.age) == (None, 5.0, 0.0)
    assert reports


async def test_what_is_done_for_the_last_time_may_not_take_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    async def hang() -> int:
        await asyncio.Event().wait()
        return 0

    async def away() -> int:
        raise StoreUnavailableError("away")

    async def keep() -> int:
        done.append("kept")
        return 0

    monkeypatch.setattr(sweep_module, "_LAST", 0.05)
    works = {"hangs": hang, "away": away, "kept": keep}
    rounds = Rounds(
        FakeClock(), [Chore(name, 1.0, work, keeps=True) for name, work in works.items()]
    )

    async with asyncio.timeout(PATIENCE):
        await rounds.finish()

    assert done == ["kept"]
