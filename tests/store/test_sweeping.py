"""The sweep: leases of the dead, lanes that closed, what is past retention."""

import pytest

from service.domain.delivery import Trigger
from service.domain.ids import DeliveryRef, key_time
from service.domain.retry import DeadReason
from service.domain.times import HURRIED
from service.store import schema
from service.store.once import LIFETIME
from tests.support.databases import ONLY_SQLITE
from tests.support.world import LEASE, SCHEDULE, World, accepted, event, fault, kept, ref_of

pytestmark = pytest.mark.anyio

DAY = 24 * 3600 * 1000


async def reason(world: World, ref: DeliveryRef) -> str:
    letter = await world.letter(ref)
    assert letter is not None
    return str(letter["reason"])


async def replay(world: World, ref: DeliveryRef) -> None:
    assert await world.replay.replay_one("default", ref, Trigger.REPLAY, "key_test") == ref


# --- due lanes


async def test_lanes_with_something_due_are_found(world: World) -> None:
    due, later = await world.subscribe("due"), await world.subscribe("later", retry_schedule=(9.0,))
    await world.subscribe("idle", event_types=("other",))
    await world.posted(event())

    assert await world.sweep.due_lanes() == [due.no]
    world.clock.advance(12_000)
    assert await world.sweep.due_lanes() == [due.no, later.no]


# --- reclaim


async def test_a_lease_that_ran_out_is_an_attempt_of_unknown_outcome(world: World) -> None:
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    (claimed,) = await world.claim(lane.no)
    world.clock.advance(LEASE - 1)
    assert await world.sweep.reclaim(SCHEDULE) == []
    world.clock.advance(1)

    assert await world.sweep.reclaim(SCHEDULE) == [lane.no]

    (attempt,) = await world.attempts(ref)
    assert (attempt["number"], attempt["error_class"]) == (1, "unknown")
    assert "receiver may have it" in attempt["message"]
    assert attempt["started_at"] == key_time(claimed.token) == world.clock.now() - LEASE
    (row,) = await world.rows(schema.delivery_queue)
    assert (row["token"], row["due_at"], row["attempts"]) == (None, world.clock.now(), 1)
    assert await world.sweep.reclaim(SCHEDULE) == []
    (again,) = await world.claim(lane.no)
    assert (again.attempt, again.step) == (2, 2)


@ONLY_SQLITE
async def test_a_start_voids_every_lease(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 3)
    await world.claim(lane.no, quota=2)

    await world.crash()

    assert len(await world.rows(schema.attempts)) == 2
    assert len(await world.claim(lane.no)) == 3


async def test_a_crash_loop_ends_in_a_dead_letter(world: World) -> None:
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    for _ in SCHEDULE:
        assert len(await world.claim(lane.no)) == 1
        await world.crash()

    assert await world.claim(lane.no) == []
    assert await world.status(ref) == "dead"
    letter = await world.letter(ref)
    assert letter is not None
    assert (letter["reason"], letter["error_class"]) == (DeadReason.CRASH_LOOP, "unknown")
    assert letter["attempts"] == len(SCHEDULE)
    numbers = [each["number"] for each in await world.attempts(ref)]
    assert numbers == [1, 2, 3]


async def test_a_crash_loop_goes_by_the_subscriptions_own_schedule(world: World) -> None:
    short = await world.subscribe("short", retry_schedule=(0.0,))
    long = await world.subscribe("long", retry_schedule=(0.0,) * 5)
    await world.posted(event())
    for _ in SCHEDULE:
        await world.claim()
        await world.crash()

    letters = await world.rows(schema.dead_letters)
    assert [ref_of(each).subscription_no for each in letters] == [short.no]
    assert len(await world.claim(long.no)) == 1


async def test_leases_of_paused_and_deleted_lanes_are_reclaimed(world: World) -> None:
    paused, deleted = await world.subscribe("paused"), await world.subscribe("deleted")
    await world.queued(paused, 1)
    await world.claim()
    await world.set_status(paused, "paused")
    await world.delete(deleted)
    world.clock.advance(LEASE)

    assert sorted(await world.sweep.reclaim(SCHEDULE)) == [paused.no, deleted.no]

    rows = await world.rows(schema.delivery_queue)
    assert [row["token"] for row in rows] == [None, None]


