"""Ordered lanes: who may go, who waits for whom, and that nobody waits for ever."""

from collections.abc import Iterable
from typing import Any

import pytest

from service.domain.delivery import DeliveryStatus, Trigger
from service.domain.ids import DeliveryRef, KeyMaker
from service.domain.subscription import Subscription
from service.domain.times import HURRIED, NEVER
from service.ports import (
    AcceptRequest,
    Backlog,
    Claimed,
    DeliveryFilter,
    DeliveryView,
    ReplayRun,
    Span,
)
from service.store import ordering, schema
from service.store.database import Tx
from service.store.queueing import QUEUE_COLUMNS
from service.store.sqlite.tx import SqliteTx
from tests.support.databases import ONLY_SQLITE
from tests.support.world import LEASE, SCHEDULE, World, answer, event

pytestmark = pytest.mark.anyio

DAY = 24 * 3600 * 1000


async def ordered(world: World, name: str = "sub", **members: Any) -> Subscription:  # noqa: ANN401  members of many types
    return await world.subscribe(name, ordering="operation", **members)


async def post(world: World, *operations: str) -> None:
    """One event to each of these operations, in one request."""
    await world.posted(*(event(each) for each in operations))


def turns(claimed: Iterable[Claimed]) -> list[tuple[str | None, int | None]]:
    """Operation and sequence of what was claimed."""
    return sorted((each.operation_id, each.sequence) for each in claimed)


async def queue(world: World, lane: Subscription) -> list[DeliveryRef]:
    """What a lane has, in the order of the events."""
    rows = await world.rows(schema.delivery_queue, subscription_no=lane.no)
    return [DeliveryRef(row["event_key"], lane.no) for row in rows]


async def parked(world: World) -> int:
    rows = await world.rows(schema.delivery_queue)
    return sum(row["due_at"] >= NEVER for row in rows)


async def retry(world: World, ref: DeliveryRef) -> None:
    assert await world.replay.replay_one("default", ref, Trigger.MANUAL, "key_test") == ref


async def cancel(world: World, ref: DeliveryRef) -> None:
    done = await world.replay.cancel_delivery("default", ref, "key_test")
    assert done is DeliveryStatus.CANCELLED


# --- one after the other


async def test_one_after_the_other_and_operations_side_by_side(world: World) -> None:
    await ordered(world)
    await post(world, "a", "a", "b", "a", "b")

    first = await world.claim()
    assert turns(first) == [("a", 1), ("b", 1)]
    assert await world.claim() == []
    await world.settle(first)
    second = await world.claim()
    assert turns(second) == [("a", 2), ("b", 2)]
    await world.settle(second)
    third = await world.claim()
    assert turns(third) == [("a", 3)]
    await world.settle(third)

    assert await world.rows(schema.delivery_queue) == []
    assert {row["status"] for row in await world.rows(schema.deliveries)} == {"delivered"}


async def test_what_comes_later_waits_for_what_is_there(world: World) -> None:
    await ordered(world)
    await post(world, "a")
    (claimed,) = await world.claim()
    await post(world, "a")
    assert await world.claim() == []

    await world.settle([claimed])
    assert turns(await world.deliver_due()) == [("a", 2)]
    await post(world, "a")
    assert turns(await world.deliver_due()) == [("a", 3)]


async def test_requests_that_share_a_transaction_are_one_chain(world: World) -> None:
    lane = await ordered(world)
    requests = [AcceptRequest("default", [event("a"), event("a")]) for _ in range(3)]

    results = await world.accept.accept(requests)

    assert {result.lanes for result in results} == {frozenset({lane.no})}
    assert await parked(world) == 5
    for sequence in range(1, 7):
        assert turns(await world.deliver_due()) == [("a", sequence)]


async def test_an_event_that_only_waits_wakes_nobody(world: World) -> None:
    await ordered(world)
    await post(world, "a")

    (result,) = await world.accept.accept([AcceptRequest("default", [event("a")])])

    assert result.lanes == frozenset()


