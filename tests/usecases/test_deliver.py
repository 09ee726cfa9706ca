"""Deliver over a real store: who is sent to, how much at once, and what becomes of results."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from service.domain.outcome import ErrorClass, Outcome
from service.domain.subscription import Subscription
from service.ports import Settlement, StoreUnavailableError
from service.store import schema
from service.usecases import deliver as deliver_module
from service.usecases.compose import Composer, Wire
from service.usecases.deliver import LEASE_MARGIN, Deliver, Pace
from tests.support.clock import FakeClock
from tests.support.dice import SeededDice
from tests.support.postgres import Databases
from tests.support.sending import PATIENCE, OpenVault, ScriptedSender, Sent, WatchedStore
from tests.support.world import World, answer, event, fault, migrated_file, opened_world

pytestmark = pytest.mark.anyio

LONGEST = 30.0
Reports = list[tuple[str, BaseException]]


class Worker:
    """Deliver with everything around it."""

    def __init__(self, world: World, **pace: Any) -> None:  # noqa: ANN401  members of many types
        self.world = world
        self.sender = ScriptedSender()
        self.store = WatchedStore(world.deliver)
        self.vault = OpenVault()
        wire = Wire("Ringback/test", "http://ringback.test", 20.0)
        dice = SeededDice()
        self.deliver = Deliver(
            self.store,
            self.sender,
            Composer(self.vault, world.clock, dice, wire),
            (world.clock, dice),
            Pace(world.schedule, LONGEST, **pace),
        )

    async def lane(self, name: str, **members: Any) -> Subscription:  # noqa: ANN401  members of many types
        return await self.world.subscribe(name, url=f"https://{name}/", **members)

    def hold(self, *names: str) -> None:
        for name in names:
            self.sender.hold(f"https://{name}/")

    def let_go(self, *names: str) -> None:
        for name in names:
            self.sender.let_go(f"https://{name}/")

    async def serve(self, *lanes: Subscription) -> None:
        await self.deliver.serve([lane.no for lane in lanes])

    async def statuses(self) -> list[str]:
        return [row["status"] for row in await self.world.rows(schema.deliveries)]


@pytest.fixture
async def worker(world: World) -> AsyncIterator[Worker]:
    worker = Worker(world, slots=16, per_lane=4)
    yield worker
    await worker.deliver.stop(0)


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    """A database that is shared, where leases are counted."""
    with databases.database() as url:
        yield url


async def with_pace(world: World, **pace: Any) -> Worker:  # noqa: ANN401  members of many types
    return Worker(world, **pace)


def posted(count: int, name: str = "note") -> list[Any]:
    return [event(f"op{n}", name) for n in range(count)]


# --- sending


async def test_what_is_due_is_sent_signed_and_settled(worker: Worker) -> None:
    lane = await worker.lane("hook")
    await worker.world.posted(event("op", "STARTED", id="evt", data=b"1.10"))

    await worker.serve(lane)
    await worker.store.wait_for(1)

    (sent,) = worker.sender.sent
    (stored,) = await worker.world.rows(schema.events)
    assert (sent.url, sent.body) == ("https://hook/", stored["body"])
    assert sent.headers["webhook-id"] == "evt"
    assert sent.headers["x-webhook-event"] == "STARTED"
    assert sent.headers["x-operation-sequence"] == "1"
    assert sent.headers["webhook-signature"].startswith("v1,")
    assert await worker.statuses() == ["delivered"]
    assert worker.deliver.measures.attempts == {"delivered": 1}


async def test_all_of_a_backlog_is_sent_without_a_further_wake(worker: Worker) -> None:
    lane = await worker.lane("hook")
    await worker.world.posted(*posted(50))

    await worker.serve(lane)
    await worker.store.wait_for(50)

    assert await worker.statuses() == ["delivered"] * 50
    assert len({each.headers["x-webhook-delivery"] for each in worker.sender.sent}) == 50
    assert worker.deliver.in_flight == 0


async def test_a_claim_of_many_is_started_a_few_at_a_time(world: World) -> None:
    worker = await with_pace(world, slots=100, per_lane=100)
    lanes = [await worker.lane(f"hook{n}") for n in range(12)]
    await world.posted(*posted(4))
    loop, sent_by_turn = asyncio.get_running_loop(), [0]

    def turn() -> None:
        sent_by_turn.append(len(worker.sender.sent))
        if sent_by_turn[-1] < 48:
            loop.call_soon(turn)

    turn()
    await worker.serve(*lanes)
    await worker.sender.wait_for(48)
    turn()
    await worker.deliver.stop(0)

    assert max(b - a for a, b in pairwise(sent_by_turn)) <= 8


async def test_what_was_claimed_is_given_back_when_the_order_to_stop_comes_amid_it(
    world: World,
) -> None:
    worker = await with_pace(world, slots=100, per_lane=100)
    lanes = [await worker.lane(f"hook{n}") for n in range(12)]
    await world.posted(*posted(4))
    stops: list[asyncio.Task[None]] = []

    async def stop() -> None:
        if worker.store.claims:
            stops.append(asyncio.create_task(worker.deliver.stop(5)))

    worker.store.before_claim = stop
    await worker.serve(*lanes)
    await asyncio.gather(*stops)

    assert len(worker.sender.sent) + len(worker.store.released) == 48
    assert len(worker.store.released) >= 32
    queue = await world.rows(schema.delivery_queue)
    assert len(queue) == len(worker.store.released)
    assert {(row["attempts"], row["token"]) for row in queue} == {(0, None)}
    assert worker.deliver.in_flight == 0


async def test_an_ordered_backlog_is_sent_without_a_further_wake(
    worker: Worker, delays: list[float]
) -> None:
    lane = await worker.lane("hook", ordering="operation")
    await worker.world.posted(*posted(3) * 20)

    await worker.serve(lane)
    await worker.store.wait_for(60)

    assert await worker.statuses() == ["delivered"] * 60
    sequences: dict[str, list[str]] = {}
    for each in worker.sender.sent:
        operation = each.headers["x-operation-id"]
        sequences.setdefault(operation, []).append(each.headers["x-operation-sequence"])
    assert sequences == {f"op{n}": [str(s) for s in range(1, 21)] for n in range(3)}
    assert delays == []


async def test_a_lane_has_no_more_in_flight_than_its_limit(worker: Worker) -> None:
    plain, own = await worker.lane("plain"), await worker.lane("own", max_concurrency=1)
    await worker.world.posted(*posted(10))
    worker.sender.hold("https://plain/")
    worker.sender.hold("https://own/")

    await worker.serve(plain, own)
    await worker.sender.wait_for(5)
    worker.sender.let_go("https://plain/")
    worker.sender.let_go("https://own/")
    await worker.store.wait_for(20)

    assert worker.sender.most == {"https://plain/": 4, "https://own/": 1}
    assert await worker.statuses() == ["delivered"] * 20


async def test_no_more_is_in_flight_than_there_are_slots(world: World) -> None:
    worker = await with_pace(world, slots=3, per_lane=2)
    lanes = [await worker.lane(name) for name in "abc"]
    await worker.world.posted(*posted(6))

    await worker.serve(*lanes)
    await worker.store.wait_for(18)

    assert worker.sender.most_at_once <= 3
    assert max(worker.sender.most.values()) <= 2
    assert await worker.statuses() == ["delivered"] * 18


# --- the lull before a settle


@pytest.fixture
def endless_lull(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results that have time are settled when the worker stops, or something makes them press."""
    monkeypatch.setattr(deliver_module, "_LULL", 60.0)


