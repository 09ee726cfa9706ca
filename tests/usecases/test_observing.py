"""How the queue stands: looked at anew where that is cheap, else now and then."""

import asyncio

import pytest

from service.domain.traffic import Gauges
from service.ports import Backlog, Percentiles, ServiceStats, StoreUnavailableError
from service.usecases.observing import Observe
from service.usecases.sweep import Rounds
from tests.support.clock import FakeClock

pytestmark = pytest.mark.anyio


class ScriptedQueue:
    """A queue whose count takes a while; ``looks`` counts the counts."""

    def __init__(self, clock: FakeClock, cost: int) -> None:
        self.clock = clock
        self.cost = cost
        self.looks = 0
        self.fault: Exception | None = None

    async def backlog(self) -> Backlog:
        if self.fault is not None:
            raise self.fault
        await asyncio.sleep(0)
        self.looks += 1
        self.clock.advance(self.cost)
        return Backlog(self.looks, 0, 0, 0)

    async def queue_age(self) -> int:
        return 7

    async def service_stats(self) -> ServiceStats:
        return ServiceStats(5, 0.0, 0.0, Percentiles(None, None), 3, 0)

    async def subscription_stats(self, subscription_no: int) -> None:
        raise AssertionError(subscription_no)


def observing(cost: int) -> tuple[ScriptedQueue, Observe]:
    clock = FakeClock()
    queue = ScriptedQueue(clock, cost)
    return queue, Observe(queue, queue, clock)  # type: ignore[arg-type]  # one of its reads is not asked


async def test_a_cheap_look_is_taken_whenever_somebody_asks() -> None:
    _, observe = observing(cost=1)

    seen = [await observe.standing() for _ in range(3)]

    assert [each.backlog.open for each in seen if each] == [1, 2, 3]
    assert seen[0] is not None
    assert (seen[0].queue_age, seen[0].circuits_open) == (7, 3)


async def test_whoever_asks_never_pays_for_a_dear_look() -> None:
    queue, observe = observing(cost=70)
    await observe.standing()

    for _ in range(5):
        await observe.standing()
        queue.clock.advance(15_000)

    assert queue.looks == 1


@pytest.mark.parametrize(("cost", "looks"), [(1, 50), (70, 25), (1_000, 2)])
async def test_the_sweeper_spends_a_small_share_of_its_time_on_looks(cost: int, looks: int) -> None:
    queue, observe = observing(cost)
    rounds = Rounds(queue.clock, [observe.chore()])
    began = queue.clock.now()

    while queue.clock.now() - began < 100_000:
        await rounds.tick()
        queue.clock.advance(1_000)

    assert 1 <= queue.looks <= looks
    assert queue.looks >= looks // 2


async def test_what_was_seen_outlives_the_store() -> None:
    queue, observe = observing(cost=1)
    queue.fault = StoreUnavailableError("away")
    assert await observe.standing() is None
    queue.fault = None
    seen = await observe.standing()
    queue.fault = StoreUnavailableError("away")

    assert await observe.standing() is seen


class Kept:
    """Looks that were kept."""

    def __init__(self) -> None:
        self.samples: list[Gauges] = []

    async def sample(self, gauges: Gauges) -> None:
        self.samples.append(gauges)


async def test_every_minute_keeps_a_look_and_none_is_taken_for_it() -> None:
    queue, observe = observing(cost=1)
    kept = Kept()
    keeping = observe.keeping(kept)  # type: ignore[arg-type]  # of its three only this is asked
    rounds = Rounds(queue.clock, [keeping])
    await rounds.tick()
    assert kept.samples == []  # before anything was seen
    await observe.standing()

    minutes = set()
    began = queue.clock.now()
    while queue.clock.now() - began < 600_000:
        had = len(kept.samples)
        await rounds.tick()
        if len(kept.samples) > had:
            minutes.add(queue.clock.now() // 60_000)
        queue.clock.advance(1_100)

    assert queue.looks == 1
    assert set(kept.samples) == {Gauges(5, 0, 0, 0)}
    assert len(kept.samples) <= 21
    assert len(minutes) >= 10