async def test_lanes_that_are_not_ordered_do_not_wait(world: World) -> None:
    plain, own = await world.subscribe("plain"), await ordered(world, "own")
    await post(world, "a", "a", "a")

    lanes = [each.ref.subscription_no for each in await world.claim()]

    assert sorted(lanes) == sorted([*[plain.no] * 3, own.no])


async def test_without_an_ordered_lane_nothing_is_looked_up() -> None:
    class Closed:
        """A transaction that takes no statement."""

    rows = [(n, 1, 5, 0, 0, "schedule", None, None) for n in range(3)]

    kept = await ordering.park(Closed(), rows, KeyMaker())  # type: ignore[arg-type]  # it is not asked

    assert kept is rows


async def test_a_retry_keeps_its_place(world: World) -> None:
    lane = await ordered(world)
    await post(world, "a", "a", "b")

    claimed = await world.claim()
    settled = await world.settle(claimed, 500)
    due = world.clock.now() + 5_000
    assert settled.retries == {lane.no: due}
    assert await world.claim() == []
    world.clock.advance(5_000)

    again = await world.claim()
    assert turns(again) == [("a", 1), ("b", 1)]
    await world.settle(again)
    assert turns(await world.claim()) == [("a", 2)]


async def test_a_dead_letter_makes_room(world: World) -> None:
    await ordered(world, retry_schedule=(0.0, 5.0))
    await post(world, "a", "a")
    await world.deliver_due(500)
    world.clock.advance(5_000)
    world.schedule = (0.0, 5.0)
    await world.deliver_due(500)

    assert [row["reason"] for row in await world.rows(schema.dead_letters)] == [
        "attempts_exhausted"
    ]
    assert turns(await world.deliver_due()) == [("a", 2)]


async def test_a_settle_tells_where_the_next_may_go(world: World) -> None:
    lane, idle = await ordered(world, "lane"), await ordered(world, "idle")
    await post(world, "a", "a")
    claimed = await world.claim(lane.no)

    assert (await world.settle(claimed)).retries == {lane.no: world.clock.now()}
    last = await world.claim(lane.no)
    assert (await world.settle(last)).retries == {}
    assert len(await queue(world, idle)) == 2


async def test_the_next_is_looked_for_when_the_hold_is_over(world: World) -> None:
    lane = await ordered(world)
    await post(world, "a", "a")
    world.schedule = (0.0,)

    settled = await world.settle(await world.claim(), answer(503, {"retry-after": "30"}))

    assert settled.retries == {lane.no: world.clock.now() + 30_000}
    assert await world.claim() == []
    world.clock.advance(30_000)
    assert turns(await world.claim()) == [("a", 2)]


async def test_nothing_goes_before_its_own_first_time(world: World) -> None:
    lane = await ordered(world, retry_schedule=(10.0,))
    await post(world, "a", "a", "a")
    (first, *_) = [row["due_at"] for row in await world.rows(schema.delivery_queue)]
    own = [row["due_at"] - NEVER for row in await world.rows(schema.delivery_queue)][1:]
    for due in own:
        assert 8_000 <= due - world.clock.now() <= 12_000

    world.clock.advance(first - world.clock.now())
    settled = await world.settle(await world.claim())
    due = max(own[0], world.clock.now())
    assert settled.retries == {lane.no: due}
    # the third has had its wait by then: the waits do not add up
    world.clock.advance(max(*own, due) - world.clock.now())
    assert turns(await world.deliver_due()) == [("a", 2)]
    assert turns(await world.deliver_due()) == [("a", 3)]


async def test_a_limit_of_concurrency_holds_as_well(world: World) -> None:
    await ordered(world, max_concurrency=2)
    await post(world, *"abcabc")

    first = await world.claim()
    assert len(first) == 2
    await world.settle(first)
    sent = [*first]
    while claimed := await world.deliver_due():
        assert len(claimed) <= 2
        sent += claimed

    for operation in "abc":
        assert [each.sequence for each in sent if each.operation_id == operation] == [1, 2]


