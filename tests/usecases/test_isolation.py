"""One worker, many receivers: who hangs does not delay the others, who has a rate keeps it.

Time stands still and senders answer when they are told to, so that nothing here depends on speed.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from service.domain.outcome import ErrorClass, Outcome
from service.domain.subscription import Subscription
from service.usecases.compose import Composer, Wire
from service.usecases.deliver import Deliver, Pace
from tests.support.clock import FakeClock
from tests.support.dice import SeededDice
from tests.support.sending import OpenVault, ScriptedSender, Sent, WatchedStore
from tests.support.world import World, answer, event, fault, migrated_file, opened_world

pytestmark = pytest.mark.anyio

PATIENT = (0.0,) * 100
SLOTS = 768
HANGING = 50


class Worker:
    """Deliver over a real store, with as many slots as the service has."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sender = ScriptedSender()
        self.store = WatchedStore(world.deliver)
        dice = SeededDice()
        wire = Wire("Ringback/test", "http://ringback.test", 20.0)
        composer = Composer(OpenVault(), world.clock, dice, wire)
        pace = Pace(world.schedule, 30.0, slots=SLOTS)
        chance = (world.clock, dice)
        self.deliver = Deliver(self.store, self.sender, composer, chance, pace)

    async def lane(self, name: str, **members: Any) -> Subscription:  # noqa: ANN401  members of many types
        members = {"event_types": (name,), "url": f"https://{name}/", **members}
        return await self.world.subscribe(name, **members)

    async def post(self, name: str, count: int) -> None:
        await self.world.posted(*(event(f"{name}-{n}", name) for n in range(count)))

    async def serve(self, *lanes: Subscription) -> None:
        await self.deliver.serve([lane.no for lane in lanes])

    def sent_to(self, name: str) -> list[Sent]:
        return [each for each in self.sender.sent if each.url == f"https://{name}/"]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    path = tmp_path / "ringback.db"
    path.write_bytes(migrated_file())
    async with opened_world(path, FakeClock(), PATIENT, breaker=True) as world:
        yield world


@pytest.fixture
async def worker(world: World) -> AsyncIterator[Worker]:
    worker = Worker(world)
    yield worker
    await worker.deliver.stop(0)


async def hang(worker: Worker, names: list[str], backlog: int) -> list[Subscription]:
    lanes = [await worker.lane(name) for name in names]
    for name in names:
        worker.sender.hold(f"https://{name}/")
        await worker.post(name, backlog)
    return lanes


async def test_fifty_lanes_that_hang_with_a_backlog_do_not_delay_a_healthy_one(
    worker: Worker,
) -> None:
    healthy = await worker.lane("healthy")
    hanging = await hang(worker, [f"hanging{n}" for n in range(HANGING)], 20)
    await worker.serve(*hanging)
    await worker.sender.wait_for(HANGING * 4)
    assert worker.deliver.in_flight == HANGING * 4

    for _ in range(5):  # it is served at once each time, and all of it
        await worker.post("healthy", 40)
        await worker.serve(healthy)
        await worker.store.until(lambda: not worker.sender.in_flight["https://healthy/"])
    await worker.store.wait_for(200)

    assert len(worker.sent_to("healthy")) == 200
    assert max(worker.sender.most[f"https://hanging{n}/"] for n in range(HANGING)) == 4
    assert worker.deliver.allowed(healthy.no) > 4


