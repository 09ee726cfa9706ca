"""What a delivery costs in statements, commits and messages: counted, so no machine is too busy.

The bounds are what it takes now. A change that needs fewer lowers them; one that needs more has to
say why here.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dramatiq import Broker, Message, Middleware

from service.broker import BrokerWaker, make_broker
from service.lab.bench.counted import is_frame, watch
from service.ports import AcceptRequest, Claimed
from service.pubsub.in_process import InProcessBackplane
from service.usecases.accept import Accept
from service.worker import declare
from tests.support.clock import FakeClock
from tests.support.world import World, event, fault, migrated_file, opened_world

pytestmark = pytest.mark.anyio


@dataclass
class Ledger:
    """Every statement that SQLite was given."""

    given: list[tuple[str, Any]] = field(default_factory=list)

    def note(self, sql: str, parameters: Any) -> None:  # noqa: ANN401  whatever the driver takes
        self.given.append((sql, parameters))

    def take(self) -> tuple[int, int, int]:
        """Statements that are work, those that only frame it, and commits, since the last take."""
        texts = [sql for sql, _ in self.given]
        self.given.clear()
        frames = sum(map(is_frame, texts))
        return len(texts) - frames, frames, texts.count("COMMIT")


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger()
    end = watch(ledger.note)
    yield ledger
    end()


@pytest.fixture
async def world(tmp_path: Path, clock: FakeClock, ledger: Ledger) -> AsyncIterator[World]:  # noqa: ARG001  it has to watch before
    path = tmp_path / "ringback.db"
    path.write_bytes(migrated_file())
    async with opened_world(path, clock, breaker=True) as world:
        yield world


def group(count: int, operations: int, name: str = "op") -> list[AcceptRequest]:
    """So many requests of one event each, about so many operations."""
    return [
        AcceptRequest("default", [event(f"{name}{number % operations}")]) for number in range(count)
    ]


async def warm(world: World) -> None:
    """What is done once in a while, and not for each group: so it is in none of the counts."""
    await world.subscribe("hook")
    await world.accept.accept(group(1, 1, "warm"))
    await world.deliver_due()


@pytest.mark.parametrize("count", [1, 100, 400])
async def test_a_group_takes_as_many_statements_however_large(
    world: World, ledger: Ledger, count: int
) -> None:
    await warm(world)
    ledger.take()

    await world.accept.accept(group(count, max(count // 4, 1)))
    # operations, feed position, events, ids, queue, operations
    assert ledger.take() == (6, 2, 1)

    claimed = await world.claim(1, quota=count)
    assert len(claimed) == count
    # lanes, lease, events
    assert ledger.take() == (3, 2, 1)

    settled = await world.settle(claimed)
    assert settled.late == 0
    # out of the queue, finished, attempts
    assert ledger.take() == (3, 2, 1)


async def test_an_event_is_claimed_in_its_own_commit(world: World, ledger: Ledger) -> None:
    await warm(world)
    claims: list[asyncio.Task[list[Claimed]]] = []
    ledger.take()

    await world.accept.accept(
        group(1, 1), foretell=lambda lanes: claims.append(asyncio.create_task(world.claim(*lanes)))
    )

    assert [len(await claim) for claim in claims] == [1]
    # as above, the claim in a savepoint
    assert ledger.take() == (6 + 3, 4, 1)


async def test_what_is_only_counted_is_written_apart_from_results(
    world: World, ledger: Ledger
) -> None:
    await warm(world)
    await world.accept.accept(group(100, 50))
    claimed = await world.claim(1)
    world.clock.advance(10_000)
    ledger.take()

    await world.settle(claimed)
    assert ledger.take() == (3, 2, 1)
    await world.deliver.flush()
    # subscriptions, health, health; attempts counted, counted over time
    assert ledger.take() == (5, 4, 2)
    await world.deliver.flush()
    assert ledger.take() == (0, 0, 0)


async def test_more_events_of_known_operations_take_no_more(world: World, ledger: Ledger) -> None:
    await warm(world)
    await world.accept.accept(group(50, 50))
    ledger.take()

    await world.accept.accept(group(100, 50))

    assert ledger.take() == (6, 2, 1)


async def test_one_event_for_many_takes_a_statement_for_each_500(
    world: World, ledger: Ledger
) -> None:
    await warm(world)
    for number in range(1000):
        await world.subscribe(f"sub{number}", event_types=("wide",))
    await world.accept.accept(group(1, 1, "again"))
    ledger.take()

    await world.accept.accept([AcceptRequest("default", [event("op", "wide")])])

    assert ledger.take() == (8, 2, 1)


async def test_jobs_that_wait_together_share_a_commit(world: World, ledger: Ledger) -> None:
    await warm(world)
    ledger.take()

    await asyncio.gather(*(world.accept.accept(group(1, 1, f"many{n}-")) for n in range(21)))

    assert ledger.take()[2] == 1


class Counter(Middleware):
    """Counts messages."""

    def __init__(self) -> None:
        self.lanes: list[int] = []

    def after_enqueue(
        self,
        broker: Broker,  # noqa: ARG002  Dramatiq's own signature
        message: Message[Any],
        delay: int | None,  # noqa: ARG002  as above
    ) -> None:
        self.lanes.append(len(message.args[0]))


def ignore(_: list[int]) -> None:
    """Do nothing about a wake."""


async def test_a_commit_wakes_with_one_message_however_many_it_is_about(
    world: World, ledger: Ledger
) -> None:
    for number in range(20):
        await world.subscribe(f"sub{number}")
    counter = Counter()
    broker = make_broker("", [counter])
    declare(broker, ignore, actor="deliver", queue="lanes")
    accept = Accept(world.accept, BrokerWaker(broker), InProcessBackplane())
    ledger.take()

    await asyncio.gather(*(accept.events("default", [event(f"op{n}")]) for n in range(100)))
    await asyncio.sleep(0)

    # all that were there when the first group was taken, which is all
    assert counter.lanes == [20]
    assert ledger.take()[2] == 1


# --- plans

#: Holds what is in flight only: to read all of it is what it is for.
IN_FLIGHT = "ix_delivery_queue_leases"


def tables_read_whole(path: Path, given: Sequence[tuple[str, Any]]) -> dict[str, list[str]]:
    """By statement, the steps in which SQLite would read a table, or an index, from end to end."""
    found: dict[str, list[str]] = {}
    with closing(sqlite3.connect(path)) as file:
        tables = {row[0] for row in file.execute("SELECT name FROM sqlite_master")}
        for sql, parameters in given:
            if is_frame(sql) or sql.startswith("PRAGMA") or sql in found:
                continue
            steps = [row[3] for row in file.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
            found[sql] = [step for step in steps if is_whole(step, tables)]
    return {sql: steps for sql, steps in found.items() if steps}


def is_whole(step: str, tables: set[str]) -> bool:
    """Whether a step of a plan is ``SCAN`` of one of these tables."""
    words = step.split()
    return words[0] == "SCAN" and words[1] in tables and words[-1] != IN_FLIGHT


async def everything_hot(world: World) -> None:
    """What happens to events and deliveries, the good and the bad."""
    hook = await world.subscribe("second")
    await world.subscribe("ordered", ordering="operation")
    await world.accept.accept(group(20, 5))
    await world.accept.accept(
        [AcceptRequest("default", [event(f"op{n}", id=f"evt{n}")]) for n in range(10)]
    )
    some = await world.claim(hook.no, quota=10)
    await world.settle(some[:5])
    await world.settle(some[5:], 500)
    await world.settle(await world.claim(quota=3), fault())
    await world.exhaust()
    world.clock.advance(10_000)
    await world.deliver.flush()
    await world.claim()
    await world.deliver.release(await world.claim())
    while await world.sweep.reclaim(world.schedule, everything=True):
        pass
    await world.manage.find_key(b"digest")


async def test_no_hot_statement_reads_a_whole_table(
    world: World, ledger: Ledger, tmp_path: Path
) -> None:
    await warm(world)  # a process looks once at how all receivers are
    ledger.take()
    await everything_hot(world)
    given = list(ledger.given)

    assert tables_read_whole(tmp_path / "ringback.db", given) == {}
    written = {sql.split()[0] for sql, _ in given}
    assert {"INSERT", "UPDATE", "DELETE", "SELECT"} <= written


def test_a_statement_that_reads_a_whole_table_is_found(tmp_path: Path) -> None:
    path = tmp_path / "ringback.db"
    path.write_bytes(migrated_file())
    by_index = ("SELECT 1 FROM events WHERE key = ?", (1,))
    whole = ("SELECT 1 FROM events WHERE type = ?", ("note",))
    whole_index = ("SELECT count(*) FROM delivery_queue", ())

    found = tables_read_whole(path, [by_index, whole, whole_index])

    assert list(found) == [whole[0], whole_index[0]]