async def test_pause_and_resume(world: World) -> None:
    lane = await ordered(world)
    await post(world, "a")
    claimed = await world.claim()
    await world.set_status(lane, "paused")
    await post(world, "a")

    await world.settle(claimed)
    assert await world.claim(lane.no) == []
    await post(world, "a")
    await world.set_status(lane, "active")

    assert turns(await world.deliver_due()) == [("a", 2)]
    assert turns(await world.deliver_due()) == [("a", 3)]


# --- every way out of the queue


async def test_a_cancelled_delivery_makes_room(world: World) -> None:
    lane = await ordered(world)
    await post(world, "a", "a", "a", "a")
    first, second, third, _ = await queue(world, lane)

    await cancel(world, second)
    claimed = await world.claim()
    assert turns(claimed) == [("a", 1)]
    await cancel(world, first)
    assert (await world.settle(claimed)).late == 1
    assert await world.status(first) == "cancelled"
    await cancel(world, third)

    assert turns(await world.deliver_due()) == [("a", 4)]


async def test_one_that_leaves_from_the_middle_hurries_nobody(world: World) -> None:
    lane = await ordered(world)
    await post(world, "a", "a", "a")
    _, second, third = await queue(world, lane)
    await world.deliver_due(500)
    await cancel(world, second)
    assert await world.claim() == []
    world.clock.advance(5_000)
    claimed = await world.claim()
    await cancel(world, third)
    world.clock.advance(LEASE - 1)
    assert await world.sweep.reclaim(SCHEDULE) == []

    assert turns(claimed) == [("a", 1)]
    assert (await world.settle(claimed)).late == 0


async def test_a_crash_keeps_the_place(world: World) -> None:
    await ordered(world)
    await post(world, "a", "a")
    await world.claim()

    await world.crash()

    assert turns(await world.deliver_due()) == [("a", 1)]
    assert turns(await world.deliver_due()) == [("a", 2)]


async def test_a_crash_loop_makes_room(world: World) -> None:
    await ordered(world)
    await post(world, "a", "a")
    for _ in SCHEDULE:
        assert turns(await world.claim()) == [("a", 1)]
        await world.crash()

    assert turns(await world.deliver_due()) == [("a", 2)]


async def test_leases_that_run_out_keep_the_place(world: World) -> None:
    await ordered(world)
    await post(world, "a", "a")
    (late,) = await world.claim()
    world.clock.advance(LEASE)
    await world.sweep.reclaim(SCHEDULE)

    again = await world.claim()
    assert turns(again) == [("a", 1)]
    assert (await world.settle([late])).late == 1
    assert await world.claim() == []
    await world.settle(again)
    assert turns(await world.claim()) == [("a", 2)]


async def test_what_is_given_back_keeps_the_place(world: World) -> None:
    await ordered(world)
    await post(world, "a", "a")
    await world.deliver.release(await world.claim())

    assert turns(await world.claim()) == [("a", 1)]


async def test_a_receiver_that_is_gone_and_comes_back(world: World) -> None:
    lane = await ordered(world)
    await post(world, "a", "a", "b", "b")
    await world.settle((await world.claim())[:1], 410)
    await world.set_status(lane, "active")

    while claimed := await world.deliver_due():
        assert len({each.operation_id for each in claimed}) == len(claimed)
        world.clock.advance(LEASE)
        await world.sweep.reclaim(SCHEDULE)

    assert await world.rows(schema.delivery_queue) == []


async def test_a_closed_lane_is_emptied(world: World) -> None:
    lane = await ordered(world)
    await post(world, "a", "a", "b", "b")
    claimed = await world.claim(quota=1)
    await world.delete(lane)
    while await world.sweep.retire():
        pass

    assert len(await world.rows(schema.dead_letters)) == 3
    await world.settle(claimed)
    assert await world.rows(schema.delivery_queue) == []