@pytest.mark.usefixtures("endless_lull")
async def test_results_that_come_one_by_one_are_settled_together(world: World) -> None:
    worker = await with_pace(world)
    batches: list[int] = []
    worker.store.before_settle = lambda results: batches.append(len(results))
    lane = await worker.lane("hook")
    worker.sender.hold("https://hook/")
    for number in range(4):
        await world.posted(event(f"op{number}"))
        await worker.serve(lane)
        await worker.sender.wait_for(number + 1)
    worker.sender.let_go("https://hook/")
    await worker.deliver.stop(PATIENCE)

    assert batches == [4]


@pytest.mark.usefixtures("endless_lull")
async def test_enough_results_are_settled_at_once(world: World) -> None:
    worker = await with_pace(world)
    names = [f"hook{number}" for number in range(24)]
    lanes = [await worker.lane(name) for name in names]
    worker.hold(*names)
    await world.posted(event("op"))
    await worker.serve(*lanes)
    await worker.sender.wait_for(24)
    worker.let_go(*names)
    await worker.store.wait_for(24)
    await worker.deliver.stop(0)


@pytest.mark.usefixtures("endless_lull")
@pytest.mark.parametrize(
    ("members", "status"),
    [({}, 500), ({"max_concurrency": 4}, 200), ({"ordering": "operation"}, 200)],
)
async def test_what_presses_is_settled_at_once(
    world: World, members: dict[str, Any], status: int
) -> None:
    worker = await with_pace(world)
    lane = await worker.lane("hook", **members)
    worker.sender.script = lambda _: answer(status)
    worker.sender.hold("https://hook/")
    await world.posted(event("op"))
    await worker.serve(lane)
    worker.sender.let_go("https://hook/")
    await worker.store.wait_for(1)
    await worker.deliver.stop(0)


