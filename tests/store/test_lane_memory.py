"""Lanes claimed as they were remembered, and what others did with them meanwhile."""

from collections.abc import Callable, Coroutine
from sys import getsizeof
from typing import Any

import pytest
from msgspec.structs import astuple

from service.domain.subscription import MAX_SECRETS, Subscription, SubscriptionStatus
from service.ports import Rotation, StoreUnavailableError
from service.store import schema
from service.store.database import Job, Use
from service.store.lane_memory import LaneMemory
from service.store.rows import subscription_row
from service.store.statements import Row
from tests.support.clock import FakeClock
from tests.support.databases import Place
from tests.support.messages import Messages
from tests.support.world import LEASE, World, event, opened_world

pytestmark = pytest.mark.anyio

#: A row of one, without its subscription's number.
SECRET = (1, b"sealed", 0, None, None, None)
#: Bytes of what is large that there is room for.
ROOM = 48 * 1024 * 1024

Act = Callable[[World, Subscription], Coroutine[Any, Any, object]]


@pytest.fixture
def place(url: str) -> Place:
    """What is shown here needs a database that can be shared."""
    return url


@pytest.fixture
async def hook(world: World) -> Subscription:
    """A subscription whose lane was claimed a moment ago."""
    hook = await world.subscribe("hook")
    await world.posted(event("first"))
    await world.settle(await world.claim(hook.no))
    return hook


def plain(no: int, **members: Any) -> Subscription:  # noqa: ANN401  members of many types
    """A subscription that is open."""
    known: dict[str, Any] = {"tenant_id": "default", "created_at": 0, "updated_at": 0}
    return Subscription(no=no, id=f"sub_{no}", url="https://hook.example/", **known, **members)


def rows(subscription: Subscription, *secrets: Row) -> list[Row]:
    """What is looked up of its lane."""
    first = subscription_row(subscription)
    return [first + secret for secret in secrets or [SECRET]]


async def hold(world: World, hook: Subscription) -> None:
    until = world.clock.now() + 60_000
    await world.sql("UPDATE subscriptions SET hold_until = ? WHERE no = ?", until, hook.no)


async def trip(world: World, hook: Subscription) -> None:
    await world.sql(
        "INSERT INTO subscription_health (subscription_no, streak, trips, opened_at, open_until, "
        "recent, told) VALUES (?, 9, 1, ?, ?, '', 0)",
        hook.no,
        world.clock.now(),
        world.clock.now() + 60_000,
    )


async def pause(world: World, hook: Subscription) -> None:
    await world.set_status(hook, "paused")


async def disable(world: World, hook: Subscription) -> None:
    await world.set_status(hook, "disabled")


async def pause_by_hand(world: World, hook: Subscription) -> None:
    """As who writes to the table itself may do it, and forget the version."""
    await world.sql("UPDATE subscriptions SET status = 'paused' WHERE no = ?", hook.no)


async def delete(world: World, hook: Subscription) -> None:
    await world.delete(hook)


async def purge(world: World, hook: Subscription) -> None:
    """As the last subscription of a deleted tenant is, which makes no version of it."""
    now = world.clock.now()
    await world.sql("UPDATE subscriptions SET url = '', deleted_at = ? WHERE no = ?", now, hook.no)


@pytest.mark.parametrize("act", [hold, pause, pause_by_hand, disable, delete, purge])
async def test_nothing_is_leased_of_a_lane_that_was_closed_elsewhere(
    world: World, other: World, hook: Subscription, act: Act
) -> None:
    await world.posted(event("second"))
    await act(other, hook)

    assert await world.claim(hook.no) == []
    assert [row["token"] for row in await world.rows(schema.delivery_queue)] == [None]


