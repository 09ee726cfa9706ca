"""Lanes claimed as they were remembered, and what others did with them meanwhile."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from service.domain.subscription import Subscription
from service.ports import Lane, Rotation, StoreUnavailableError
from service.store import schema
from service.store.database import Job, Use
from service.store.open_lanes import OpenLanes
from tests.support.clock import FakeClock
from tests.support.databases import Place
from tests.support.messages import Messages
from tests.support.world import LEASE, World, event, opened_world

pytestmark = pytest.mark.anyio

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


async def delete(world: World, hook: Subscription) -> None:
    await world.delete(hook)


@pytest.mark.parametrize("act", [hold, pause, disable, delete])
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
    world.clock.advance(60_000)
    assert [await said(), await said()] == [["SELECT", "WITH"], ["WITH"]]


def test_ten_thousand_that_take_turns_are_all_remembered_and_large_ones_as_room_is() -> None:
    known, numbers = OpenLanes(), range(10_000)
    for no in numbers:
        known.note(Lane(plain(no), ()), now=0)
    assert known.known(numbers, 0).keys() == set(numbers)

    certificates = bytes(30_000)
    for no in numbers:
        known.note(Lane(plain(no, tls=certificates), ()), now=0)
    kept = known.known(numbers, 0)
    assert 0 < len(kept) * len(certificates) <= 32 * 1024 * 1024
    assert max(kept) == numbers[-1]

    known.forget(numbers)
    for no in numbers:
        known.note(Lane(plain(no), ()), now=0)
    assert known.known(numbers, 0).keys() == set(numbers)


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