async def test_what_is_past_retention_makes_room(world: World) -> None:
    lane = await ordered(world)
    await post(world, "a", "a")
    world.clock.advance(DAY + 1)
    await post(world, "a", "a")
    while await world.sweep.forget(DAY):
        pass

    assert len(await queue(world, lane)) == 2
    assert turns(await world.deliver_due()) == [("a", 3)]
    assert turns(await world.deliver_due()) == [("a", 4)]


# --- out of turn


async def test_what_is_replayed_neither_waits_nor_keeps_others_waiting(world: World) -> None:
    lane = await ordered(world, retry_schedule=(0.0,))
    world.schedule = (0.0,)
    await post(world, "a")
    (ref,) = await queue(world, lane)
    await world.deliver_due(500)
    await post(world, "a", "a")
    second = await world.claim()
    assert turns(second) == [("a", 2)]

    done = await world.replay.replay_one("default", ref, Trigger.REPLAY, "key_test")
    assert done == ref
    first = await world.claim()
    assert turns(first) == [("a", 1)]
    await world.settle(second)
    assert turns(await world.deliver_due()) == [("a", 3)]
    await post(world, "a")
    assert turns(await world.deliver_due()) == [("a", 4)]
    await world.settle(first)

    assert await world.rows(schema.delivery_queue) == []


async def test_missing_deliveries_that_a_replay_makes_do_not_wait(world: World) -> None:
    await post(world, "a", "a")
    lane = await ordered(world)
    await post(world, "a")
    plan = world.plan(subscription_no=lane.no, only="missing")
    run = await world.replay.start_replay(world.replay_operation(), plan, "key_test")
    assert isinstance(run, ReplayRun)
    await world.replay.step_replay(run, 100)

    assert turns(await world.claim()) == [("a", 1), ("a", 2), ("a", 3)]


async def test_a_parked_delivery_that_is_retried_by_hand_goes_out_of_turn(world: World) -> None:
    lane = await ordered(world)
    await post(world, "a", "a", "a")
    _, second, _ = await queue(world, lane)
    first = await world.claim()

    await retry(world, second)
    hurried = await world.claim()
    assert turns(hurried) == [("a", 2)]
    await world.settle(hurried, 500)
    assert await world.claim() == []
    await world.settle(first)

    assert turns(await world.deliver_due()) == [("a", 3)]
    world.clock.advance(5_000)
    assert turns(await world.deliver_due()) == [("a", 2)]
    assert await world.rows(schema.delivery_queue) == []


async def test_the_first_that_is_retried_by_hand_stays_the_first(world: World) -> None:
    lane = await ordered(world)
    await post(world, "a", "a")
    await world.deliver_due(500)
    first, _ = await queue(world, lane)

    await retry(world, first)

    due = [row["due_at"] for row in await world.rows(schema.delivery_queue)]
    assert due[0] == HURRIED
    claimed = await world.claim()
    assert turns(claimed) == [("a", 1)]
    assert await world.claim() == []
    await world.settle(claimed)
    assert turns(await world.claim()) == [("a", 2)]


# --- another ordering


async def test_what_is_queued_before_a_lane_is_ordered_does_not_wait(world: World) -> None:
    lane = await world.subscribe()
    await post(world, "a", "a")
    await world.change(lane, ordering="operation")
    await post(world, "a", "a")

    assert turns(await world.claim()) == [("a", 1), ("a", 2), ("a", 3)]
    assert await world.sweep.unpark() == []