async def test_nothing_is_leased_of_a_lane_whose_circuit_opened_elsewhere(
    url: str, clock: FakeClock
) -> None:
    async with opened_world(url, clock, breaker=True) as world:
        hook = await world.subscribe("hook")
        await world.posted(event("first"))
        await world.settle(await world.claim(hook.no))
        await world.posted(event("second"))
        await trip(world, hook)

        assert await world.claim(hook.no) == []


@pytest.mark.parametrize(
    ("members", "count"),
    [
        ({"url": "https://moved.example/"}, 3),
        ({"headers": b"sealed anew"}, 3),
        ({"max_concurrency": 2}, 2),
    ],
)
async def test_what_is_leased_goes_as_it_was_changed_elsewhere(
    world: World, other: World, hook: Subscription, members: dict[str, Any], count: int
) -> None:
    await world.posted(*(event(f"op{number}") for number in range(3)))
    after = await other.change(hook, **members)

    claim = await world.claim_all(hook.no)

    assert len(claim.deliveries) == count
    assert claim.lanes[hook.no].subscription == after


async def test_what_was_changed_anew_by_a_database_that_lost_the_first_change_is_gone_by(
    world: World, hook: Subscription
) -> None:
    await world.posted(event("second"))
    moved = "https://moved.example/"
    at = hook.updated_at + 1  # another moment, but no other version
    sql = "UPDATE subscriptions SET url = ?, updated_at = ? WHERE no = ?"
    await world.sql(sql, moved, at, hook.no)

    claim = await world.claim_all(hook.no)

    assert len(claim.deliveries) == 1
    assert claim.lanes[hook.no].subscription.url == moved


async def test_secrets_sign_that_were_rotated_elsewhere_and_until_they_end(
    world: World, other: World, hook: Subscription
) -> None:
    async def versions() -> list[int]:
        await world.posted(event())
        claim = await world.claim_all(hook.no)
        assert len(claim.deliveries) == 1
        return [each.version for each in claim.lanes[hook.no].secrets]

    assert await versions() == [1]
    rotation = Rotation(overlap=2_000, seal=lambda version: b"sealed %d" % version)
    await other.manage.rotate_secret("default", hook.id, rotation, "tester")
    assert [await versions(), await versions()] == [[2, 1], [2, 1]]
    other.clock.advance(1_999)
    assert await versions() == [2, 1]
    other.clock.advance(1)
    assert await versions() == [2]