@pytest.mark.usefixtures("endless_lull")
async def test_a_lane_that_has_more_is_not_held_up(world: World) -> None:
    worker = await with_pace(world, slots=64, per_lane=4)
    lane = await worker.lane("hook")
    await world.posted(*posted(20))
    worker.sender.hold("https://hook/")
    await worker.serve(lane)
    worker.sender.let_go("https://hook/")
    await worker.sender.wait_for(20)
    await worker.deliver.stop(0)


@pytest.mark.usefixtures("endless_lull")
async def test_results_are_settled_at_once_while_few_slots_are_free(world: World) -> None:
    worker = await with_pace(world, slots=4)
    names = ("hanging", "stuck", "hook")
    lanes = [await worker.lane(name) for name in names]
    worker.hold(*names)
    await world.posted(event("op"))
    await worker.serve(*lanes)
    await worker.sender.wait_for(3)
    worker.sender.let_go("https://hook/")
    await worker.store.wait_for(1)
    worker.let_go(*names[:2])
    await worker.deliver.stop(PATIENCE)


@pytest.mark.usefixtures("endless_lull")
async def test_what_had_time_is_settled_when_slots_become_few(world: World) -> None:
    worker = await with_pace(world, slots=4)
    lanes = [await worker.lane(name) for name in ("hook", "hanging", "stuck")]
    worker.hold("hook", "hanging", "stuck")
    await world.posted(event("op"))
    await worker.serve(lanes[0])
    worker.let_go("hook")  # a look for more would press
    await asyncio.sleep(0.05)
    assert await worker.statuses() == []

    await worker.serve(*lanes[1:])
    await worker.store.wait_for(1)
    worker.let_go("hanging", "stuck")
    await worker.deliver.stop(PATIENCE)


@pytest.mark.usefixtures("endless_lull")
async def test_a_stop_settles_what_had_time(world: World) -> None:
    worker = await with_pace(world, slots=64)
    lanes = [await worker.lane(name) for name in ("hook", "slow")]
    worker.hold("hook", "slow")
    await world.posted(event("op"))
    await worker.serve(*lanes)
    worker.let_go("hook")  # a look for more would press
    await asyncio.sleep(0.05)
    assert await worker.statuses() == []

    stop = asyncio.create_task(worker.deliver.stop(PATIENCE))
    await worker.store.wait_for(1)
    worker.sender.let_go("https://slow/")
    async with asyncio.timeout(PATIENCE / 2):
        await stop

    assert await worker.statuses() == ["delivered"] * 2


@pytest.mark.parametrize(
    ("limits", "status", "sent"),
    [
        ({}, 200, 16),  # as long as there are slots
        ({}, 500, 2),  # half of what it had: what else it says is known once it is settled
        ({"max_concurrency": 2}, 200, 2),  # which the leases keep, of all workers
    ],
)
async def test_a_lane_goes_on_before_what_its_receiver_took_is_settled(
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, int],
    status: int,
    sent: int,
) -> None:
    monkeypatch.setattr(deliver_module, "_PATIENCE", 0.05)
    lane = await worker.lane("hook", **limits)
    await worker.world.posted(*posted(30))
    asked = asyncio.Semaphore(0)

    def away(_: Sequence[Settlement]) -> None:
        asked.release()
        raise StoreUnavailableError("away")

    worker.store.before_settle = away
    worker.sender.script = lambda _: answer(status)
    await worker.serve(lane)
    for _ in range(5):
        await asked.acquire()
    await worker.sender.wait_for(sent)

    assert len(worker.sender.sent) == worker.deliver.in_flight == sent
    worker.store.before_settle = lambda _: None  # a stop would wait for it


