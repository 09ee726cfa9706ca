"""Circuits, receivers given up, and what is told of both: over the real store."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.domain import operational
from service.domain.delivery import Trigger
from service.domain.health import Circuit, circuit
from service.domain.ids import DeliveryRef
from service.domain.outcome import ErrorClass
from service.domain.retry import DeadReason
from service.domain.subscription import Subscription
from service.domain.tallies import RANGES
from service.ports import Claimed, LaneQuota
from service.store import announcing, schema
from service.store.schema_health import attempt_tallies, subscription_health
from tests.support.clock import FakeClock
from tests.support.databases import Place
from tests.support.world import LEASE, World, event, fault, opened_world

pytestmark = pytest.mark.anyio

SECOND = 1_000
DAY = 86_400_000
#: So many failures that a delivery does not die of them.
PATIENT = (0.0,) * 50


@pytest.fixture
async def world(place: Place, clock: FakeClock) -> AsyncIterator[World]:
    async with opened_world(place, clock, PATIENT, breaker=True) as world:
        yield world


async def tripped(world: World, **members: object) -> Subscription:
    """A subscription with ten deliveries, each of which has just failed once."""
    lane = await world.subscribe(**members)  # type: ignore[arg-type]  # members of many types
    await world.queued(lane, 10)
    claimed = await world.claim(lane.no)
    assert len(claimed) == 10
    await world.settle(claimed, 500)
    return lane


async def state(world: World, lane: Subscription) -> Circuit:
    stats = await world.read.subscription_stats(lane.no)
    return circuit(stats.health, world.clock.now())


async def told(world: World) -> list[tuple[str, dict[str, Any]]]:
    """The operational events so far: type and data."""
    return [(row["type"], json.loads(row["body"])["data"]) for row in await world.told()]


async def types_told(world: World) -> list[str]:
    return [kind for kind, _ in await told(world)]


# --- circuits


async def test_a_circuit_that_opens_keeps_everything_back_and_costs_no_attempts(
    world: World,
) -> None:
    lane = await tripped(world)
    other = await world.subscribe("other")
    await world.posted(event("op"))

    assert await state(world, lane) is Circuit.OPEN
    assert await world.sweep.due_lanes() == [other.no]
    assert await world.claim(lane.no) == []
    assert {row["attempts"] for row in await world.rows(schema.delivery_queue)} == {0, 1}
    world.clock.advance(30 * SECOND)
    assert set(await world.sweep.due_lanes()) == {lane.no, other.no}


async def test_then_one_probe_at_a_time_until_one_succeeds(world: World) -> None:
    lane = await tripped(world)
    world.clock.advance(30 * SECOND)

    assert await state(world, lane) is Circuit.HALF_OPEN
    (probe,) = await world.claim(lane.no)
    assert await world.claim(lane.no) == []
    settled = await world.settle([probe], 500)
    assert await world.claim(lane.no) == []
    # there is nothing to look for before the next probe
    assert settled.retries == {lane.no: world.clock.now() + 60 * SECOND}
    world.clock.advance(60 * SECOND)
    (probe,) = await world.claim(lane.no)
    settled = await world.settle([probe])

    assert settled.recovered == {lane.no}
    assert settled.retries == {lane.no: world.clock.now()}
    assert await state(world, lane) is Circuit.CLOSED
    assert len(await world.claim(lane.no)) == 9


async def test_a_probe_that_is_never_heard_of_again_is_followed_by_another(world: World) -> None:
    lane = await tripped(world)
    world.clock.advance(30 * SECOND)
    assert len(await world.claim(lane.no)) == 1

    world.clock.advance(LEASE)
    assert await world.sweep.reclaim(PATIENT) == [lane.no]
    assert len(await world.claim(lane.no)) == 1


async def test_what_is_hurried_goes_through_and_its_success_closes_the_circuit(
    world: World,
) -> None:
    lane = await tripped(world)
    first = (await world.rows(schema.delivery_queue))[0]
    ref = DeliveryRef(first["event_key"], lane.no)
    world.clock.advance(1)
    assert await world.replay.replay_one("default", ref, Trigger.MANUAL, "key") == ref

    assert await world.sweep.due_lanes() == [lane.no]
    (claimed,) = await world.claim(lane.no)
    assert claimed.ref == ref
    await world.settle([claimed])
    assert await state(world, lane) is Circuit.CLOSED


async def test_an_open_circuit_survives_a_crash(world: World) -> None:
    lane = await tripped(world)
    await world.crash()

    assert await world.sweep.due_lanes() == []
    world.clock.advance(30 * SECOND)
    (probe,) = await world.claim(lane.no)
    settled = await world.settle([probe])
    assert settled.recovered == {lane.no}


async def test_results_of_sends_from_before_do_not_close_it(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 12)
    claimed = await world.claim()
    await world.settle(claimed[:10], 500)
    world.clock.advance(SECOND)

    await world.settle(claimed[10:])

    assert await state(world, lane) is Circuit.OPEN


async def test_late_results_touch_nothing(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 12)
    claimed = await world.claim()
    world.clock.advance(LEASE)
    await world.sweep.reclaim(PATIENT)

    assert (await world.settle(claimed, 500)).late == 12
    assert await world.rows(subscription_health) == []
    assert await world.rows(attempt_tallies) == []


async def test_of_a_deleted_subscription_nothing_is_remembered(world: World) -> None:
    lane = await tripped(world)
    other = await world.subscribe("other")
    await world.queued(other, 20)
    flying = await world.claim(other.no)
    await world.settle(flying[:1])
    await world.settle(flying[1:2])  # a success that waits to be written

    for each in (lane, other):
        await world.manage.delete_subscription("default", each.id, "key")
    await world.settle(flying[2:12], 500)
    await world.settle(flying[12:])
    world.clock.advance(SECOND)
    await world.deliver.flush()

    assert await world.rows(subscription_health) == []
    whole = await world.read.service_stats()
    assert (whole.circuits_open, whole.circuits_half_open) == (0, 0)
    assert await types_told(world) == [operational.FAILING]
    assert {row["status"] for row in await world.rows(schema.deliveries)} == {"delivered"}


async def test_another_url_is_not_held_for_what_the_old_one_asked(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 1)
    await world.change(lane, hold_until=world.clock.now() + DAY)
    assert await world.claim(lane.no) == []

    await world.change(lane, description="words")
    assert await world.claim(lane.no) == []
    await world.change(lane, url="https://example.net")
    assert len(await world.claim(lane.no)) == 1


@pytest.mark.parametrize("how", ["resume", "another URL"])
async def test_a_person_may_begin_anew(world: World, how: str) -> None:
    lane = await tripped(world)

    if how == "resume":
        await world.manage.resume_subscription("default", lane.id, "key")
    else:
        await world.change(lane, url="https://example.net")

    assert await state(world, lane) is Circuit.CLOSED
    (row,) = await world.rows(subscription_health)
    assert (row["streak"], row["failing_since"], row["told"]) == (0, None, 0)
    assert row["last_failure_at"] == world.clock.now()
    assert len(await world.claim(lane.no)) == 10
    # a change that is none of these begins nothing anew
    lane = await tripped(world, name="second")
    await world.change(lane, description="words")
    assert await state(world, lane) is Circuit.OPEN


async def test_without_a_breaker_nothing_waits(place: Place, clock: FakeClock) -> None:
    async with opened_world(place, clock, PATIENT, breaker=True) as world:
        lane = await tripped(world)
    async with opened_world(place, clock, PATIENT, breaker=False) as world:
        # whatever was open before it was switched off
        assert await world.sweep.due_lanes() == [lane.no]
        claimed = await world.claim()
        settled = await world.settle(claimed, 500)
        assert len(claimed) == 10
        assert (settled.recovered, settled.opened) == (frozenset(), {})
        assert await state(world, lane) is Circuit.CLOSED
        assert len(await world.deliver_due(500)) == 10


async def test_health_changes_neither_subscriptions_nor_the_configuration(world: World) -> None:
    lane = await world.subscribe()
    before = (await world.rows(schema.tenants))[0]["config_version"]
    await world.queued(lane, 10)
    await world.deliver_due(500)
    world.clock.advance(30 * SECOND)
    await world.deliver_due()

    (row,) = await world.rows(schema.subscriptions, no=lane.no)
    assert (row["version"], row["updated_at"]) == (lane.version, lane.updated_at)
    assert (await world.rows(schema.tenants))[0]["config_version"] == before


async def test_a_delivery_shows_when_its_circuit_lets_it_go(world: World) -> None:
    lane = await tripped(world)
    (row, *_) = await world.rows(schema.delivery_queue)

    view = await world.read.delivery("default", DeliveryRef(row["event_key"], lane.no))

    assert view is not None
    assert view.due_at == world.clock.now() + 30 * SECOND


# --- writing


async def test_successes_are_written_now_and_then_and_failures_at_once(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 6)
    ones = await world.claim()
    await world.settle(ones[:1])
    first = world.clock.now()
    assert await world.rows(subscription_health) == []
    await world.deliver.flush()
    (row,) = await world.rows(subscription_health)
    assert row["last_success_at"] == first
    assert await counted(world, lane) == (1, 0)

    world.clock.advance(10 * SECOND)
    await world.settle(ones[1:3])
    (row,) = await world.rows(subscription_health)
    assert row["last_success_at"] == first
    assert await counted(world, lane) == (1, 0)

    await world.settle(ones[3:4], 500)  # what waited counts with it
    (row,) = await world.rows(subscription_health)
    assert (row["last_success_at"], row["last_failure_at"]) == (world.clock.now(),) * 2
    assert [each[1:] for each in json.loads(row["recent"])] == [[3, 1]]

    await world.settle(ones[4:])
    assert await counted(world, lane) == (1, 0)
    for _ in range(2):
        await world.deliver.flush()
        assert await counted(world, lane) == (5, 1)


async def counted(world: World, lane: Subscription) -> tuple[int, int]:
    """Attempts of the last day, good and bad; all of them in the slice under way."""
    day = (await world.read.subscription_stats(lane.no)).last_day
    slices = await world.read.subscription_attempts(lane.no, RANGES["24h"])
    assert (slices[-1].succeeded, slices[-1].failed) == (day.succeeded, day.failed)
    assert all(not each.took for each in slices[:-1])
    return day.succeeded, day.failed


async def test_results_that_could_not_be_kept_do_not_count(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 1)
    claimed = await world.claim()

    async def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(announcing.Announcer, "announce", broken)
        with pytest.raises(RuntimeError):
            await world.settle(claimed, 410)
    await world.settle(claimed)
    await world.deliver.flush()

    assert await counted(world, lane) == (1, 0)


async def test_counts_are_forgotten_after_a_day(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 1)
    await world.deliver_due()
    await world.deliver.flush()
    assert await world.deliver.forget_counts() == 0

    world.clock.advance(DAY + 3_600_000)
    forgotten = await world.deliver.forget_counts()

    assert forgotten == 2  # its own, and the whole service's
    assert await world.rows(attempt_tallies) == []


# --- giving up


async def failing_for(world: World, days: float, attempts: int) -> None:
    for _ in range(attempts):
        await world.deliver_due(fault(ErrorClass.CONNECT))
        world.clock.advance(round(days * DAY / (attempts - 1)))


async def test_after_five_days_of_failures_a_subscription_is_disabled(world: World) -> None:
    lane = await world.subscribe()
    ops = await world.subscribe("ops", event_types=("subscription.*",))
    (ref,) = await world.queued(lane, 1)
    version = (await world.rows(schema.tenants))[0]["config_version"]
    await failing_for(world, 5, 21)

    (row,) = await world.rows(schema.subscriptions, no=lane.no)
    assert (row["status"], row["disabled_reason"]) == ("disabled", "failing")
    assert (await world.rows(schema.tenants))[0]["config_version"] > version
    kind, data = (await told(world))[-1]
    assert (kind, data) == (
        operational.DISABLED,
        {"subscriptionId": lane.id, "reason": "failing"},
    )
    assert await world.sweep.retire() == 1
    letter = await world.letter(ref)
    assert letter is not None
    assert letter["reason"] == DeadReason.SUBSCRIPTION_DISABLED
    assert ops.no in {row["subscription_no"] for row in await world.rows(schema.delivery_queue)}

    # enabled again, what waited comes back by replay, and the count begins anew
    await world.manage.resume_subscription("default", lane.id, "key")
    assert await world.replay.replay_one("default", ref, Trigger.REPLAY, "key") == ref
    await world.deliver_due(500)
    (row,) = await world.rows(schema.subscriptions, no=lane.no)
    assert row["status"] == "active"
    world.clock.advance(SECOND)
    await world.deliver_due()
    assert await world.status(ref) == "delivered"


@pytest.mark.parametrize(("days", "attempts"), [(4.9, 30), (20, 19)])
async def test_fewer_days_or_attempts_are_not_enough(
    world: World, days: float, attempts: int
) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 1)
    await failing_for(world, days, attempts)

    (row,) = await world.rows(schema.subscriptions, no=lane.no)
    assert row["status"] == "active"


async def test_one_success_in_five_days_is_enough_to_live(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 2)
    await failing_for(world, 4, 15)
    (one, _) = await world.claim()
    await world.settle([one])
    world.clock.advance(LEASE)
    await world.sweep.reclaim(PATIENT)
    await failing_for(world, 4, 15)

    (row,) = await world.rows(schema.subscriptions, no=lane.no)
    assert row["status"] == "active"


# --- operational events


async def test_failing_is_told_once_and_so_is_the_recovery(world: World) -> None:
    lane = await tripped(world)
    assert await told(world) == [
        (operational.FAILING, {"subscriptionId": lane.id, "failedAttempts": 10})
    ]
    for _ in range(2):
        world.clock.advance(900 * SECOND)
        await world.deliver_due(500)
    assert await types_told(world) == [operational.FAILING]

    world.clock.advance(900 * SECOND)
    await world.deliver_due()

    assert await types_told(world) == [operational.FAILING, operational.RECOVERED]


async def test_they_are_in_the_feed_and_reach_who_names_them(world: World) -> None:
    ops = await world.subscribe("ops", event_types=("subscription.*",))
    everything = await world.subscribe("all")
    await tripped(world)
    settled_feed = await world.read.feed("default", 0, 100)

    (told_,) = await world.told()
    assert [each.id for each in settled_feed.events][-1] == told_["id"]
    assert settled_feed.end == told_["feed_position"]
    found = await world.read.event("default", told_["id"])
    assert found is not None
    assert (found.operation_id, found.sequence) == (None, None)
    lanes = {
        row["subscription_no"]
        for row in await world.rows(schema.delivery_queue, event_key=told_["key"])
    }
    assert lanes == {ops.no}
    (claimed,) = await world.claim(ops.no)
    assert (claimed.event_type, claimed.operation_id) == (operational.FAILING, None)
    assert everything.no not in lanes


async def test_whoever_settles_learns_that_something_is_to_be_told(world: World) -> None:
    ops = await world.subscribe("ops", event_types=("subscription.failing",))
    lane = await world.subscribe()
    await world.queued(lane, 10)

    settled = await world.settle(await world.claim(lane.no), 500)

    assert settled.retries[ops.no] == world.clock.now()


async def disabled(world: World) -> list[tuple[str, str, str]]:
    """Actor, target and detail of what the audit log has of it."""
    found = await world.rows(schema.audit_log, action="subscription.disabled")
    return [(row["actor"], row["target"], row["detail"]) for row in found]


async def test_the_audit_log_has_whom_nobody_disabled(world: World) -> None:
    gone, failing = await world.subscribe("gone"), await world.subscribe("failing")
    await world.queued(gone, 2)
    one, two = await world.claim(gone.no)
    await world.settle([one], 410)
    await world.settle([two], 410)  # it is disabled already
    assert await disabled(world) == [("system", gone.id, '{"reason": "gone"}')]

    await failing_for(world, 5, 21)

    assert await disabled(world) == [
        ("system", gone.id, '{"reason": "gone"}'),
        ("system", failing.id, '{"reason": "failing"}'),
    ]


async def test_a_tenants_events_are_its_own(world: World) -> None:
    await world.tenant("other")
    await world.subscribe("ops", event_types=("subscription.*", "delivery.*"))
    lane = await world.subscribe("theirs", "other")
    await world.posted(event("op"), tenant="other")
    await world.settle(await world.claim(lane.no), 410)

    assert {row["tenant_id"] for row in await world.told()} == {"other"}
    assert await world.rows(schema.delivery_queue) == []


async def test_a_receiver_that_is_gone_is_told_of(world: World) -> None:
    lane = await world.subscribe()
    refs = await world.queued(lane, 2)
    await world.settle(await world.claim(quota=1), 410)

    kinds = await types_told(world)
    assert sorted(kinds) == sorted(
        [operational.DEAD_LETTERED, operational.THRESHOLD, operational.DISABLED]
    )
    data = dict(await told(world))
    assert data[operational.DISABLED] == {"subscriptionId": lane.id, "reason": "gone"}
    letter = data[operational.DEAD_LETTERED]
    assert letter["reason"] == "gone"
    assert (letter["statusCode"], letter["attempts"]) == (410, 1)
    assert letter["deliveryId"].startswith("dlv_")
    assert letter["deadLetterId"].startswith("dl_")
    assert letter["eventType"] == "note"
    assert letter["operationId"] in {"op0", "op1"}
    assert len(refs) == 2


async def test_thresholds_are_told_when_they_are_crossed(world: World) -> None:
    lane = await world.subscribe("letters")
    refs = await world.queued(lane, 12)
    claimed = {each.ref: each for each in await world.claim()}
    blocked = fault(ErrorClass.BLOCKED)

    async def die(some: list[DeliveryRef]) -> list[int]:
        before = len(await world.told())
        await world.settle([claimed[ref] for ref in some], blocked)
        return [
            data["threshold"]
            for kind, data in (await told(world))[before:]
            if kind == operational.THRESHOLD
        ]

    assert await die(refs[:1]) == [1]
    assert await die(refs[1:8]) == []
    assert await die(refs[8:]) == [10]
    # below it and above it again: told again
    for ref in refs[:11]:
        assert await world.replay.discard("default", ref, "key") is None
    more = await world.queued(lane, 9)
    claimed |= {each.ref: each for each in await world.claim()}
    assert await die(more) == [10]


async def test_of_many_dead_letters_not_all_are_counted_each_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "_FEW", 3)
    lane = await world.subscribe("letters")
    await world.queued(lane, 14)
    claimed = await world.claim()
    seen = []
    for each in claimed:
        await world.settle([each], fault(ErrorClass.BLOCKED))
        seen = [d["threshold"] for k, d in await told(world) if k == operational.THRESHOLD]

    assert seen == [1, 10]


async def test_what_carries_one_never_causes_another(world: World) -> None:
    ops = await world.subscribe("ops", event_types=tuple(sorted(operational.TYPES)))
    lane = await world.subscribe("lane", event_types=("note",))
    await world.posted(*(event(f"op{n}") for n in range(40)))
    await world.settle(await world.claim(lane.no), fault(ErrorClass.BLOCKED))
    before = len(await world.told())
    assert before > 40
    while claimed := await world.claim(ops.no):
        await world.settle(claimed, fault(ErrorClass.BLOCKED))

    letters = await world.rows(schema.dead_letters, subscription_no=ops.no)
    assert len(letters) == before
    assert len(await world.told()) == before


async def test_the_failing_of_their_own_deliveries_is_told_to_nobody(world: World) -> None:
    ops = await world.subscribe("ops", event_types=("delivery.*",))
    lane = await world.subscribe("lane", event_types=("note",))
    await world.posted(*(event(f"op{n}") for n in range(12)))
    await world.settle(await world.claim(lane.no), fault(ErrorClass.BLOCKED))
    before = len(await world.told())

    await world.settle(await world.claim(ops.no), 500)
    assert await state(world, ops) is Circuit.OPEN
    world.clock.advance(30 * SECOND)
    await world.settle(await world.claim(ops.no))
    assert await state(world, ops) is Circuit.CLOSED
    await world.settle(await world.claim(ops.no, quota=1), 410)
    (row,) = await world.rows(schema.subscriptions, no=ops.no)

    assert row["status"] == "disabled"
    assert len(await world.told()) == before


async def test_the_dead_of_the_sweep_are_told_of_too(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 3)
    await world.delete(lane)
    assert await world.sweep.retire() == 3

    reasons = [d["reason"] for k, d in await told(world) if k == operational.DEAD_LETTERED]
    assert reasons == ["subscription_deleted"] * 3


# --- what a claim keeps to


@pytest.mark.parametrize("name", ["rate_limit_per_second", "allowed_per_minute"])
async def test_a_rate_that_the_worker_does_not_know_is_learnt_one_at_a_time(
    world: World, name: str
) -> None:
    limits = {"rate_limit_per_second": 100.0, "allowed_per_minute": 6_000}
    lane = await world.subscribe("sub", "default", **{name: limits[name]})
    await world.queued(lane, 5)

    async def claimed(rate: float | None) -> list[Claimed]:
        claim = await world.deliver.claim([LaneQuota(lane.no, 2, 0, rate)], LEASE)
        return list(claim.deliveries)

    assert len(await claimed(None)) == 1
    assert len(await claimed(100.0)) == 2
    await world.change(lane, **{name: None})
    assert len(await claimed(100.0)) == 1
    assert len(await claimed(None)) == 1


async def test_statistics_of_one_and_of_all(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 5)
    world.clock.advance(40)
    ones = await world.claim()
    await world.settle(ones[:2])
    await world.settle(ones[2:3], 500)
    await world.settle(ones[3:4], 410)
    world.clock.advance(SECOND)
    await world.deliver.flush()

    stats = await world.read.subscription_stats(lane.no)
    assert stats.deliveries == {
        "pending": 1,
        "delivering": 1,
        "delivered": 2,
        "dead": 1,
        "cancelled": 0,
    }
    assert (stats.dead_letters_open, stats.is_capped) == (1, False)
    assert (stats.last_hour, stats.last_day) == (stats.last_day, stats.last_hour)
    assert (stats.last_day.succeeded, stats.last_day.failed) == (2, 2)
    assert stats.durations.p50 == 1.0
    whole = await world.read.service_stats()
    assert (whole.in_flight, whole.circuits_open, whole.circuits_half_open) == (1, 0, 0)
    assert whole.delivered_per_minute == 2
    assert whole.failed_per_minute == 2
    assert whole.delivery_times.p50 == pytest.approx(40, rel=0.2)

    world.clock.advance(2 * 3_600_000)
    stats = await world.read.subscription_stats(lane.no)
    assert (stats.last_hour.succeeded, stats.last_day.succeeded) == (0, 2)
    assert (await world.read.service_stats()).delivery_times.p50 is None


async def test_circuits_are_counted(world: World) -> None:
    await tripped(world)
    assert (await world.read.service_stats()).circuits_open == 1

    world.clock.advance(30 * SECOND)

    whole = await world.read.service_stats()
    assert (whole.circuits_open, whole.circuits_half_open) == (0, 1)
    await world.sql("UPDATE subscriptions SET status = 'disabled'")
    assert (await world.read.service_stats()).circuits_half_open == 0
