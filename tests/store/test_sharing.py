"""Several processes on one PostgreSQL database: what each promises holds for all together."""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from service.domain.acceptance import Accepted, Verdict
from service.domain.errors import Refusal, RefusalKind
from service.domain.ids import KeyMaker, key_floor, key_node, key_time
from service.ports import (
    AcceptRequest,
    Claimed,
    Described,
    LaneQuota,
    Replayed,
    Retried,
    Retry,
    Settlement,
    StoreUnavailableError,
)
from service.store import newest, schema, settling
from service.store.database import Tx, alone
from service.store.newest import newest_key
from service.store.postgres import PostgresDatabase
from service.store.schema_processes import nodes
from tests.support.clock import FakeClock
from tests.support.databases import Place
from tests.support.held import Held, started
from tests.support.world import (
    LEASE,
    SCHEDULE,
    World,
    accepted,
    event,
    kept,
    opened_world,
    refused,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.anyio


@pytest.fixture
def place(url: str) -> Place:
    """What is shown here needs a database that can be shared."""
    return url


# --- events


async def test_sequences_and_the_feed_have_no_gaps(world: World, other: World) -> None:
    many = 25
    verdicts = await asyncio.gather(
        *(each.posted(event("op")) for each in (world, other) for _ in range(many))
    )

    assert sorted(v[0].sequence or 0 for v in verdicts) == list(range(1, 2 * many + 1))
    rows = await world.log()
    assert sorted(row["feed_position"] for row in rows) == list(range(1, 2 * many + 1))
    assert len({row["key"] for row in rows}) == 2 * many
    # in the order of the sequences the places of the feed grow: both are the order of commits
    in_order = sorted(rows, key=lambda row: row["sequence"])
    places = [row["feed_position"] for row in in_order]
    assert places == sorted(places)


async def test_nothing_appears_behind_a_cursor(world: World, other: World) -> None:
    writers = [
        asyncio.ensure_future(each.posted(*(event(f"{name}{n}-{k}") for k in range(3))))
        for name, each in (("a", world), ("b", other))
        for n in range(20)
    ]
    seen: list[int] = []
    while not all(writer.done() for writer in writers) or len(seen) < 120:
        page = await world.read.feed("default", seen[-1] if seen else 0, 7)
        seen += [view.feed_position for view in page.events]

    assert seen == list(range(1, 121))


async def test_a_late_commit_keeps_the_others_behind_it(world: World, other: World) -> None:
    numbering = "UPDATE tenants SET feed_position = feed_position + 1 WHERE id = 'default'"
    async with Held(world, numbering):
        late = await started(world, other.posted(event("op")))
        assert not late.done()
        assert list((await other.read.feed("default", 0, 10)).events) == []

    await late
    page = await other.read.feed("default", 0, 10)
    assert [view.feed_position for view in page.events] == [2]


async def test_one_end_only(world: World, other: World) -> None:
    await world.posted(event("op", "STARTED"))

    ends = await asyncio.gather(
        *(
            each.post(event("op", kind))
            for each in (world, other)
            for kind in ("COMPLETED", "FAILED", "CANCELLED")
        )
    )

    assert sum(isinstance(end[0], Accepted) for end in ends) == 1
    assert len(await world.log()) == 2


async def test_an_event_id_is_taken_once(world: World, other: World) -> None:
    same = [event("op", id="e"), event("op", id="e"), event("elsewhere", id="e")]
    verdicts: Sequence[list[Verdict]] = await asyncio.gather(
        *(each.post(one) for one in same for each in (world, other))
    )

    found = [verdict for (verdict,) in verdicts]
    new = [each for each in found if isinstance(each, Accepted) and not each.duplicate]
    assert len(new) == 1
    assert len(await world.log()) == 1
    assert all(
        each.operation_id == new[0].operation_id for each in found if isinstance(each, Accepted)
    )


async def test_events_of_one_operation_are_sent_in_order_whatever_the_clocks_say(
    world: World, other: World
) -> None:
    lane = await world.subscribe(ordering="operation")
    # keys of one process are ahead of the other's
    world.keys.go_past(KeyMaker(after=0).next(world.clock.now() + 60_000))
    for number, each in enumerate((world, other, world, other, other), 1):
        (made,) = await each.posted(event("op"))
        assert made.sequence == number

    sent: list[int | None] = []
    while claimed := await world.claim(lane.no):
        sent += [each.sequence for each in claimed]
        await world.settle(claimed)
    assert sent == [1, 2, 3, 4, 5]


# --- doing it once


async def test_an_idempotency_key_works_once(world: World, other: World) -> None:
    def request() -> AcceptRequest:
        return AcceptRequest("default", [event("op")], kept("k"))

    answers = await asyncio.gather(
        *(each.accept.accept([request()]) for each in (world, other) for _ in range(5))
    )

    kinds = [type(result.answer) for (result,) in answers]
    assert kinds.count(list) == 1
    assert set(kinds) <= {list, Replayed, Refusal}
    assert len(await world.log()) == 1
    (after,) = await other.accept.accept([request()])
    assert after.answer == Replayed(b"answer")


async def test_a_key_that_is_under_way_elsewhere_is_still_running(
    world: World, other: World
) -> None:
    name = "SELECT pg_advisory_xact_lock(hashtextextended('once/default/k', 0))"
    async with Held(world, name):
        (busy,) = await other.accept.accept([AcceptRequest("default", [event("op")], kept("k"))])
        described = await other.describe(once=kept("k"))

    for answer in (busy.answer, described):
        told = refused(answer)
        assert told.kind is RefusalKind.CONFLICT
        assert "still running" in told.detail
    assert await world.log() == []


async def test_an_operation_is_described_once(world: World, other: World) -> None:
    answers = await asyncio.gather(
        *(
            each.describe(f"op{n}", client_job_id="job", named=False)
            for n, each in enumerate((world, other) * 3)
        )
    )

    made = [each for each in answers if isinstance(each, Described)]
    assert len(made) == 6
    assert len({each.operation.id for each in made}) == 1
    assert [each.made for each in made].count(True) == 1


async def test_an_operation_that_is_described_and_begun_at_once_is_both(
    world: World, other: World
) -> None:
    for number in range(10):
        name = f"op{number}"
        described, _ = await asyncio.gather(
            world.describe(name, webhook={"event_types": ("*",)}),
            other.posted(event(name, "STARTED")),
        )
        assert isinstance(described, Described)
        assert described.webhook is not None
        assert len(await world.rows(schema.operations, id=name)) == 1
        # whichever came first: its own subscription gets the event
        no = described.webhook.no
        assert len(await world.rows(schema.delivery_queue, subscription_no=no)) == 1


async def test_a_failed_operation_is_retried_once(world: World, other: World) -> None:
    await world.described()
    await world.posted(event("op", "FAILED", error=b'{"title":"no","retryable":true}'))

    def retry(each: World, new: str) -> AcceptRequest:
        wanted = Retry("op", each.keys.next(each.clock.now()), new, "sub", lambda *_: b"")
        return AcceptRequest("default", (), retry=wanted)

    answers = await asyncio.gather(
        *(each.accept.accept([retry(each, f"n{n}")]) for n, each in enumerate((world, other) * 3))
    )

    made = [result.answer for (result,) in answers if isinstance(result.answer, Retried)]
    assert len(made) == 6
    assert len({each.operation.id for each in made}) == 1
    assert [each.made for each in made].count(True) == 1


# --- configuration


async def test_a_subscription_made_here_gets_the_next_event_posted_there(
    world: World, other: World
) -> None:
    await other.posted(event("warm"))  # it has an index by now
    for number in range(5):
        lane = await world.subscribe(f"sub{number}")
        await other.posted(event(f"op{number}"))
        assert len(await world.rows(schema.delivery_queue, subscription_no=lane.no)) == 1
        await world.delete(lane)
        await other.posted(event(f"op{number}"))
        assert len(await world.rows(schema.delivery_queue, subscription_no=lane.no)) == 1


async def test_changes_of_one_subscription_do_not_undo_each_other(
    world: World, other: World
) -> None:
    lane = await world.subscribe()

    await asyncio.gather(
        world.change(lane, description="words"),
        other.change(lane, payload="thin"),
        world.change(lane, max_concurrency=3),
        other.change(lane, timeout_seconds=5.0),
    )

    (row,) = await world.rows(schema.subscriptions)
    told = (row["description"], row["payload"], row["max_concurrency"], row["timeout_seconds"])
    assert told == ("words", "thin", 3, 5.0)
    assert row["version"] == lane.version + 4


async def test_a_key_that_is_revoked_is_dead_everywhere(world: World, other: World) -> None:
    await world.manage.ensure_key("key_x", "x", b"hash", ("admin",))
    assert await other.manage.find_key(b"hash") is not None

    async def revoke(tx: Tx) -> None:
        await tx.change(update(schema.api_keys).values(revoked_at=tx.now))

    await world.database.write(revoke)

    assert await other.manage.find_key(b"hash") is None


# --- deliveries


async def test_no_delivery_is_claimed_twice(world: World, other: World) -> None:
    lanes = [await world.subscribe(f"sub{n}") for n in range(3)]
    await world.posted(*(event(f"op{n}") for n in range(60)))

    async def take(each: World) -> list[Claimed]:
        found: list[Claimed] = []
        while claimed := await each.claim(*(lane.no for lane in lanes), quota=7):
            found += claimed
        return found

    claims = await asyncio.gather(*(take(each) for each in (world, other) for _ in range(3)))

    refs = [claimed.ref for claim in claims for claimed in claim]
    assert len(refs) == len(set(refs)) == 180


async def test_a_late_result_is_fenced(world: World, other: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 1)
    (slow,) = await world.claim(lane.no)
    world.clock.advance(LEASE)
    await other.sweep.reclaim(SCHEDULE)
    (again,) = await other.claim(lane.no)

    assert again.attempt == 2
    assert (await world.settle([slow], 500)).late == 1
    assert (await other.settle([again])).late == 0
    assert await world.status(again.ref) == "delivered"
    assert [row["status_code"] for row in await world.attempts(again.ref)] == [500, 200]


async def test_a_late_settle_and_that_of_who_has_the_leases_are_not_in_each_others_way(
    world: World, other: World, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = await world.subscribe()
    await world.posted(event("a"), event("b"), event("c"))
    lost = await world.claim(lane.no)
    clock.advance(LEASE)
    await other.sweep.reclaim(SCHEDULE)
    current = await other.claim(lane.no)
    late = [next(each for each in lost if each.ref == ref) for ref in sorted(c.ref for c in lost)]
    # so that both are amid it at the same time: what each of them writes second is held
    row = dict.fromkeys(("attempts", "finished_at"), 1) | late[1].ref._asdict()

    async def write(tx: Tx) -> None:
        await tx.change(schema.deliveries.insert().values(status="delivered", **row))
        await tx.change(schema.deliveries.delete())
        held.set()
        await let_go.wait()

    held, let_go = asyncio.Event(), asyncio.Event()
    runs = []

    async def counted(tx: Tx, work: settling.Work) -> "tuple[Sequence[Settlement], bool]":
        runs.append(work)
        return await wholly(tx, work)

    wholly = settling.wholly
    monkeypatch.setattr(settling, "wholly", counted)
    writing = asyncio.ensure_future(world.database.write(write))
    await held.wait()
    first = await started(world, world.settle(reversed(late)))
    second = await started(world, other.settle(sorted(current, key=lambda each: each.ref)))
    let_go.set()
    await writing

    assert ((await first).late, (await second).late) == (3, 0)
    assert len(runs) == 2  # none of them was broken off
    assert len(await world.rows(schema.deliveries)) == 3


async def test_a_start_leaves_the_leases_of_others(world: World, other: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 1)
    (claimed,) = await world.claim(lane.no)

    assert await other.sweep.reclaim(SCHEDULE, everything=True) == []

    assert (await world.settle([claimed])).late == 0


async def test_a_limit_of_concurrency_is_that_of_all_workers(world: World, other: World) -> None:
    lane = await world.subscribe(max_concurrency=5)
    await world.queued(lane, 20)

    claims = await asyncio.gather(*(each.claim(lane.no, quota=3) for each in (world, other) * 4))
    held = [each for claim in claims for each in claim]
    held += await world.claim(lane.no) + await other.claim(lane.no)

    assert len(held) == 5
    await world.settle(held[:2])
    assert len(await other.claim(lane.no)) == 2


@pytest.mark.parametrize(
    "members",
    [
        {"rate_limit_per_second": 4.0},
        {"allowed_per_minute": 240},
        {"rate_limit_per_second": 9.0, "allowed_per_minute": 240},
    ],
)
async def test_a_rate_is_that_of_all_workers(
    world: World, other: World, members: dict[str, Any]
) -> None:
    lane = await world.subscribe(**members)
    await world.queued(lane, 30)

    async def take() -> int:
        quotas = [LaneQuota(lane.no, 10, 0, 4.0)]
        claims = [await each.deliver.claim(quotas, LEASE) for each in (world, other) * 2]
        return sum(len(claim.deliveries) for claim in claims)

    assert await take() == 4
    world.clock.advance(500)
    assert await take() == 2
    world.clock.advance(60_000)
    assert await take() == 4


async def test_a_circuit_opens_by_what_all_workers_see_and_is_probed_by_one(
    url: str, clock: FakeClock
) -> None:
    async with (
        opened_world(url, clock, breaker=True) as world,
        opened_world(url, clock, breaker=True) as other,
    ):
        lane = await world.subscribe(retry_schedule=(0.0,) * 50)
        await world.queued(lane, 30)
        for each in (world, other):
            await each.settle(await each.claim(lane.no, quota=5), 500)
        assert await world.claim(lane.no) == []
        assert await other.sweep.due_lanes() == []
        clock.advance(60_000)

        claims = await asyncio.gather(*(each.claim(lane.no) for each in (world, other) * 3))
        assert sum(len(claim) for claim in claims) == 1
        (probe,) = [claimed for claim in claims for claimed in claim]
        await other.settle([probe])
        assert len(await world.claim(lane.no, quota=10)) == 10


async def test_a_threshold_is_told_once(world: World, other: World) -> None:
    world.schedule = other.schedule = SCHEDULE[:1]
    lane = await world.subscribe()
    await world.queued(lane, 20)
    halves = [(each, await each.claim(lane.no, quota=2)) for each in (world, other) * 5]

    await asyncio.gather(*(each.settle(claimed, 500) for each, claimed in halves))

    told = [row["body"] for row in await world.told() if row["type"] == "dead_letters.threshold"]
    assert len(told) == 2  # 1 and 10
    assert len(await world.rows(schema.dead_letters, state="open")) == 20


# --- chores


async def test_chores_are_for_one_process_at_a_time(world: World, other: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 1)
    await world.set_status(lane, "disabled")
    async with Held(world, "SELECT pg_advisory_xact_lock(hashtextextended('chores', 0))"):
        assert await other.sweep.retire() == 0

        async def never(_tx: Tx) -> str:
            raise AssertionError

        assert await other.database.write(alone(never, "otherwise")) == "otherwise"
    assert await other.sweep.retire() == 1


async def test_retention_leaves_what_is_about_to_be_replayed(world: World, other: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 1)
    await world.deliver_due()
    world.clock.advance(10**6)
    (row,) = await world.log()
    lock = f"SELECT key FROM events WHERE key = {row['key']} FOR KEY SHARE"  # noqa: S608  our own key
    async with Held(world, lock):
        assert await other.sweep.forget(1) == 0
        assert len(await world.log()) == 1
    assert await other.sweep.forget(1) == 1


async def test_a_bulk_replay_is_carried_through_by_one(world: World, other: World) -> None:
    await world.replay.start_replay(world.replay_operation(), world.plan(), "key_test")

    assert len(await world.replay.running_replays()) == 1
    assert len(await other.replay.running_replays()) == 0
    assert len(await world.replay.running_replays()) == 1
    world.clock.advance(60_000)  # the first is gone
    assert len(await other.replay.running_replays()) == 1


async def test_each_process_has_a_number_of_its_own(world: World, other: World) -> None:
    assert world.database.node != other.database.node
    taken = other.database.node
    await other.close()
    await other.open()
    assert other.database.node not in {world.database.node, taken}  # the longest unused


@pytest.mark.parametrize("batch", [1, 10_000])
async def test_a_process_does_not_follow_those_who_are_ahead_of_the_time(
    world: World, other: World, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(newest, "_BATCH", batch)
    await world.posted(event("a"))
    ahead = key_floor(world.clock.now() + 3_600_000)
    other.keys.go_past(ahead)
    await other.posted(*(event(f"b{n}") for n in range(5)))
    now = world.clock.now()

    assert key_time(await newest_key(world.database)) <= now
    async with opened_world(world.place, world.clock) as late:
        assert key_time(late.keys.next(now)) <= now + 1

    # its own it does not make once more, wherever they are
    made = [row["key"] for row in await world.rows(schema.events)]
    last = max(key for key in made if key_node(key) == other.database.node)
    assert last > ahead
    assert await newest_key(other.database) >= last
    world.keys.go_past(last)
    await world.posted(event("c"))
    other.keys.go_past(last + ahead - key_floor(now))
    await other.posted(*(event(f"d{n}") for n in range(5)))
    own = max(row["key"] for row in await world.rows(schema.events, operation_id="c"))
    assert await newest_key(world.database) == own


async def test_where_others_made_too_many_keys_ahead_one_is_taken_that_is_large_enough(
    world: World, other: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest, "_BATCH", 1)
    monkeypatch.setattr(newest, "_BATCHES", 3)
    world.keys.go_past(key_floor(world.clock.now() + 3_600_000))
    await world.posted(event("own"))
    (own,) = await world.rows(schema.events)
    other.keys.go_past(own["key"])
    for n in range(5):
        await other.posted(event(f"b{n}"))
    made = sorted(row["key"] for row in await world.rows(schema.events))

    assert own["key"] < await newest_key(world.database) <= made[-3]


async def test_there_are_no_more_numbers_than_keys_have_room_for(url: str) -> None:
    clock = FakeClock()
    first = PostgresDatabase(url, clock, fixed=True)
    await first.open()

    async def fill(tx: Tx) -> None:
        await tx.change(update(nodes).values(taken_until=tx.now + 1))

    await first.write(fill)
    second = PostgresDatabase(url, clock, fixed=True)
    with pytest.raises(StoreUnavailableError, match="256 processes"):
        await second.open()
    await second.close()
    await first.close()


async def test_accepted_is_of_the_operation_asked_for(world: World, other: World) -> None:
    (one,), (two,) = await asyncio.gather(
        world.post(event("a", "STARTED")), other.post(event("b", "STARTED"))
    )
    assert {accepted(one).operation_id, accepted(two).operation_id} == {"a", "b"}
