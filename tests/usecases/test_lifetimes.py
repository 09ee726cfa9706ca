"""What becomes of operations by the clock."""

import asyncio
import json

import pytest

from service.domain.operation import Status
from service.ports import AcceptRequest, Note, Retried, Retry
from service.pubsub import InProcessBackplane
from service.store import schema
from service.usecases.accept import Accept
from service.usecases.lifetimes import Lifetimes
from service.usecases.sweep import Sweep, Terms
from tests.support.clock import FakeClock
from tests.support.sending import Wakes
from tests.support.world import SCHEDULE, TTL, World, event

pytestmark = pytest.mark.anyio

BASE = "https://ringback.test"
RETENTION = 30 * 24 * 3600 * 1000


@pytest.fixture
def accept(world: World) -> Accept:
    return Accept(world.accept, Wakes(), InProcessBackplane())


@pytest.fixture
def lifetimes(world: World, accept: Accept) -> Lifetimes:
    return Lifetimes(world.lifetimes, accept, BASE, RETENTION)


@pytest.fixture
def sweep(world: World, lifetimes: Lifetimes) -> Sweep:
    terms = Terms(SCHEDULE, RETENTION)
    return Sweep(world.sweep, Wakes(), world.clock, terms, lifetimes.chores())


async def test_a_silent_operation_fails(world: World, sweep: Sweep, accept: Accept) -> None:
    lane = await world.subscribe(event_types=("FAILED",))
    await world.described(timeout_ms=1_500)
    await sweep.tick()
    world.clock.advance(1_500)

    await sweep.tick()

    failed = await world.operation()
    assert (failed.status, failed.sequence, failed.silent_at) == (Status.FAILED, 1, None)
    assert failed.expires_at == world.clock.now() + TTL
    error = json.loads(failed.error or b"")
    assert error["type"] == f"{BASE}/problems/operation-timeout"
    assert error["title"]
    assert "1.5 seconds" in error["detail"]
    assert error["retryable"] is True
    assert [each.event_type for each in await world.claim(lane.no)] == ["FAILED"]
    assert accept.accepted == 1
    world.clock.advance(10_000)
    await sweep.tick()
    assert (await world.operation()).sequence == 1


async def test_an_event_that_comes_between_the_look_and_the_lock_wins(
    world: World, accept: Accept
) -> None:
    await world.described(timeout_ms=1_000)
    world.clock.advance(1_000)
    store = Late(world)

    await tick(Lifetimes(store, accept, BASE, RETENTION))  # type: ignore[arg-type]  # what it asks for

    assert (await world.operation()).status is Status.PROCESSING
    assert [row["type"] for row in await world.rows(schema.events)] == ["STARTED"]


class Late:
    """Finds silent operations, from which then something comes."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def silent(self) -> object:
        found = await self._world.lifetimes.silent()
        assert len(found) == 1
        await self._world.posted(event("op", "STARTED"))
        return found

    async def adopt(self, _after: int) -> None:
        return None

    async def strip(self) -> int:
        return 0

    async def remove_tombstones(self, _retention: int) -> int:
        return 0


async def tick(*all_of: Lifetimes) -> None:
    """Do every chore of all of them at once."""
    await asyncio.gather(*(chore.work() for each in all_of for chore in each.chores()))


async def test_two_sweeps_make_one_event(world: World, accept: Accept) -> None:
    for number in range(20):
        await world.described(f"op{number}", timeout_ms=1_000)
    world.clock.advance(1_000)

    await tick(*(Lifetimes(world.lifetimes, accept, BASE, RETENTION) for _ in range(2)))

    rows = await world.rows(schema.events)
    assert sorted(row["operation_id"] for row in rows) == sorted(f"op{n}" for n in range(20))


async def test_an_operation_that_is_gone_meanwhile_does_not_come_back(
    world: World, accept: Accept, clock: FakeClock
) -> None:
    await world.described(timeout_ms=1_000)
    clock.advance(1_000)
    (silent,) = await world.lifetimes.silent()
    await world.sql("DELETE FROM operations")

    store = Late(world)
    store.silent = lambda: asyncio.sleep(0, [silent])  # type: ignore[method-assign]  # found before
    await tick(Lifetimes(store, accept, BASE, RETENTION))  # type: ignore[arg-type]  # what it asks for

    assert await world.rows(schema.operations) == []
    assert await world.rows(schema.events) == []


async def test_expired_operations_and_tombstones_are_tidied_up(world: World, sweep: Sweep) -> None:
    await world.posted(event("op", "COMPLETED", result=b"1"))
    await world.sql("UPDATE operations SET expires_at = NULL")  # as an earlier version left it
    await sweep.tick()
    assert (await world.operation()).expires_at == world.clock.now() + TTL

    world.clock.advance(TTL)
    await sweep.tick()
    assert (await world.operation()).forgotten_at == world.clock.now()

    world.clock.advance(RETENTION)
    for _ in range(3):
        await sweep.tick()
        world.clock.advance(30_000)
    assert await world.rows(schema.operations) == []


# --- accept


async def test_a_note_is_written_where_something_was_taken(world: World, accept: Accept) -> None:
    note = Note("key_1", "operation.cancelled", "op", '{"reason":"x"}')
    cancel = AcceptRequest("default", [event("op", "CANCELLED")], note=note)

    for _ in range(2):
        await accept.request(cancel)

    (row,) = await world.rows(schema.audit_log)
    assert (row["tenant_id"], row["actor"], row["action"]) == (
        "default",
        "key_1",
        "operation.cancelled",
    )
    assert (row["target"], row["detail"]) == ("op", '{"reason":"x"}')


async def test_a_retry_counts_as_one_event_and_wakes_who_gets_it(world: World) -> None:
    wakes = Wakes()
    accept = Accept(world.accept, wakes, InProcessBackplane())
    lane = await world.subscribe(event_types=("RETRY_REQUESTED",))
    await world.posted(event("op", "FAILED", error=b'{"retryable":true}'))
    wanted = Retry("op", world.keys.next(world.clock.now()), "new", "sub_new", lambda *_: b"")

    answers = [await accept.request(AcceptRequest("default", (), retry=wanted)) for _ in range(2)]

    assert [isinstance(each, Retried) and each.made for each in answers] == [True, False]
    assert accept.accepted == 1
    assert wakes.calls == [{lane.no}]