async def test_a_lane_that_is_no_longer_ordered_lets_all_go(world: World) -> None:
    lane = await ordered(world)
    await post(world, *["a"] * 700, *["b"] * 3)
    first = await world.claim()
    await world.change(lane, ordering="none")
    await post(world, "a")

    assert await world.sweep.unpark() == [lane.no]
    assert await parked(world) == 201
    assert await world.sweep.unpark() == [lane.no]
    assert await world.sweep.unpark() == []

    assert await parked(world) == 0
    assert len(await world.claim(quota=1_000)) == 702
    assert (await world.settle(first)).retries == {}

    await world.change(lane, ordering="operation")
    await post(world, "a")
    assert turns(await world.claim()) == [("a", 702)]


# --- what should never be, and what is seen


async def test_what_waits_behind_nothing_is_let_go(world: World) -> None:
    lane, other = await ordered(world), await ordered(world, "other")
    await post(world, *["a", "b", "c"] * 3)
    await world.sql("UPDATE delivery_queue SET due_at = due_at + ? WHERE due_at < ?", NEVER, NEVER)
    assert await world.sweep.due_lanes() == []

    assert sorted(await world.sweep.unpark()) == [lane.no, other.no]
    assert await world.sweep.unpark() == []

    assert turns(await world.claim(lane.no)) == [("a", 1), ("b", 1), ("c", 1)]
    assert turns(await world.claim(other.no)) == [("a", 1), ("b", 1), ("c", 1)]


async def test_many_that_wait_behind_nothing_are_let_go_in_batches(world: World) -> None:
    lane = await ordered(world)
    names = [f"op{n}" for n in range(600)]
    await post(world, *names, *names)
    await world.sql("DELETE FROM delivery_queue WHERE due_at < ?", NEVER)

    assert await world.sweep.unpark() == [lane.no]
    assert len(await world.claim(quota=1_000)) == 500
    assert await world.sweep.unpark() == [lane.no]
    assert await world.sweep.unpark() == []
    assert len(await world.claim(quota=1_000)) == 100


@ONLY_SQLITE
async def test_a_large_backlog_is_not_read_through(world: World) -> None:
    """Steps of SQLite's machine, which are the same on every machine of ours."""
    lane = await ordered(world)
    await post(world, "a", "b")
    keys = [world.keys.next(world.clock.now()) for _ in range(20_000)]
    operation = (await world.rows(schema.delivery_queue))[0]["operation_key"]
    rows = [(key, lane.no, NEVER, 0, 0, "schedule", None, operation) for key in keys]

    async def fill(tx: Tx) -> None:
        await tx.insert(schema.delivery_queue, QUEUE_COLUMNS, rows)

    await world.database.write(fill)
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    async def look(tx: Tx) -> None:
        assert isinstance(tx, SqliteTx)
        driver: Any = (await tx.connection.get_raw_connection()).driver_connection
        await driver.set_progress_handler(count, 100)
        for statement in (ordering._STUCK, ordering._UNORDERED):  # noqa: SLF001  what is measured
            await tx.fetch(statement)
        await ordering.release_next(tx, [(lane.no, operation)])
        await ordering.park(tx, [(world.keys.next(world.clock.now()), *rows[0][1:])], world.keys)
        await driver.set_progress_handler(None, 100)

    await world.database.write(look)
    assert steps < 50


async def test_what_waits_is_pending_and_has_no_time(world: World) -> None:
    lane = await ordered(world)
    await post(world, "a", "a")
    refs = await queue(world, lane)

    page = await world.read.deliveries(
        "default", DeliveryFilter(status=DeliveryStatus.PENDING), Span(10)
    )
    views = {view.ref: view for view in page.items}
    assert [views[ref].due_at for ref in refs] == [world.clock.now(), None]
    one = await world.read.delivery("default", refs[1])
    assert isinstance(one, DeliveryView)
    assert (one.status, one.due_at) == (DeliveryStatus.PENDING, None)


async def test_what_waits_is_open_but_not_due(world: World) -> None:
    await ordered(world)
    await post(world, "a", "a", "a")
    world.clock.advance(1_000)

    assert await world.sweep.backlog() == Backlog(3, 1, 1_000, 0)