async def test_what_ends_together_makes_room_before_it_is_settled(worker: Worker) -> None:
    lane = await worker.lane("hook")
    await worker.world.posted(*posted(30))
    await worker.serve(lane)
    await worker.store.wait_for(30)

    def away(_: Sequence[Settlement]) -> None:
        raise StoreUnavailableError("away")

    worker.sender.hold("https://hook/")
    await worker.world.posted(*posted(30))
    await worker.serve(lane)
    await worker.sender.wait_for(34)
    worker.store.before_settle = away
    worker.sender.let_go("https://hook/")

    await worker.sender.wait_for(38)
    worker.store.before_settle = lambda _: None


async def test_a_lane_that_is_limited_while_it_goes_on_is_looked_at_again(
    url: str, clock: FakeClock
) -> None:
    async with opened_world(url, clock) as world:
        worker = await with_pace(world, slots=64, per_lane=8)
        lane = await worker.lane("hook")
        away = True

        def settle(_: Sequence[Settlement]) -> None:
            if away:
                raise StoreUnavailableError("away")

        worker.store.before_settle = settle
        await world.posted(*posted(20))
        await worker.serve(lane)
        await worker.sender.wait_for(20)
        text = "UPDATE subscriptions SET max_concurrency = 2 WHERE no = ?"
        await world.sql(text, lane.no)
        await world.posted(*posted(20))
        await worker.serve(lane)  # nothing, as the leases of what was taken still count
        away = False

        await worker.store.wait_for(40)
        await worker.deliver.stop(0)


async def test_who_recovers_is_sent_little_at_first_however_often_the_lane_is_woken(
    tmp_path: Path, clock: FakeClock
) -> None:
    (path := tmp_path / "breaking.db").write_bytes(migrated_file())
    async with opened_world(path, clock, breaker=True) as world:
        worker = await with_pace(world, slots=512, per_lane=64)
        lane = await worker.lane("hook")
        await world.posted(*posted(300))
        await worker.serve(lane)
        await worker.store.wait_for(300)
        await world.deliver.flush()
        clock.advance(400_000)  # none of these successes counts any more
        worker.sender.script = lambda _: answer(500)
        await world.posted(*posted(300))
        await worker.serve(lane)
        await worker.store.until(lambda: worker.deliver.in_flight == 0)
        clock.advance(60_000)

        url, count = "https://hook/", len(worker.sender.sent)
        worker.sender.script = lambda _: answer(200)
        worker.sender.hold(url)
        for expected in (1, 1, 2, 4):
            worker.deliver.wake([lane.no])
            await worker.sender.wait_for(count + expected)
            for _ in range(100):
                worker.deliver.wake([lane.no])
                await asyncio.sleep(0)
            assert len(worker.sender.sent) == count + expected
            count += expected
            settled = len(worker.store.settled)
            worker.sender.let_go(url)
            worker.sender.hold(url)
            while len(worker.store.settled) < settled + expected:
                worker.deliver.wake([lane.no])
                await asyncio.sleep(0)
        worker.sender.let_go(url)
        await worker.deliver.stop(0)


async def test_a_hanging_lane_does_not_delay_another(worker: Worker) -> None:
    hanging, quick = await worker.lane("hanging"), await worker.lane("quick")
    await worker.world.posted(*posted(30))
    worker.sender.hold("https://hanging/")

    await worker.serve(hanging, quick)
    await worker.store.wait_for(30)

    assert {each.claimed.ref.subscription_no for each in worker.store.settled} == {quick.no}
    assert worker.sender.in_flight["https://hanging/"] == 4
    worker.sender.let_go("https://hanging/")
    await worker.store.wait_for(60)


async def test_what_comes_while_a_claim_is_under_way_is_not_overlooked(worker: Worker) -> None:
    lane = await worker.lane("hook")
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        entered.set()
        await go_on.wait()

    worker.store.before_claim = wait
    first = asyncio.create_task(worker.serve(lane))
    await entered.wait()
    await worker.serve(lane)  # returns at once: somebody claims already
    assert worker.store.claims == 0
    go_on.set()
    await first

    # the second wake makes a second claim, though the first found nothing
    assert worker.store.claims == 2