# --- retire


async def test_what_waits_for_a_closed_subscription_becomes_dead_letters(world: World) -> None:
    names = ("kept", "paused", "disabled", "deleted")
    lanes = {name: await world.subscribe(name) for name in names}
    await world.queued(lanes["kept"], 2)
    await world.set_status(lanes["paused"], "paused")
    await world.set_status(lanes["disabled"], "disabled")
    await world.delete(lanes["deleted"])

    assert await world.sweep.retire() == 4
    assert await world.sweep.retire() == 0

    reasons = {
        (row["subscription_no"], row["reason"], row["state"], row["attempts"])
        for row in await world.rows(schema.dead_letters)
    }
    assert reasons == {
        (lanes["disabled"].no, "subscription_disabled", "open", 0),
        (lanes["deleted"].no, "subscription_deleted", "open", 0),
    }
    left = {row["subscription_no"] for row in await world.rows(schema.delivery_queue)}
    assert left == {lanes["kept"].no, lanes["paused"].no}


async def test_what_is_under_way_is_not_retired_before_its_result(world: World) -> None:
    lane = await world.subscribe()
    first, second = await world.queued(lane, 2)
    claimed = await world.claim(lane.no)
    await world.delete(lane)

    assert await world.sweep.retire() == 0
    await world.deliver.settle(
        [world.settlement(claimed[0], 200), world.settlement(claimed[1], 500)]
    )
    assert await world.sweep.retire() == 1

    assert await world.status(first) == "delivered"
    assert await reason(world, second) == DeadReason.SUBSCRIPTION_DELETED


async def test_a_resumed_subscription_keeps_what_was_not_retired_yet(world: World) -> None:
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    await world.set_status(lane, "disabled")
    await world.set_status(lane, "active")

    assert await world.sweep.retire() == 0
    assert [each.ref for each in await world.claim(lane.no)] == [ref]


# --- forget


async def test_events_past_retention_are_forgotten_with_all_that_is_theirs(world: World) -> None:
    lane = await world.subscribe()
    await world.posted(event("op", "STARTED", id="old"))
    await world.deliver_due()
    world.clock.advance(DAY)
    await world.posted(event("op", id="new"))
    await world.deliver_due()

    assert await world.sweep.forget(DAY) == 0
    world.clock.advance(1)
    assert await world.sweep.forget(DAY) == 1
    assert await world.sweep.forget(DAY) == 0

    assert [row["id"] for row in await world.log()] == ["new"]
    for table in (schema.event_ids, schema.deliveries, schema.attempts):
        assert len(await world.rows(table)) == 1
    # the operation goes on where it was, and the id may be used again
    again = await world.posted(event("op", id="old"))
    assert (again[0].duplicate, again[0].sequence) == (False, 3)
    assert len(await world.claim(lane.no)) == 1


async def test_what_is_still_open_past_retention_is_a_dead_letter_first(world: World) -> None:
    lane = await world.subscribe()
    waiting, leased = await world.queued(lane, 2)
    held = (await world.claim(lane.no, quota=1))[0].ref
    open_ = leased if held == waiting else waiting
    world.clock.advance(DAY + 1)

    assert await world.sweep.forget(DAY) == 1
    assert await reason(world, open_) == DeadReason.EXPIRED
    assert await world.status(held) == "delivering"
    while await world.sweep.forget(DAY):
        pass

    # the event of what is under way stays until its result; that of the other is gone
    left = [row["key"] for row in await world.log()]
    assert left == [held.event_key]
    letter = await world.letter(open_)
    assert letter is not None
    assert b'"type":"note"' in letter["body"]


async def expired(world: World) -> DeliveryRef:
    """A dead letter whose event is gone."""
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    await world.deliver_due(500)
    world.clock.advance(DAY + 1)
    while await world.sweep.forget(DAY):
        pass
    assert await world.log() == []
    assert await reason(world, ref) == DeadReason.EXPIRED
    return ref


