"""No statement of the hot path, and no list, reads a large table whole: on both databases.

The stores are filled by bulk SQL and looked at by ANALYZE, so that the plans are honest: those of
an empty store say nothing. Nothing is told to the planners to sway them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest

from service.domain import tallies, traffic
from service.domain.delivery import DeliveryStatus
from service.domain.ids import DeliveryRef, key_floor
from service.domain.times import NEVER
from service.lab.bench.counted import watch
from service.ports import (
    AcceptRequest,
    AuditFilter,
    DeadLetterFilter,
    DeliveryFilter,
    EventSpan,
    OperationFilter,
    Principal,
    ReplayRun,
    Span,
)
from service.store.newest import newest_key
from service.store.postgres.parting import AHEAD
from tests.support import plans
from tests.support.clock import FakeClock
from tests.support.databases import Place
from tests.support.plans import MOST_PAGES_LOOKED_UP, Given, much_work, read_whole
from tests.support.world import World, event, fault, migrated_file, opened_world

pytestmark = pytest.mark.anyio

PAGE = Span(51)
HOUR = 3_600_000
DAY = 24 * HOUR
#: Days of events that a store keeps.
DAYS = 30
OPERATION = "past-000000000100"
EVENT = "evt_past000000000100"


@pytest.fixture(scope="module", params=["sqlite", "postgres", "parts"])
def empty(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Place, int]]:
    """A migrated store, and how many days back it has parts."""
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("plans") / "ringback.db"
        path.write_bytes(migrated_file())
        yield path, 0
        return
    with request.getfixturevalue("databases").database() as url:
        yield url, DAYS if request.param == "parts" else 0


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """As everywhere; here for longer than one test."""
    return "asyncio"


@pytest.fixture(scope="module")
async def filled(empty: tuple[Place, int]) -> Place:
    """The store with two hundred thousand deliveries to a hundred subscriptions."""
    place, days = empty
    clock = FakeClock()
    async with opened_world(place, clock) as world:
        first = await world.subscribe("sub")
        if days:
            await make_parts(world, clock, days)
    await plans.fill(place, plans.bulk(clock.now(), first.no), days)
    return place


async def make_parts(world: World, clock: FakeClock, days: int) -> None:
    """Make them as a sweeper does from day to day."""
    clock.advance(-(days + 1) * DAY)
    for _ in range(days + 1):
        while await world.sweep.renew_parts(1_000 * DAY):
            pass
        clock.advance(DAY)


@pytest.fixture
def given() -> Iterator[list[Given]]:
    """Every statement that the database is given."""
    given: list[Given] = []
    end = watch(lambda sql, values: given.append((sql, values)))
    yield given
    end()


@pytest.fixture
async def world(filled: Place, clock: FakeClock, given: list[Given]) -> AsyncIterator[World]:
    async with opened_world(filled, clock, breaker=True) as world:
        await world.claim(1, quota=1)  # a process looks once at how all receivers are
        given.clear()
        yield world


@pytest.fixture
async def chain(world: World, given: list[Given]) -> AsyncIterator[None]:
    """All that one subscription has is of one operation, meanwhile, and goes in its order."""
    park = "UPDATE delivery_queue SET operation_key = ?, due_at = due_at + ? WHERE operation_key"
    lane = "UPDATE subscriptions SET ordering = ? WHERE no = 1"
    await world.sql(f"{park} IS NULL AND token IS NULL AND subscription_no = 1", 7, NEVER)
    await world.sql(lane, "operation")
    given.clear()
    yield
    await world.sql(f"{park} = 7", None, -NEVER)
    await world.sql(lane, "none")


async def test_accepting_claiming_and_settling(
    world: World, filled: Place, given: list[Given]
) -> None:
    tag = world.clock.now()
    requests = [
        AcceptRequest("default", [event(f"new{n % 5}-{tag}", id=f"e{n}")]) for n in range(9)
    ]
    await world.accept.accept(requests)
    await world.accept.accept(requests)  # known ids
    await world.accept.accept([AcceptRequest("default", [event("past-000000000001")])])
    lanes = await world.sweep.due_lanes()
    assert len(lanes) == 100
    some = await world.claim(*lanes[:20], quota=100)
    await world.settle(some[:20])
    await world.settle(some[:20])  # their leases are over
    await world.settle(some[20:40], 500)
    await world.settle(some[40:45], fault())
    await world.deliver.release(some[45:])
    await world.deliver.flush()
    await world.counts.flush()
    await world.manage.find_key(b"digest")
    some_key = AcceptRequest("default", [event("a")], credential=b"digest")
    await world.accept.accept([some_key])  # which is not there

    assert len(some) >= 100
    assert await read_whole(filled, given) == {}
    assert {"INSERT", "UPDATE", "DELETE", "SELECT"} <= {sql.split()[0] for sql, _ in given}


async def accept_claim_and_settle(world: World) -> None:
    with_a_key = AcceptRequest("default", [event("a")], credential=b"digest")
    await world.accept.accept([with_a_key])  # which is not there
    await world.posted(*(event(f"new{n}") for n in range(4)))
    await world.posted(*(event(f"new{n}") for n in range(4)))
    await world.settle(await world.claim(1, quota=8))
    await world.settle(await world.claim(1, quota=1), 500)
    await world.deliver.flush()


async def test_plans_that_are_kept_from_an_empty_store_are_good_for_a_full_one(
    url: str, clock: FakeClock, given: list[Given]
) -> None:
    async with opened_world(url, clock, breaker=True) as world:
        await world.subscribe("sub")
        given.clear()
        await accept_claim_and_settle(world)
    kept = tuple(given)
    of_empty = await plans.kept_badly(url, kept)
    await plans.fill_backlog(url, clock.now())

    assert of_empty == {}
    assert await plans.kept_badly(url, kept) == {}


async def test_sweeping_and_retention(world: World, filled: Place, given: list[Given]) -> None:
    await world.sweep.due_lanes()
    await world.sweep.reclaim(world.schedule)
    await world.sweep.unpark()
    await world.sweep.queue_age()
    await world.sweep.retire()
    assert await world.sweep.forget(HOUR) > 0
    await world.lifetimes.silent()
    await world.lifetimes.adopt(0)
    assert await world.lifetimes.strip() >= 0
    await world.lifetimes.remove_tombstones(HOUR)
    await world.deliver.forget_counts()
    await world.traffic.forget()

    assert await read_whole(filled, given) == {}


async def test_a_start(
    world: World, filled: Place, given: list[Given], monkeypatch: pytest.MonkeyPatch
) -> None:
    await newest_key(world.database)
    world.clock.advance(-2 * DAYS * DAY)  # to it, all keys are ahead
    monkeypatch.setattr(world.database, "node", 255)  # which made none of them
    await newest_key(world.database)

    assert len([sql for sql, _ in given if "LIMIT" in sql]) > 1
    assert await read_whole(filled, given) == {}


async def test_logs_and_the_feed(world: World, filled: Place, given: list[Given]) -> None:
    operation = await world.operation("past-000000000100")
    await world.read.log(operation.key, 1, 50)
    await world.read.log_ends([operation.key])
    await world.read.feed("default", 50_000, 50)
    await world.read.feed_ends(["default"])
    await world.read.event("default", "evt_past000000000100")

    assert await read_whole(filled, given) == {}


@pytest.mark.parametrize("only", ["missing", "all"])
async def test_a_replay_of_what_is_new_looks_at_little(
    world: World, filled: Place, given: list[Given], only: str
) -> None:
    plan = world.plan(only=only, subscription_no=1, since=world.clock.now())
    await world.replay.count_replay("default", plan)
    run = await world.replay.start_replay(world.replay_operation(only), plan, "key_test")
    assert isinstance(run, ReplayRun)
    await world.replay.step_replay(run, 100)

    assert await much_work(filled, given) == []


@pytest.mark.parametrize("empty", ["parts"], indirect=True)
async def test_the_hot_path_looks_into_few_parts(
    world: World, filled: Place, given: list[Given]
) -> None:
    assert isinstance(filled, str)
    tag = world.clock.now()
    request = AcceptRequest("default", [event(f"few-{tag}", id=f"few-{tag}")])
    await world.accept.accept([request])
    await world.accept.accept([request])  # a known id
    await world.settle(await world.claim(1, quota=100))
    await world.read.event("default", f"few-{tag}")
    await world.posted(event(f"few-{tag}"))  # for a claim that is carried out again
    of_their_keys = await plans.parts_read(filled, given)
    given.clear()
    operation = await world.operation(f"few-{tag}")
    await world.read.log(operation.key, 0, 50)
    of_a_log = await plans.parts_read(filled, given)
    given.clear()
    await world.read.feed("default", 50_000, 50)
    of_the_feed = await plans.parts_read(filled, given)

    # two ways to write them, which read none; two looks at an id; a claim
    assert sorted(of_their_keys.values()) == [0, 0, 1, 1, 1]
    # from two days before its operation on: these, its own, the days ahead, the rest
    assert max(of_a_log.values()) <= 2 + 1 + AHEAD // DAY + 1
    # nothing says which days its places are of: a step along the index of each
    assert max(of_the_feed.values()) > DAYS


@pytest.mark.parametrize("wanted", traffic.RANGES.values(), ids=traffic.RANGES)
async def test_counts_over_time(
    world: World, filled: Place, given: list[Given], wanted: traffic.Range
) -> None:
    points = await world.traffic.points("tenant-1", wanted)
    statements = [sql for sql, _ in given if "FROM traffic" in sql]
    await world.traffic.sample(traffic.Gauges(1, 2, 3, 4))

    counted = sum(each.accepted for each in points)
    assert counted == pytest.approx(2 * minutes(wanted), abs=2 * wanted.step // 60_000)
    assert len(statements) == 1
    assert await read_whole(filled, given) == {}
    assert await much_work(filled, given) == []


@pytest.mark.parametrize("wanted", tallies.RANGES.values(), ids=tallies.RANGES)
async def test_counts_of_one_subscription(
    world: World, filled: Place, given: list[Given], wanted: traffic.Range
) -> None:
    points = await world.read.subscription_attempts(50, wanted)

    hours = 0 if wanted.slices < HOUR else min(wanted.span // HOUR - 2, 500)
    assert sum(each.succeeded for each in points) == pytest.approx(2 * hours, abs=6)
    assert await read_whole(filled, given) == {}
    assert await much_work(filled, given) == []


def minutes(wanted: traffic.Range) -> int:
    """How many minutes of a range have rows: those from two hours ago backwards, 1,250 of them."""
    if wanted.slices == HOUR:
        return 0
    return min(max(wanted.span // 60_000 - 120, 0), 1_250)


def now(world: World) -> int:
    return world.clock.now()


def then(world: World) -> int:
    """A time that many came before, and many after."""
    return world.clock.now() - 2 * HOUR + 20_000


def between(world: World) -> EventSpan:
    """A second, and places around it: some thousand events on both sides are of other times."""
    return EventSpan(71_000, 85_000, then(world) - 1_000, then(world))


async def newest(world: World, span: EventSpan, limit: int = 51) -> None:
    assert await world.read.feed_newest("default", span, limit)


async def newest_of_log(world: World, span: EventSpan) -> None:
    operation = await world.operation(OPERATION)
    await world.read.log_newest(operation.key, span, 51)


def oldest(world: World) -> DeliveryRef:
    return DeliveryRef(key_floor(world.clock.now() - 2 * HOUR) + 2, 1)


async def deliveries(world: World, span: Span = PAGE, **which: Any) -> None:  # noqa: ANN401  as the filter has them
    await world.read.deliveries("default", DeliveryFilter(**which), span)


async def letters(world: World, **which: Any) -> None:  # noqa: ANN401  as the filter has them
    await world.read.dead_letters("default", DeadLetterFilter(**which), PAGE)


async def operations(world: World, **which: Any) -> None:  # noqa: ANN401  as the filter has them
    await world.read.operations("default", OperationFilter(**which), PAGE)


async def audited(world: World, **which: str) -> None:
    who = Principal("key_test", "default", frozenset())
    await world.read.entries(who, AuditFilter(**which), PAGE)  # type: ignore[arg-type]  # times are none of these


async def undelivered(world: World) -> None:
    subscription = await world.read.subscription("default", "sub")
    assert subscription is not None
    await world.read.undelivered("default", subscription, 0, PAGE)


#: Pages by what they are asked for; what nobody has is the worst that can be asked for.
PAGES: dict[str, Callable[[World], Awaitable[object]]] = {
    "deliveries": deliveries,
    "deliveries, the last page": lambda world: deliveries(world, Span(51, tuple(oldest(world)))),
    **{
        f"deliveries {status} of one": partial(deliveries, status=status, subscription_id="sub")
        for status in DeliveryStatus
    },
    "deliveries of one": lambda world: deliveries(world, subscription_id="sub"),
    "deliveries of an operation": lambda world: deliveries(world, operation_id=OPERATION),
    "deliveries of an event": lambda world: deliveries(world, event_id=EVENT),
    "deliveries in time": lambda world: deliveries(world, since=then(world), until=now(world)),
    "deliveries pending": lambda world: deliveries(world, status=DeliveryStatus.PENDING),
    "deliveries delivered": lambda world: deliveries(world, status=DeliveryStatus.DELIVERED),
    "deliveries of a type": lambda world: deliveries(world, event_type="job.step"),
    "dead letters": letters,
    "dead letters open": lambda world: letters(world, resolved=False),
    "dead letters resolved": lambda world: letters(world, resolved=True),
    "dead letters of one": lambda world: letters(world, subscription_id="sub"),
    "deliveries cancelled": lambda world: deliveries(world, status=DeliveryStatus.CANCELLED),
    "deliveries dead": lambda world: deliveries(world, status=DeliveryStatus.DEAD),
    "deliveries delivering": lambda world: deliveries(world, status=DeliveryStatus.DELIVERING),
    "operations": operations,
    "operations in time": lambda world: operations(world, created_before=then(world)),
    "operations cancelled": lambda world: operations(world, status="CANCELLED"),
    "operations failed": lambda world: operations(world, status="FAILED"),
    "operations of a type": lambda world: operations(world, type="report"),
    "operations of no type": lambda world: operations(world, type="none"),
    "operations at work": lambda world: operations(world, status="PROCESSING"),
    "operations by job": lambda world: operations(world, client_job_id="none"),
    "audit log": audited,
    "audit log of a target": lambda world: audited(world, target="sub_1"),
    "undelivered": undelivered,
    "feed": lambda world: world.read.feed("default", 50_000, 51),
    "feed, nothing new": lambda world: world.read.feed("default", 10**9, 51),
    "feed, newest": lambda world: newest(world, EventSpan(150_000, 10**9)),
    "feed, newest before": lambda world: newest(world, EventSpan(0, 50_000)),
    "feed, newest at a place": lambda world: newest(world, EventSpan(99_999, 100_001), 1),
    "feed, newest between": lambda world: newest(world, between(world)),
    "log, newest": lambda world: newest_of_log(world, EventSpan(0, 10**9)),
    "log, newest between": lambda world: newest_of_log(world, between(world)),
    "feed, its bounds": lambda world: world.read.feed("default", 0, 0),
    "delivery": lambda world: world.read.delivery("default", oldest(world)),
    "attempts": lambda world: world.read.attempts(oldest(world)),
}
#: Those that look at so many rows and say where they came to: no index knows what is asked for.
BOUNDED: dict[str, Callable[[World], Awaitable[object]]] = {
    "deliveries of no type": lambda world: deliveries(world, event_type="none"),
    "deliveries of nobody": lambda world: world.read.deliveries("none", DeliveryFilter(), PAGE),
    "dead letters of no type": lambda world: letters(world, event_type="none"),
    "dead letters without reason": lambda world: letters(world, reason="gone"),
    "dead letters in time": lambda world: letters(world, since=then(world), until=now(world)),
    "dead letters since now": lambda world: letters(world, since=now(world)),
    "operations pending": lambda world: operations(world, status="PENDING"),
    "audit log of no action": lambda world: audited(world, action="none"),
    "audit log of no actor": lambda world: audited(world, actor="none"),
}


@pytest.mark.parametrize("page", PAGES)
async def test_a_page_takes_little_however_much_there_is(
    world: World, filled: Place, given: list[Given], page: str
) -> None:
    await PAGES[page](world)

    assert await much_work(filled, given) == []


@pytest.mark.usefixtures("chain")
async def test_a_page_of_what_waits_for_its_turn_takes_a_step_for_each(
    world: World, filled: Place, given: list[Given]
) -> None:
    of_one = DeliveryFilter(status=DeliveryStatus.PENDING, subscription_id="sub")
    page = await world.read.deliveries("default", of_one, PAGE)

    heads = {each.behind for each in page.items}
    assert len(page.items) == 51
    assert len(heads) == 1
    assert heads != {None}
    assert await much_work(filled, given) == []


@pytest.mark.parametrize("page", BOUNDED)
async def test_a_page_looks_at_so_much_however_much_there_is(
    world: World, filled: Place, given: list[Given], page: str
) -> None:
    await BOUNDED[page](world)

    assert await much_work(filled, given, MOST_PAGES_LOOKED_UP) == []


async def test_what_looks_at_everything_is_found(filled: Place) -> None:
    none = "SELECT 1 FROM deliveries WHERE status = 'none' ORDER BY event_key DESC LIMIT 51"

    assert await much_work(filled, [(none, ())], MOST_PAGES_LOOKED_UP) != []


async def test_what_reads_a_whole_table_is_found(filled: Place) -> None:
    by_index = ("SELECT 1 FROM events WHERE key = 1", ())
    whole = ("SELECT 1 FROM events WHERE type = 'note'", ())
    counted = ("SELECT count(*) FROM attempts WHERE duration_ms > 1", ())

    found = await read_whole(filled, [by_index, whole, counted])

    assert list(found) == [whole[0], counted[0]]