async def test_a_receiver_that_is_gone_is_sent_nothing_more(worker: Worker) -> None:
    lane = await worker.lane("hook", max_concurrency=1)
    await worker.world.posted(*posted(5))
    worker.sender.script = lambda _: answer(410)

    await worker.serve(lane)
    await worker.store.wait_for(1)
    await worker.serve(lane)

    assert len(worker.sender.sent) == 1
    assert await worker.statuses() == ["dead"]


async def test_retry_after_keeps_the_rest_of_a_lane_back(worker: Worker) -> None:
    lane = await worker.lane("hook", max_concurrency=1)
    await worker.world.posted(*posted(5))
    worker.sender.script = lambda _: answer(503, {"retry-after": "120"})

    await worker.serve(lane)
    await worker.store.wait_for(1)
    await worker.serve(lane)
    assert len(worker.sender.sent) == 1

    worker.world.clock.advance(120_000)
    worker.sender.script = lambda _: answer(200)
    await worker.serve(lane)
    await worker.store.wait_for(6)
    assert await worker.statuses() == ["delivered"] * 5


# --- retries


class RealClock(FakeClock):
    """Goes as clocks do."""

    def now(self) -> int:
        return int(time.time() * 1000)

    def monotonic(self) -> float:
        return time.monotonic()


async def test_a_retry_comes_when_it_is_due_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "real.db"
    path.write_bytes(migrated_file())
    async with opened_world(path, RealClock(), (0.0, 0.05, 0.1)) as world:
        worker = Worker(world)
        await worker.lane("hook")
        sent_at: list[int] = []

        def fail_twice(sent: Sent) -> Outcome:
            sent_at.append(world.clock.now())
            return fault() if sent.attempt < 3 else answer(200)

        worker.sender.script = fail_twice
        await world.posted(event())

        await worker.deliver.serve(await world.sweep.due_lanes())
        await worker.store.wait_for(3)

        attempts = await world.rows(schema.attempts)
        due = [row["next_attempt_at"] for row in attempts[:2]]
        assert [at >= by for at, by in zip(sent_at[1:], due, strict=True)] == [True, True]
        assert [at - by < 5_000 for at, by in zip(sent_at[1:], due, strict=True)] == [True, True]
        assert await worker.statuses() == ["delivered"]
        await worker.deliver.stop(0)