async def test_a_dead_letter_is_replayed_after_its_event_is_gone(world: World) -> None:
    ref = await expired(world)
    letter = await world.letter(ref)
    await replay(world, ref)
    assert await world.sweep.forget(DAY) == 0  # it does not expire again

    (claimed,) = await world.claim()

    assert letter is not None
    assert claimed.body == letter["body"]
    assert (claimed.event_id, claimed.event_type) == (letter["event_id"], letter["event_type"])
    assert (claimed.operation_id, claimed.sequence) == ("op0", 1)
    await world.settle([claimed])
    assert await world.status(ref) == "delivered"


async def test_a_replay_without_its_event_that_fails_is_open_again(world: World) -> None:
    ref = await expired(world)
    before = await world.letter(ref)
    await replay(world, ref)
    await world.exhaust(fault())

    letter = await world.letter(ref)
    assert before is not None
    assert letter is not None
    assert (letter["state"], letter["reason"]) == ("open", "attempts_exhausted")
    assert letter["body"] == before["body"]


async def test_a_worker_that_dies_over_a_replay_without_its_event_leaves_it_due(
    world: World,
) -> None:
    ref = await expired(world)
    await replay(world, ref)
    for _ in SCHEDULE:
        assert [each.ref for each in await world.claim()] == [ref]
        await world.crash()

    assert await reason(world, ref) == DeadReason.CRASH_LOOP


async def test_what_was_delivered_after_its_event_was_gone_is_forgotten_too(world: World) -> None:
    ref = await expired(world)
    await replay(world, ref)
    await world.deliver_due()

    assert await world.sweep.forget(DAY) == 1
    assert await world.sweep.forget(DAY) == 0

    for table in (schema.dead_letters, schema.deliveries, schema.attempts):
        assert await world.rows(table) == []


async def test_a_discarded_dead_letter_whose_event_is_gone_leaves_nothing(world: World) -> None:
    # its delivery could be retried otherwise, without an event to send: a claim would fail for
    # every lane, again and again
    ref = await expired(world)

    assert await world.replay.discard("default", ref, "key_test") is None

    for table in (schema.dead_letters, schema.deliveries, schema.attempts):
        assert await world.rows(table) == []


async def test_open_dead_letters_keep_their_attempts_past_retention(world: World) -> None:
    ref = await expired(world)
    world.clock.advance(10 * DAY)

    while await world.sweep.forget(DAY):
        pass

    assert len(await world.attempts(ref)) == 1
    assert await world.status(ref) == "dead"


async def test_more_than_a_batch_is_forgotten_in_several(world: World) -> None:
    await world.posted(*(event("op", id=f"e{n}") for n in range(501)))
    world.clock.advance(DAY + 1)

    assert [await world.sweep.forget(DAY) for _ in range(3)] == [500, 1, 0]
    assert await world.rows(schema.events) == []


