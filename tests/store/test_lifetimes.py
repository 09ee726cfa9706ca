"""Operations whose time has come: silent ones, expired ones, tombstones."""

import json
from collections.abc import Awaitable, Callable

import pytest

from service.domain.delivery import Trigger
from service.domain.errors import RefusalKind
from service.domain.subscription import Subscription
from service.ports import SilentOperation
from service.store import schema
from tests.support.world import TTL, World, accepted, event, ref_of, refused

pytestmark = pytest.mark.anyio

DAY = 24 * 3600 * 1000
RETENTION = 30 * DAY
CLEARED = ("progress", "result", "error", "warnings", "metadata", "client_job_id")


async def while_it_finds(work: Callable[[], Awaitable[int]]) -> int:
    total = 0
    while done := await work():
        total += done
    return total


async def end_of_retention(world: World) -> None:
    """Long after everything, with the sweep having been there all the time."""
    world.clock.advance(TTL)
    await while_it_finds(world.lifetimes.strip)
    world.clock.advance(RETENTION + 1)
    await while_it_finds(lambda: world.sweep.forget(RETENTION))


async def tombstones_removed(world: World) -> int:
    return await while_it_finds(lambda: world.lifetimes.remove_tombstones(RETENTION))


# --- silent


async def test_silent_operations_are_found_when_their_time_has_come(world: World) -> None:
    await world.described("quick", timeout_ms=1_000)
    await world.described("slow", timeout_ms=5_000)
    await world.described("patient")
    world.clock.advance(999)
    assert await world.lifetimes.silent() == []
    world.clock.advance(1)
    assert await world.lifetimes.silent() == [SilentOperation("default", "quick", "report", 1_000)]

    await world.posted(event("quick"))
    world.clock.advance(999)
    assert await world.lifetimes.silent() == []
    await world.posted(event("quick", "COMPLETED"))
    world.clock.advance(1_000_000)
    assert [each.id for each in await world.lifetimes.silent()] == ["slow"]


# --- expired


async def test_an_expired_operation_loses_its_body_and_nothing_else(world: World) -> None:
    await world.described(metadata=b"{}", client_job_id="job", ttl_ms=60_000)
    await world.posted(
        event("op", "STATUS_UPDATE", progress=b"50"),
        event("op", "FAILED", error=b"{}", result=b"1", warnings=b"[]"),
    )
    before = await world.operation()
    world.clock.advance(59_999)
    assert await world.lifetimes.strip() == 0
    world.clock.advance(1)

    assert await world.lifetimes.strip() == 1
    assert await world.lifetimes.strip() == 0

    (row,) = await world.rows(schema.operations)
    assert [row[name] for name in CLEARED] == [None] * len(CLEARED)
    assert row["forgotten_at"] == world.clock.now()
    left = await world.operation()
    assert (left.status, left.sequence, left.ended_at) == ("FAILED", 2, before.ended_at)
    assert left.expires_at == before.expires_at
    assert len(await world.rows(schema.events)) == 2


async def test_expired_operations_are_stripped_in_batches(world: World) -> None:
    await world.posted(*(event(f"op{n}", "COMPLETED") for n in range(501)))
    world.clock.advance(TTL)

    assert [await world.lifetimes.strip() for _ in range(3)] == [500, 1, 0]


@pytest.mark.parametrize("stripped", [False, True])
async def test_an_expired_operation_takes_nothing_any_more(world: World, *, stripped: bool) -> None:
    await world.posted(event("op", "COMPLETED", id="e"))
    world.clock.advance(TTL)
    if stripped:
        await world.lifetimes.strip()

    known, new = await world.post(event("op", "COMPLETED", id="e"), event("op", id="f"))

    assert accepted(known).duplicate
    assert refused(new).kind is RefusalKind.GONE
    assert set(refused(new).extra) == {"expiredAt"}


async def test_what_ended_before_there_was_an_expiry_gets_one(world: World) -> None:
    names = [f"op{n:05}" for n in range(5_003)]
    for start in range(0, len(names), 1_000):
        await world.posted(*(event(name, "COMPLETED") for name in names[start : start + 1_000]))
    await world.posted(event("running"))
    ended = world.clock.now()
    await world.sql("UPDATE operations SET expires_at = NULL")
    await world.sql("UPDATE operations SET ttl_ms = 5 WHERE id = 'op05002'")

    place: int | None = 0
    steps = 0
    while place is not None:
        place = await world.lifetimes.adopt(place)
        steps += 1

    assert steps == 3
    expiry = {row["id"]: row["expires_at"] for row in await world.rows(schema.operations)}
    assert {expiry[name] for name in names[:-1]} == {ended + TTL}
    assert (expiry["op05002"], expiry["running"]) == (ended + 5, None)