async def test_an_open_lane_is_looked_up_now_and_then_only(
    world: World, other: World, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = Messages(monkeypatch)

    async def said() -> list[str]:
        await world.posted(event())
        messages.take()
        assert len(await world.claim(hook.no)) == 1
        return messages.take()

    assert [await said(), await said()] == [["WITH"], ["WITH"]]
    await other.change(hook, url="https://moved.example/")
    assert [await said(), await said()] == [["WITH", "SELECT", "WITH"], ["WITH"]]
    world.clock.advance(59_999)
    assert await said() == ["WITH"]
    world.clock.advance(1)
    assert [await said(), await said()] == [["SELECT", "WITH"], ["WITH"]]


@pytest.mark.parametrize(
    ("members", "secrets"),
    [
        ({"headers": bytes(20_000)}, 1),
        ({"tls": bytes(30_000)}, 1),
        ({"event_types": tuple(f"type.{number}" for number in range(100))}, 1),
        ({"operation_types": tuple("x" * 100 for _ in range(100))}, 1),
        ({}, MAX_SECRETS),
    ],
    ids=["headers", "tls", "event types", "operation types", "secrets"],
)
def test_no_more_of_what_is_large_is_remembered_than_there_is_room_for(
    members: dict[str, Any], secrets: int
) -> None:
    some = [(version, bytes(2_000), 0, None, None, None) for version in range(secrets)]
    parsed = [each for value in members.values() if isinstance(value, tuple) for each in value]
    known = (*rows(plain(0, **members), *some)[0], *parsed)
    weighed = sum(map(getsizeof, known)) + 2_000 * (secrets - 1)
    numbers = range(13 * ROOM // (10 * weighed))
    memory = LaneMemory()
    for no in numbers:
        memory.trust(memory.read(rows(plain(no, **members), *some)), now=0)

    kept = memory.trusted(numbers, 0)

    assert 0.3 * ROOM < len(kept) * weighed <= ROOM
    assert list(kept) == list(numbers)[-len(kept) :], "the others were read before these"
    memory.forget(numbers)
    assert memory.trusted(numbers, 0) == {}
    for no in kept:
        memory.trust(memory.read(rows(plain(no, **members), *some)), now=0)
    assert memory.trusted(numbers, 0).keys() == kept.keys(), "as much as before"


def test_what_is_read_now_and_then_outlives_what_is_not() -> None:
    memory, large = LaneMemory(), bytes(1024 * 1024)
    lane = memory.read(rows(plain(0)))
    for no in range(1, 200):
        memory.trust(memory.read(rows(plain(no, tls=large))), now=0)
        assert memory.read(rows(plain(0))) is lane

    assert 1 not in memory.trusted(range(200), 0)


def test_it_is_the_very_same_lane_while_its_rows_are() -> None:
    memory, now = LaneMemory(), 1_000
    lane = memory.read(rows(plain(7)))
    memory.trust(lane, now)

    assert memory.read([(*row, "looked up beside it") for row in rows(plain(7))]) is lane
    assert memory.trusted([7, 8], now) == {7: lane}


@pytest.mark.parametrize(
    ("members", "secrets"),
    [
        ({"version": 2}, [SECRET]),
        ({"hold_until": 500}, [SECRET]),
        ({}, [(2, b"new", 0, None, None, None), (1, b"sealed", 0, 5_000, None, None)]),
        ({}, [(1, b"sealed anew", 0, None, None, None)]),
    ],
    ids=["changed", "held", "rotated", "sealed anew"],
)
def test_rows_are_read_anew_where_they_are_others(
    members: dict[str, Any], secrets: list[Row]
) -> None:
    memory, now = LaneMemory(), 1_000
    lane = memory.read(rows(plain(7)))
    memory.trust(lane, now)
    changed = rows(plain(7, **members), *secrets)

    found = memory.read(changed)

    assert found is not lane
    assert subscription_row(found.subscription) == changed[0][: -len(SECRET)]
    assert [astuple(each) for each in found.secrets] == secrets
    assert memory.trusted([7], now) == {}, "until it is said that it may be gone by"
    assert memory.read(changed) is found


@pytest.mark.parametrize("members", [{"status": SubscriptionStatus.PAUSED}, {"hold_until": 2_000}])
def test_what_is_not_open_is_looked_up_every_time(members: dict[str, Any]) -> None:
    memory = LaneMemory()
    memory.trust(memory.read(rows(plain(7, **members))), now=1_000)
    assert memory.trusted([7], 1_000) == {}


@pytest.mark.parametrize("error", [StoreUnavailableError, ValueError])
async def test_what_was_leased_is_told_though_another_lane_could_not_be_looked_up(
    world: World,
    other: World,
    hook: Subscription,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
) -> None:
    moved = await world.subscribe("moved")
    await world.posted(event("second"))
    await world.settle(await world.claim())
    await other.change(moved, url="https://moved.example/")
    await world.posted(event("third"))
    write, claims = world.database.write, []

    async def once(job: Job[Any], use: Use = Use.REST, proof: Any = None) -> Any:  # noqa: ANN401  as it is
        if use is Use.CLAIM:
            claims.append(job)
        if len(claims) > 1:
            raise error
        return await write(job, use, proof)

    monkeypatch.setattr(world.database, "write", once)
    claim = await world.claim_all(hook.no, moved.no, lease=LEASE)

    assert len(claims) == 2
    assert [each.ref.subscription_no for each in claim.deliveries] == [hook.no]
    assert claim.lanes.keys() == {hook.no}