async def test_answers_past_their_day_are_forgotten(world: World) -> None:
    await world.post(event(), once=kept("old"))
    world.clock.advance(LIFETIME // 2)
    await world.post(event(), once=kept("new"))
    world.clock.advance(LIFETIME // 2)

    assert await world.sweep.forget(30 * DAY) == 1

    assert [row["key"] for row in await world.rows(schema.idempotency_keys)] == ["new"]


async def test_the_backlog_is_counted(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 5)
    await world.claim(lane.no, quota=2)
    later = await world.subscribe("later", retry_schedule=(60.0,))
    accepted((await world.post(event("more")))[0])
    await world.set_status(later, "active")
    (blocked,) = await world.claim(lane.no, quota=1)
    await world.settle([blocked], 410)
    world.clock.advance(700)

    backlog = await world.sweep.backlog()

    assert (backlog.open, backlog.due, backlog.oldest_due_age) == (6, 3, 700)
    assert backlog.dead_letters_open == 1


async def test_the_queue_is_as_old_as_what_nothing_holds_back(world: World) -> None:
    assert await world.sweep.queue_age() == 0
    held, taken = await world.subscribe("held"), await world.subscribe("taken")
    await world.posted(event())
    world.clock.advance(1_000)
    await world.subscribe("later", retry_schedule=(60.0,))
    await world.posted(event("op2"))
    world.clock.advance(500)
    await world.set_status(held, "paused")

    assert await world.sweep.queue_age() == 1_500
    await world.claim(taken.no, quota=1)
    assert await world.sweep.queue_age() == 500
    await world.claim(taken.no, quota=1)
    assert await world.sweep.queue_age() == 0  # what is left is paused, leased or not due yet


async def test_a_hurried_delivery_does_not_make_the_queue_old(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 1)
    await world.sql("UPDATE delivery_queue SET due_at = ?", HURRIED)

    assert await world.sweep.queue_age() == 0


async def test_the_feed_knows_how_far_back_it_is_whole(world: World) -> None:
    await world.tenant("other")
    lane = await world.subscribe()
    await world.posted(event("a"), event("b"), tenant="other")
    await world.posted(event("a"))
    await world.posted(event("b"))
    await world.posted(event("c"))
    await world.claim(lane.no, quota=1)  # the oldest is under way, and stays
    world.clock.advance(DAY + 1)
    await world.posted(event("d"))

    while await world.sweep.forget(DAY):
        pass

    floors = {row["id"]: row["feed_floor"] for row in await world.rows(schema.tenants)}
    assert floors == {"default": 3, "other": 2}
    left = [row["feed_position"] for row in await world.log()]
    assert left == [1, 4]
    world.clock.advance(LEASE)
    await world.sweep.reclaim(SCHEDULE)
    while await world.sweep.forget(DAY):
        pass
    floors = {row["id"]: row["feed_floor"] for row in await world.rows(schema.tenants)}
    assert floors == {"default": 3, "other": 2}


# --- deliveries of which nothing is left


async def lost(world: World, ref: DeliveryRef) -> None:
    """Take the event away from under its delivery, as nothing should."""
    await world.sql("DELETE FROM events WHERE key = ?", ref.event_key)
    await world.sql("DELETE FROM event_ids WHERE event_key = ?", ref.event_key)


async def test_a_delivery_without_its_event_is_claimed_in_vain_once_only(world: World) -> None:
    lane = await world.subscribe()
    ref, other = await world.queued(lane, 2)
    await lost(world, ref)
    assert [each.ref for each in await world.claim()] == [other]
    world.clock.advance(LEASE)

    assert await world.sweep.reclaim(SCHEDULE[:1]) != []

    # the lease of the other had run out as well
    assert await world.rows(schema.delivery_queue) == []
    assert [ref_of(row) for row in await world.rows(schema.dead_letters)] == [other]
    assert await world.rows(schema.attempts, **ref._asdict()) == []


async def test_a_closed_subscription_is_retired_past_a_delivery_without_its_event(
    world: World,
) -> None:
    lane = await world.subscribe()
    ref, other = await world.queued(lane, 2)
    await lost(world, ref)
    await world.set_status(lane, "disabled")

    assert await world.sweep.retire() == 2

    assert await world.rows(schema.delivery_queue) == []
    assert [ref_of(row) for row in await world.rows(schema.dead_letters)] == [other]


@pytest.mark.parametrize("ordering", ["none", "operation"])
async def test_what_waits_without_its_event_past_retention_is_forgotten(
    world: World, ordering: str
) -> None:
    lane = await world.subscribe(ordering=ordering)
    await world.posted(event("op"), event("op"), event("op"))
    refs = [ref_of(row) for row in await world.rows(schema.delivery_queue)]
    await world.deliver_due(500)
    await world.set_status(lane, "paused")
    for ref in refs[:2]:
        await lost(world, ref)
    assert await world.sweep.forget(DAY) == 0
    world.clock.advance(2 * DAY)

    assert await world.sweep.forget(DAY) == 3

    assert await world.rows(schema.delivery_queue) == []
    assert [ref_of(row) for row in await world.rows(schema.dead_letters)] == refs[2:]
    for ref in refs[:2]:
        assert await world.attempts(ref) == []