@pytest.fixture
async def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of every timer that is set; none of them ever rings."""
    loop, delays = asyncio.get_running_loop(), list[float]()
    plain = loop.call_later

    def call_later(delay: float, work: Callable[..., object], *given: object) -> object:
        delays.append(delay)
        return plain(3_600, work, *given)

    monkeypatch.setattr(loop, "call_later", call_later)
    return delays


async def test_only_retries_that_are_near_get_a_timer(worker: Worker, delays: list[float]) -> None:
    near = await worker.lane("near")
    far = await worker.lane("far", retry_schedule=(0.0, 300.0))
    await worker.world.posted(event())
    worker.sender.script = lambda _: fault()

    await worker.serve(near, far)
    await worker.store.wait_for(2)

    (due,) = [
        row["due_at"]
        for row in await worker.world.rows(schema.delivery_queue, subscription_no=near.no)
    ]
    (delay,) = delays
    wanted = (due - worker.world.clock.now()) / 1000
    assert wanted <= delay < wanted + 0.01


# --- results


async def test_results_are_kept_while_the_store_is_away(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver_module, "_PATIENCE", 0.001)
    lane = await worker.lane("hook")
    await worker.world.posted(*posted(4))
    refusals = iter(range(3))

    def away(_: Sequence[Settlement]) -> None:
        if next(refusals, None) is not None:
            raise StoreUnavailableError("away")

    worker.store.before_settle = away
    await worker.serve(lane)
    await worker.store.wait_for(4)

    assert next(refusals, None) is None
    assert len(worker.sender.sent) == 4
    assert await worker.statuses() == ["delivered"] * 4


async def test_a_claim_while_the_store_is_away_is_made_up_for_by_the_next_wake(
    worker: Worker,
) -> None:
    lane = await worker.lane("hook")
    await worker.world.posted(*posted(2))

    async def away() -> None:
        worker.store.before_claim = ready
        raise StoreUnavailableError("away")

    async def ready() -> None:
        return

    worker.store.before_claim = away
    await worker.serve(lane)
    assert worker.sender.sent == []

    await worker.serve(lane)
    await worker.store.wait_for(2)
    assert await worker.statuses() == ["delivered"] * 2


async def test_a_claim_that_meets_a_bug_is_reported_and_made_up_for_by_the_next_wake(
    world: World, reports: Reports
) -> None:
    worker = await with_pace(world)
    lane = await worker.lane("hook")
    await worker.world.posted(*posted(2))

    async def broken() -> None:
        worker.store.before_claim = ready
        raise ValueError("a bug")

    async def ready() -> None:
        return

    worker.store.before_claim = broken
    worker.deliver.wake([lane.no])
    while not reports:  # noqa: ASYNC110  a caller can only look
        await asyncio.sleep(0.001)
    assert [message for message, _ in reports] == ["A claim failed"]
    assert worker.sender.sent == []

    worker.deliver.wake([lane.no])
    await worker.store.wait_for(2)
    assert await worker.statuses() == ["delivered"] * 2


async def test_one_result_that_cannot_be_settled_does_not_take_others_with_it(
    world: World, reports: Reports
) -> None:
    worker = await with_pace(world)
    lane = await worker.lane("hook")
    await worker.world.posted(*(event(f"op{n}", id=f"e{n}") for n in range(4)))
    worker.sender.hold("https://hook/")

    def broken(results: Sequence[Settlement]) -> None:
        if any(each.claimed.event_id == "e1" for each in results):
            raise ValueError("a bug")

    worker.store.before_settle = broken
    await worker.serve(lane)
    await worker.sender.wait_for(4)
    worker.sender.let_go("https://hook/")
    await worker.store.wait_for(3)

    assert sorted(each.claimed.event_id for each in worker.store.settled) == ["e0", "e2", "e3"]
    await worker.deliver.stop(5)
    assert worker.deliver.in_flight == 0
    assert [message for message, _ in reports] == ["A result could not be settled"]
    world.clock.advance(round((LONGEST + LEASE_MARGIN) * 1000))
    assert await world.sweep.reclaim(world.schedule) == [lane.no]


async def test_a_secret_that_does_not_open_fails_the_attempt_and_nothing_else(
    worker: Worker,
) -> None:
    locked, fine = await worker.lane("locked"), await worker.lane("fine")
    worker.vault.lost.add("locked")
    await worker.world.posted(event())

    await worker.serve(locked, fine)
    await worker.store.wait_for(2)

    assert [each.url for each in worker.sender.sent] == ["https://fine/"]
    (row,) = await worker.world.rows(schema.delivery_queue)
    assert (row["subscription_no"], row["attempts"], row["token"]) == (locked.no, 1, None)
    (attempt,) = await worker.world.rows(schema.attempts, subscription_no=locked.no)
    assert attempt["error_class"] == ErrorClass.UNKNOWN
    assert "could not be signed" in attempt["message"]
    assert worker.deliver.in_flight == 0


@pytest.mark.parametrize("where", ["building", "sending"])
async def test_a_bug_met_by_one_attempt_gives_its_slot_back(
    world: World, reports: Reports, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    worker = await with_pace(world, slots=1, per_lane=1)
    lane = await worker.lane("hook")
    await worker.world.posted(*posted(3))

    def fail(*_: object) -> Any:  # noqa: ANN401  never returns
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        if where == "building":
            patch.setattr(Composer, "compose", fail)
        else:
            worker.sender.script = fail
        await worker.serve(lane)
        await worker.store.wait_for(3)

    attempts = await worker.world.rows(schema.attempts)
    assert {row["error_class"] for row in attempts} == {"unknown"}
    assert {row["message"].rpartition(": ")[2] for row in attempts} == {"RuntimeError"}
    assert len(reports) == 3
    world.clock.advance(10_000)
    worker.sender.script = lambda _: answer(200)
    await worker.serve(lane)
    await worker.store.wait_for(6)
    assert await worker.statuses() == ["delivered"] * 3


async def test_what_was_claimed_too_long_ago_is_given_back_unsent(worker: Worker) -> None:
    lane = await worker.lane("hook")
    await worker.world.posted(event())
    late = iter([True])
    clock = worker.world.clock

    def sleep() -> None:
        if next(late, False):
            clock.seconds += LEASE_MARGIN

    worker.store.after_claim = sleep
    await worker.serve(lane)
    await worker.store.until(lambda: len(worker.store.released) == 1)
    assert worker.sender.sent == []
    assert await worker.world.rows(schema.attempts) == []

    await worker.serve(lane)
    await worker.store.wait_for(1)
    assert [each.attempt for each in worker.sender.sent] == [1]


# --- stopping


async def test_a_stop_waits_for_what_is_in_flight(worker: Worker) -> None:
    lane = await worker.lane("hook")
    await worker.world.posted(*posted(6))
    worker.sender.hold("https://hook/")
    await worker.serve(lane)
    await worker.sender.wait_for(4)

    stopping = asyncio.create_task(worker.deliver.stop(10))
    await asyncio.sleep(0)
    worker.sender.let_go("https://hook/")
    await stopping

    assert await worker.statuses() == ["delivered"] * 4
    assert len(worker.sender.sent) == 4  # and nothing more was begun
    claims = worker.store.claims
    await worker.serve(lane)
    assert worker.store.claims == claims


async def test_what_hangs_when_a_stop_is_out_of_patience_is_sent_again_later(
    worker: Worker,
) -> None:
    hanging, quick = await worker.lane("hanging"), await worker.lane("quick")
    await worker.world.posted(event())
    worker.sender.hold("https://hanging/")
    await worker.serve(hanging, quick)
    await worker.sender.wait_for(2)

    await worker.deliver.stop(0.05)

    assert await worker.statuses() == ["delivered"]
    await worker.world.crash()
    (again,) = await worker.world.claim()
    assert (again.ref.subscription_no, again.attempt) == (hanging.no, 2)


async def test_what_is_claimed_when_the_order_to_stop_comes_is_given_back(worker: Worker) -> None:
    lane = await worker.lane("hook")
    await worker.world.posted(*posted(3))
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        entered.set()
        await go_on.wait()

    worker.store.before_claim = wait
    serving = asyncio.create_task(worker.serve(lane))
    await entered.wait()
    await worker.deliver.stop(0)
    go_on.set()
    await serving

    assert worker.sender.sent == []
    assert len(worker.store.released) == 1
    assert {each.attempt for each in await worker.world.claim(lane.no)} == {1}


@pytest.mark.parametrize("turns", range(6))
async def test_nothing_is_claimed_once_the_order_to_stop_came(worker: Worker, turns: int) -> None:
    lane = await worker.lane("hook")
    await worker.world.posted(*posted(3))
    orders, late = list[str](), list[list[str]]()

    async def note() -> None:
        late.append(orders.copy())

    worker.store.before_claim = note
    worker.deliver.wake([lane.no])
    for _ in range(turns):
        await asyncio.sleep(0)
    orders.append("stop")
    await worker.deliver.stop(1.0)

    assert ["stop"] not in late


async def test_a_stop_does_not_wait_for_a_claim_that_hangs(worker: Worker) -> None:
    lane = await worker.lane("hook")
    await worker.world.posted(event())
    entered = asyncio.Event()

    async def hang() -> None:
        entered.set()
        await asyncio.Event().wait()

    worker.store.before_claim = hang
    worker.deliver.wake([lane.no])
    await entered.wait()

    async with asyncio.timeout(PATIENCE):
        await worker.deliver.stop(0.05)


async def test_a_stop_waits_little_longer_for_a_store_that_is_away_than_for_receivers(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver_module, "_LAST", 0.05)
    hanging, quick = await worker.lane("hanging"), await worker.lane("quick")
    await worker.world.posted(event())
    worker.sender.hold("https://hanging/")
    asked = asyncio.Event()

    def away(_: Sequence[Settlement]) -> None:
        asked.set()
        raise StoreUnavailableError("away")

    worker.store.before_settle = away
    await worker.serve(hanging, quick)
    await worker.sender.wait_for(2)
    await asked.wait()
    loop, patience = asyncio.get_running_loop(), 2.0
    begun = loop.time()

    await worker.deliver.stop(patience)

    assert patience <= loop.time() - begun < 1.7 * patience
    assert await worker.statuses() == []