async def test_more_lanes_that_hang_than_there_are_slots_do_not_delay_one_that_answers(
    worker: Worker,
) -> None:
    healthy = await worker.lane("healthy")
    await worker.post("healthy", 1)
    await worker.serve(healthy)
    await worker.store.wait_for(1)
    hanging = await hang(worker, [f"hanging{n}" for n in range(200)], 4)
    await worker.serve(*hanging)
    await worker.sender.wait_for(1 + SLOTS * 3 // 4)
    assert worker.deliver.in_flight == SLOTS * 3 // 4

    await worker.post("healthy", 40)
    await worker.serve(healthy)
    await worker.store.wait_for(41)

    assert len(worker.sent_to("healthy")) == 41
    assert worker.deliver.in_flight == SLOTS * 3 // 4


async def test_one_url_that_hangs_is_one_receiver_however_many_lanes_lead_there(
    worker: Worker,
) -> None:
    """As it is when each operation has a webhook of its own; healthy ones are as new."""
    dead, there = "https://dead/", "https://there/"
    known = await worker.lane("known", url=there)
    await worker.post("known", 1)
    await worker.serve(known)
    await worker.store.wait_for(1)
    worker.sender.hold(dead)
    for name in (f"dead{n}" for n in range(200)):
        hanging = await worker.lane(name, url=dead)
        await worker.post(name, 4)
        await worker.serve(hanging)
    assert worker.sender.in_flight[dead] == 4

    for name in (f"there{n}" for n in range(20)):
        healthy = await worker.lane(name, url=there)
        await worker.post(name, 4)
        await worker.serve(healthy)
    await worker.store.wait_for(81)

    assert worker.deliver.in_flight == 4
    worker.sender.let_go(dead)
    await worker.store.wait_for(881)
    assert worker.sender.most[dead] <= SLOTS


async def test_who_was_asked_for_by_hand_and_goes_back_is_still_in_a_hurry(
    worker: Worker,
) -> None:
    """There is no room at its URL for now; then it does not wait for the hold of its lane."""
    url = "https://full/"
    late = await worker.lane("late", url=url)
    await worker.post("late", 1)
    hold, now = "UPDATE subscriptions SET hold_until = ? WHERE no = ?", worker.world.clock.now()
    await worker.world.sql(hold, now + 3_600_000, late.no)
    await worker.world.sql("UPDATE delivery_queue SET due_at = 1, trigger = 'manual'")
    worker.sender.hold(url)
    others = [await worker.lane(f"early{n}", url=url) for n in range(4)]
    for n in range(4):
        await worker.post(f"early{n}", 1)

    await worker.serve(*others, late)
    await worker.sender.wait_for(4)
    assert len(worker.store.released) == 1
    worker.sender.let_go(url)
    await worker.store.wait_for(5)

    assert len(worker.sender.sent) == 5


async def test_lanes_that_hang_every_other_time_do_not_delay_one_that_answers(
    worker: Worker,
) -> None:
    healthy = await worker.lane("healthy")
    await worker.post("healthy", 1)
    await worker.serve(healthy)
    await worker.store.wait_for(1)
    names = [f"flapping{n}" for n in range(150)]
    lanes = [await worker.lane(name) for name in names]
    asked = Counter[str]()

    def flap(sent: Sent) -> Outcome:
        asked[sent.url] += 1
        hangs = "flapping" in sent.url and asked[sent.url] % 2
        return fault(ErrorClass.TIMEOUT) if hangs else answer(200)

    worker.sender.script = flap
    for name in names:
        await worker.post(name, 3)
    await worker.serve(*lanes)
    settled = 1 + 6 * len(names)  # of each lane's three, asked for by turns, three hang once
    await worker.store.wait_for(settled)
    for name in names:  # some answered last, some failed; now all of them hang
        worker.sender.hold(f"https://{name}/")
        await worker.post(name, 10)
    await worker.serve(*lanes)

    await worker.post("healthy", 40)
    await worker.serve(healthy)
    await worker.store.wait_for(settled + 40)

    assert len(worker.sent_to("healthy")) == 41
    assert SLOTS // 2 < worker.deliver.in_flight <= SLOTS * 3 // 4


async def test_lanes_that_did_well_and_then_hang_leave_room_as_well(worker: Worker) -> None:
    names = [f"busy{n}" for n in range(12)]
    lanes = [await worker.lane(name) for name in names]
    healthy = await worker.lane("healthy")
    for name in names:
        await worker.post(name, 200)
    await worker.serve(*lanes)
    await worker.store.wait_for(12 * 200)
    assert max(worker.deliver.allowed(lane.no) for lane in lanes) > 16
    for name in names:
        worker.sender.hold(f"https://{name}/")
        await worker.post(name, 100)
    await worker.serve(*lanes)

    await worker.post("healthy", 50)
    await worker.serve(healthy)
    await worker.store.wait_for(12 * 200 + 50)

    assert len(worker.sent_to("healthy")) == 50
    assert worker.deliver.in_flight <= SLOTS // 2 + 12 * 4


async def test_what_times_out_gets_less_and_less_and_then_waits(worker: Worker) -> None:
    lane = await worker.lane("slow")
    worker.sender.script = lambda _: fault(ErrorClass.TIMEOUT)
    await worker.post("slow", 100)

    await worker.serve(lane)
    await worker.store.wait_for(10)
    await worker.store.until(lambda: not worker.deliver.in_flight)

    # ten attempts, and what was in flight beside the tenth: then the circuit is open
    assert 10 <= len(worker.sender.sent) <= 14
    assert worker.deliver.allowed(lane.no) == 2
    await worker.serve(lane)
    assert 10 <= len(worker.sender.sent) <= 14


async def test_after_a_recovery_one_two_four_are_in_flight(worker: Worker) -> None:
    lane = await worker.lane("back")
    worker.sender.script = lambda _: fault(ErrorClass.TIMEOUT)
    await worker.post("back", 60)
    await worker.serve(lane)
    await worker.store.wait_for(10)
    await worker.store.until(lambda: not worker.deliver.in_flight)
    failed = len(worker.sender.sent)
    worker.world.clock.advance(30_000)
    worker.sender.script = lambda _: answer(200)
    worker.sender.hold("https://back/")

    seen: list[int] = []
    await worker.serve(lane)
    for wanted in (1, 1, 2, 4, 8):  # the probe first
        await worker.sender.wait_for(failed + sum(seen) + wanted)
        assert worker.sender.in_flight["https://back/"] == wanted
        seen.append(wanted)
        worker.sender.let_go("https://back/")
        worker.sender.hold("https://back/")

    assert worker.sender.in_flight.total() == 8


async def test_a_circuit_that_opens_lets_one_probe_through_at_a_time(worker: Worker) -> None:
    lane = await worker.lane("down")
    worker.sender.script = lambda _: answer(500)
    await worker.post("down", 30)
    await worker.serve(lane)
    await worker.store.wait_for(10)
    await worker.store.until(lambda: not worker.deliver.in_flight)
    failed = len(worker.sender.sent)

    for wait in (30_000, 60_000, 120_000):
        worker.world.clock.advance(wait - 1)
        await worker.serve(lane)
        assert len(worker.sender.sent) == failed
        worker.world.clock.advance(1)
        await worker.serve(lane)
        failed += 1
        await worker.store.wait_for(failed)
        assert len(worker.sender.sent) == failed


# --- rates


class RealClock(FakeClock):
    """Goes as clocks do."""

    def now(self) -> int:
        return int(time.time() * 1000)

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.mark.parametrize(
    ("limits", "rate", "count"),
    [
        ({"rate_limit_per_second": 20.0}, 20.0, 5),
        ({"rate_limit_per_second": 400.0}, 400.0, 60),
        ({"allowed_per_minute": 1_200}, 20.0, 5),
        ({"allowed_per_minute": 1_200, "rate_limit_per_second": 400.0}, 20.0, 5),
        ({"allowed_per_minute": 24_000, "rate_limit_per_second": 20.0}, 20.0, 5),
    ],
)
async def test_a_rate_is_kept_without_a_further_wake(
    tmp_path: Path, limits: dict[str, float], rate: float, count: int
) -> None:
    path = tmp_path / "real.db"
    path.write_bytes(migrated_file())
    async with opened_world(path, RealClock(), PATIENT) as world:
        worker = Worker(world)
        lane = await worker.lane("paced", **limits)
        sent_at: list[float] = []

        def note(_: Sent) -> Outcome:
            sent_at.append(time.monotonic())
            return answer(200)

        worker.sender.script = note
        await worker.post("paced", count)
        before = time.monotonic()
        await worker.serve(lane)
        await worker.store.wait_for(count)
        await worker.deliver.stop(0)

    took = sent_at[-1] - before
    burst = max(1, int(rate * 0.05))
    assert took >= (count - 2 * burst) / rate
    for first, at in enumerate(sent_at):
        # what was claimed together is sent within moments; a claim is never earlier than its turn
        within = [each for each in sent_at[first:] if each - at < 0.25]
        assert len(within) <= 0.25 * rate + 2 * burst + 1
    assert worker.store.claims <= 3 + 2 * took / 0.025


@pytest.fixture
async def timers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of every timer that is set; none of them ever rings."""
    loop, timers = asyncio.get_running_loop(), list[float]()
    plain = loop.call_later

    def call_later(delay: float, work: Callable[..., object], *given: object) -> object:
        timers.append(delay)
        return plain(3_600, work, *given)

    monkeypatch.setattr(loop, "call_later", call_later)
    return timers


@pytest.mark.parametrize("limit", [{"rate_limit_per_second": 0.1}, {"allowed_per_minute": 6}])
async def test_a_slow_rate_costs_one_timer_however_often_it_is_woken(
    worker: Worker, timers: list[float], limit: dict[str, float]
) -> None:
    lane = await worker.lane("slow", **limit)
    await worker.post("slow", 5)
    for _ in range(20):
        await worker.serve(lane)
    await worker.store.wait_for(1)

    assert len(worker.sender.sent) == 1
    (delay,) = timers
    assert 10.0 <= delay < 10.1
    assert worker.store.claims <= 2