# --- tombstones


async def test_a_tombstone_goes_when_retention_has_taken_its_events(world: World) -> None:
    await world.posted(event("op", "COMPLETED"))
    world.clock.advance(TTL)
    await world.lifetimes.strip()
    world.clock.advance(RETENTION - TTL)
    assert await tombstones_removed(world) == 0
    world.clock.advance(1)
    assert await tombstones_removed(world) == 0  # its event is still there
    await while_it_finds(lambda: world.sweep.forget(RETENTION))

    assert await tombstones_removed(world) == 1

    assert await world.rows(schema.operations) == []
    (again,) = await world.posted(event("op"))
    assert again.sequence == 1


async def test_running_and_readable_operations_are_no_tombstones(world: World) -> None:
    await world.described("running")
    await world.described("readable", ttl_ms=10 * RETENTION)
    await world.posted(event("readable", "COMPLETED"))

    await end_of_retention(world)

    assert await tombstones_removed(world) == 0
    assert (await world.operation("readable")).result is None


async def test_the_operation_of_a_replay_goes_with_its_plan(world: World) -> None:
    operation = world.replay_operation()
    run = await world.replay.start_replay(operation, world.plan(), "key_test")
    await world.posted(event("replay", "COMPLETED", operation_type=operation.type))
    await world.replay.finish_replay(run)  # type: ignore[arg-type]  # it was not refused
    await end_of_retention(world)

    assert await tombstones_removed(world) == 1

    assert await world.rows(schema.replays) == []


async def bound_count(world: World) -> int:
    (tenant,) = await world.rows(schema.tenants)
    return int(tenant["bound_subscriptions"])


async def ended_with_webhook(world: World) -> Subscription:
    """An operation that ended, one delivery of its own subscription waiting; and a newer lane."""
    own = (await world.described(webhook={})).webhook
    assert own is not None
    await world.subscribe("newer", event_types=("never",))
    await world.posted(event("op", "STARTED"), event("op", "COMPLETED"))
    return own


async def test_its_own_subscription_goes_with_a_tombstone(world: World) -> None:
    own = await ended_with_webhook(world)
    await world.deliver_due()
    assert await bound_count(world) == 1
    await end_of_retention(world)

    assert await tombstones_removed(world) == 1

    assert [row["id"] for row in await world.rows(schema.subscriptions)] == ["newer"]
    assert await world.rows(schema.subscription_secrets, subscription_no=own.no) == []
    assert await bound_count(world) == 0


async def test_the_highest_number_never_comes_back(world: World) -> None:
    own = (await world.described(webhook={})).webhook
    assert own is not None
    await world.posted(event("op", "COMPLETED"))
    await world.deliver_due()
    await end_of_retention(world)
    assert await tombstones_removed(world) == 0

    newer = await world.subscribe("newer")

    assert newer.no == own.no + 1
    assert await tombstones_removed(world) == 1


async def test_a_subscription_with_an_open_dead_letter_keeps_its_tombstone(world: World) -> None:
    own = await ended_with_webhook(world)
    await world.exhaust()
    await end_of_retention(world)
    assert await tombstones_removed(world) == 0
    (letter,) = await world.rows(schema.dead_letters)

    await world.replay.replay_one("default", ref_of(letter), Trigger.REPLAY, "key_test")
    assert await tombstones_removed(world) == 0  # its delivery is open
    await world.deliver_due()
    await while_it_finds(lambda: world.sweep.forget(RETENTION))

    assert letter["subscription_no"] == own.no
    assert await tombstones_removed(world) == 1


async def test_a_subscription_that_became_general_stays(world: World) -> None:
    own = await ended_with_webhook(world)
    await world.change(own, operation_id=None)
    await world.deliver_due()
    await end_of_retention(world)

    assert await tombstones_removed(world) == 1

    assert await world.read.subscription("default", own.id) is not None
    assert await bound_count(world) == 0


async def test_a_subscription_that_was_deleted_goes_uncounted(world: World) -> None:
    own = await ended_with_webhook(world)
    await world.deliver_due()
    await world.delete(own)
    assert await bound_count(world) == 0
    await end_of_retention(world)

    assert await tombstones_removed(world) == 1

    assert await bound_count(world) == 0
    assert [row["id"] for row in await world.rows(schema.subscriptions)] == ["newer"]


async def test_a_body_is_kept_for_the_log_until_retention(world: World) -> None:
    await world.described(client_job_id="job")
    await world.posted(event("op", "COMPLETED", id="e", result=b"[1.10]"))
    world.clock.advance(TTL)
    await world.lifetimes.strip()

    found = await world.read.event("default", "e")

    assert found is not None
    assert b'"result":[1.10]' in found.body
    assert json.loads(found.body)["clientJobId"] == "job"
