"""Reads: of one tenant, by place, and along indexes however large a table has become."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from sqlalchemy import Executable, Table

from service.domain.delivery import DeliveryStatus, Trigger
from service.domain.ids import DeliveryRef, KeyMaker, key_floor
from service.domain.operation import Operation, Status
from service.domain.subscription import Subscription
from service.domain.times import NEVER
from service.ports import (
    DeadLetterFilter,
    DeadLetterView,
    DeliveryFilter,
    DeliveryView,
    OperationFilter,
    Page,
    Span,
    UndeliveredView,
)
from service.store import reading_deliveries, reading_undelivered, schema
from service.store.database import Tx
from service.store.managing import ManageStore
from service.store.reading import ReadStore
from service.store.reading_deliveries import DeliveryReads
from service.store.sqlite import compiling
from service.store.sqlite.tx import SqliteTx
from service.store.statements import Statement
from tests.support.clock import FakeClock
from tests.support.databases import ONLY_SQLITE

from .conftest import MakeSubscription, Put

T = TypeVar("T")

pytestmark = pytest.mark.anyio

ALL = Span(50)


class Log:
    """Writes events, and what became of their deliveries, straight into the tables."""

    def __init__(self, put: Put, keys: KeyMaker, clock: FakeClock) -> None:
        self._put = put
        self._keys = keys
        self._clock = clock
        self._position = 0

    async def operation(self, name: str, tenant_id: str = "default", **given: object) -> int:
        """An operation; its key."""
        self._clock.advance(10)
        now = self._clock.now()
        key = self._keys.next(now)
        values = {"status": "PROCESSING", "created_at": now, "updated_at": now, **given}
        await self._put(schema.operations, key=key, tenant_id=tenant_id, id=name, **values)
        return key

    async def event(
        self, name: str, type_: str = "A", tenant_id: str = "default", **given: object
    ) -> int:
        """An event; its key."""
        self._clock.advance(10)
        self._position += 1
        now = self._clock.now()
        key = self._keys.next(now)
        values = {"feed_position": self._position, "created_at": now, "body": name.encode()}
        await self._put(
            schema.events, key=key, tenant_id=tenant_id, id=name, type=type_, **(values | given)
        )
        await self._put(schema.event_ids, tenant_id=tenant_id, id=name, event_key=key)
        return key

    async def queued(self, event: int, to: Subscription, **given: object) -> DeliveryRef:
        """An open delivery."""
        ref = DeliveryRef(event, to.no)
        values = {"due_at": self._clock.now(), "trigger": "schedule", **given}
        await self._put(schema.delivery_queue, **ref._asdict(), **values)
        return ref

    async def finished(
        self, event: int, to: Subscription, status: str = "delivered", **given: object
    ) -> DeliveryRef:
        """A finished delivery."""
        ref = DeliveryRef(event, to.no)
        values = {"status": status, "attempts": 1, "finished_at": self._clock.now(), **given}
        await self._put(schema.deliveries, **ref._asdict(), **values)
        return ref

    async def dead(self, event: int, to: Subscription, **given: object) -> DeliveryRef:
        """A dead letter."""
        ref = DeliveryRef(event, to.no)
        values = {
            "tenant_id": to.tenant_id, "state": "open", "reason": "attempts_exhausted",
            "dead_at": self._clock.now(), "event_id": "snapshot", "event_type": "A", **given,
        }  # fmt: skip
        await self._put(schema.dead_letters, **ref._asdict(), **values)
        return ref


@pytest.fixture
def log(put: Put, keys: KeyMaker, clock: FakeClock) -> Log:
    return Log(put, keys, clock)


async def pages(ask: Callable[[Span], Awaitable[Page[T]]], limit: int) -> list[list[T]]:
    """All pages of a list."""
    found: list[list[T]] = []
    after: tuple[int, ...] | None = None
    while after is not None or not found:
        page = await ask(Span(limit, after))
        found.append(list(page.items))
        after = page.next
    return found


# --- operations and events


async def test_operations_come_newest_first_and_only_their_tenants(
    read: ReadStore, log: Log
) -> None:
    for name in ("a", "b", "c"):
        await log.operation(name)
    await log.operation("foreign", tenant_id="other")

    async def ask(span: Span) -> Page[Operation]:
        return await read.operations("default", OperationFilter(), span)

    assert [[o.id for o in page] for page in await pages(ask, 2)] == [["c", "b"], ["a"]]
    assert [[o.id for o in page] for page in await pages(ask, 3)] == [["c", "b", "a"]]
    assert await read.operation("default", "foreign") is None
    assert await read.operation("other", "foreign") is not None


async def test_operations_are_filtered(read: ReadStore, log: Log, clock: FakeClock) -> None:
    await log.operation("a", status="FAILED", type="x")
    await log.operation("b", status="FAILED", type="y")
    between = clock.now()
    await log.operation("c", type="x")

    async def ids(which: OperationFilter) -> list[str]:
        page = await read.operations("default", which, ALL)
        return [operation.id for operation in page.items]

    assert await ids(OperationFilter(status="FAILED")) == ["b", "a"]
    assert await ids(OperationFilter(type="x")) == ["c", "a"]
    assert await ids(OperationFilter(created_after=between)) == ["c", "b"]
    assert await ids(OperationFilter(created_after=between + 1)) == ["c"]
    assert await ids(OperationFilter(created_before=between)) == ["a"]
    assert await ids(OperationFilter(status="FAILED", type="x")) == ["a"]


async def test_an_operations_log_is_read_from_where_the_reader_is(
    read: ReadStore, log: Log
) -> None:
    operation = await log.operation("op")
    quiet = await log.operation("quiet")
    for number in (1, 2, 3):
        await log.event(f"e{number}", operation_key=operation, operation_id="op", sequence=number)

    async def ids(key: int, after: int, limit: int) -> list[str]:
        return [event.id for event in await read.log(key, after, limit)]

    assert await ids(operation, 0, 10) == ["e1", "e2", "e3"]
    assert await ids(operation, 1, 1) == ["e2"]
    assert await ids(operation, 3, 10) == []
    assert await ids(quiet, 0, 10) == []
    assert set(await read.log_ends([operation, quiet])) == {operation, quiet}


async def test_an_event_is_found_by_its_id_in_its_tenant(read: ReadStore, log: Log) -> None:
    own = await log.event("e1", sequence=4)
    foreign = await log.event("e1", tenant_id="other")

    found = await read.event("default", "e1")

    assert found is not None
    assert (found.key, found.type, found.sequence, found.body) == (own, "A", 4, b"e1")
    other = await read.event("other", "e1")
    assert other is not None
    assert other.key == foreign
    assert await read.event("default", "e2") is None


# --- subscriptions


async def test_subscriptions_come_newest_first_without_deleted_and_foreign_ones(
    read: ReadStore, subscribe: MakeSubscription, manage: ManageStore
) -> None:
    for name in ("s1", "s2", "s3", "s4"):
        await subscribe(name, operation_id="op" if name == "s1" else None)
    await subscribe("foreign", tenant_id="other")
    await manage.delete_subscription("default", "s3", "key")

    async def ask(span: Span) -> Page[Subscription]:
        return await read.subscriptions("default", None, None, span)

    assert [[s.id for s in page] for page in await pages(ask, 2)] == [["s4", "s2"], ["s1"]]
    only = await read.subscriptions("default", "active", "op", ALL)
    assert [each.id for each in only.items] == ["s1"]
    assert (await read.subscriptions("default", "paused", None, ALL)).items == []
    assert await read.subscription("default", "foreign") is None


# --- deliveries


async def test_deliveries_are_read_from_the_queue_and_from_the_finished(
    read: ReadStore, log: Log, subscribe: MakeSubscription, clock: FakeClock
) -> None:
    to = await subscribe("s1")
    event = await log.event("e1", "B", operation_id="op")
    done = await log.finished(event, to, attempts=3)
    waits = await log.queued(await log.event("e2"), to, due_at=clock.now() + 5, attempts=2)
    leased = await log.queued(await log.event("e3"), to, token=7)
    parked = await log.queued(await log.event("e4"), to, due_at=NEVER)

    view = await read.delivery("default", done)

    assert view is not None
    assert (view.subscription_id, view.event_id, view.event_type) == ("s1", "e1", "B")
    assert (view.operation_id, view.status, view.attempts) == ("op", DeliveryStatus.DELIVERED, 3)
    assert (view.finished_at, view.due_at) == (clock.now() - 30, None)
    page = await read.deliveries("default", DeliveryFilter(), ALL)
    assert [(each.ref, each.status.value, each.due_at is None) for each in page.items] == [
        (parked, "pending", True),
        (leased, "delivering", True),
        (waits, "pending", False),
        (done, "delivered", True),
    ]
    assert await read.delivery("other", done) is None
    assert await read.delivery("default", DeliveryRef(event, 99)) is None


async def test_pages_of_deliveries_miss_nothing_and_repeat_nothing(
    read: ReadStore, log: Log, subscribe: MakeSubscription
) -> None:
    two = [await subscribe("s1"), await subscribe("s2")]
    refs = []
    for number in range(7):
        event = await log.event(f"e{number}")
        for to in two:
            make = log.queued if (number + to.no) % 3 else log.finished
            refs.append(await make(event, to))

    async def ask(span: Span) -> Page[DeliveryView]:
        return await read.deliveries("default", DeliveryFilter(), span)

    for limit in (1, 3, 14):
        found = [view.ref for page in await pages(ask, limit) for view in page]
        assert found == sorted(refs, reverse=True)


@pytest.mark.parametrize("near", [1, 3, 1_000])
@pytest.mark.parametrize("status", [None, DeliveryStatus.PENDING])
async def test_pages_of_a_lane_are_whole_wherever_its_rows_are_in_the_queue(
    read: ReadStore,
    log: Log,
    subscribe: MakeSubscription,
    monkeypatch: pytest.MonkeyPatch,
    near: int,
    status: DeliveryStatus | None,
) -> None:
    monkeypatch.setattr(reading_deliveries, "_NEAR", near)
    own, other = await subscribe("s1"), await subscribe("s2")
    wanted = []
    for number, name in enumerate("aabbabbbbaaaabbbab"):
        event = await log.event(f"e{number}")
        leased = {"token": 1} if number % 7 == 0 else {}
        ref = await log.queued(event, own if name == "a" else other, **leased)
        if name == "a" and not (status and leased):
            wanted.append(ref)

    which = DeliveryFilter(subscription_id="s1", status=status)
    found = await pages(lambda span: read.deliveries("default", which, span), 2)

    assert [each.ref for page in found for each in page] == wanted[::-1]


async def test_a_page_of_a_lane_among_the_newest_does_not_sort_all_of_its_backlog(
    read: ReadStore, log: Log, subscribe: MakeSubscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_deliveries, "_NEAR", 4)
    lane = await subscribe("s1")
    for number in range(9):
        await log.queued(await log.event(f"e{number}"), lane)
    asked: list[str] = []
    plain = DeliveryReads._shown_of  # noqa: SLF001  what each look asks for

    async def noted(self: DeliveryReads, tx: Tx, table: Table, picked: Any) -> Any:  # noqa: ANN401  as it is
        asked.append(table.name)
        return await plain(self, tx, table, picked)

    monkeypatch.setattr(DeliveryReads, "_shown_of", noted)
    which = DeliveryFilter(subscription_id="s1", status=DeliveryStatus.PENDING)

    page = await read.deliveries("default", which, Span(3))
    assert (len(page.items), asked) == (3, ["delivery_queue"])

    page = await read.deliveries("default", which, Span(4))
    assert (len(page.items), asked) == (4, ["delivery_queue"] * 3)


async def test_deliveries_are_filtered(
    read: ReadStore, log: Log, subscribe: MakeSubscription, clock: FakeClock
) -> None:
    one, two = await subscribe("s1"), await subscribe("s2")
    foreign = await subscribe("s3", tenant_id="other")
    operation = await log.operation("op")
    first = await log.event("e1", operation_key=operation, operation_id="op", sequence=1)
    between = clock.now() + 10
    second = await log.event("e2", "B")
    for to in (one, two, foreign):
        await log.finished(first, to)
    await log.queued(second, one)
    await log.queued(second, two, token=5)

    async def refs(which: DeliveryFilter) -> list[DeliveryRef]:
        page = await read.deliveries("default", which, ALL)
        return [view.ref for view in page.items]

    assert await refs(DeliveryFilter(subscription_id="s1")) == [(second, one.no), (first, one.no)]
    assert await refs(DeliveryFilter(subscription_id="s3")) == []
    assert await refs(DeliveryFilter(event_id="e1")) == [(first, two.no), (first, one.no)]
    assert await refs(DeliveryFilter(operation_id="op")) == [(first, two.no), (first, one.no)]
    assert await refs(DeliveryFilter(event_type="B")) == [(second, two.no), (second, one.no)]
    assert await refs(DeliveryFilter(since=between)) == [(second, two.no), (second, one.no)]
    assert await refs(DeliveryFilter(until=between)) == [(first, two.no), (first, one.no)]
    assert await refs(DeliveryFilter(status=DeliveryStatus.PENDING)) == [(second, one.no)]
    assert await refs(DeliveryFilter(status=DeliveryStatus.DELIVERING)) == [(second, two.no)]
    assert await refs(DeliveryFilter(status=DeliveryStatus.DEAD)) == []
    assert (
        await refs(DeliveryFilter(event_id="e9"))
        == await refs(DeliveryFilter(operation_id="none"))
        == []
    )
    assert await refs(
        DeliveryFilter(subscription_id="s1", event_id="e1", status=DeliveryStatus.DELIVERED)
    ) == [(first, one.no)]


async def test_deliveries_of_a_deleted_subscription_stay_in_the_list(
    read: ReadStore, log: Log, subscribe: MakeSubscription, manage: ManageStore
) -> None:
    to = await subscribe("s1")
    ref = await log.finished(await log.event("e1"), to)
    await manage.delete_subscription("default", "s1", "key")

    page = await read.deliveries("default", DeliveryFilter(subscription_id="s1"), ALL)

    assert [(view.ref, view.subscription_id) for view in page.items] == [(ref, "s1")]


async def test_a_delivery_outlives_its_event_in_its_dead_letter(
    read: ReadStore, log: Log, subscribe: MakeSubscription
) -> None:
    to = await subscribe("s1")
    ref = await log.finished(4_000, to, "dead")
    await log.dead(4_000, to, event_id="old", event_type="Old", operation_id="oldop")

    view = await read.delivery("default", ref)

    assert view is not None
    assert (view.event_id, view.event_type, view.operation_id) == ("old", "Old", "oldop")
    for which in (
        DeliveryFilter(event_id="old"),
        DeliveryFilter(event_type="Old"),
        DeliveryFilter(operation_id="oldop"),
    ):
        assert [v.ref for v in (await read.deliveries("default", which, ALL)).items] == [ref]


async def test_attempts_come_first_one_first(read: ReadStore, put: Put) -> None:
    ref = DeliveryRef(5, 1)
    for number in (2, 1):
        await put(
            schema.attempts, **ref._asdict(), number=number, trigger="manual", started_at=number,
            status_code=500, detail=b"{}",
        )  # fmt: skip
    await put(schema.attempts, event_key=5, subscription_no=2, number=1, trigger="schedule")

    found = await read.attempts(ref)

    assert [each.number for each in found] == [1, 2]
    assert (found[0].trigger, found[0].status_code, found[0].detail) == (Trigger.MANUAL, 500, b"{}")


# --- dead letters


async def test_dead_letters_are_listed_and_filtered(
    read: ReadStore, log: Log, subscribe: MakeSubscription, clock: FakeClock
) -> None:
    one, two = await subscribe("s1"), await subscribe("s2")
    foreign = await subscribe("s3", tenant_id="other")
    start = clock.now()
    first = await log.dead(10, one, dead_at=start + 5, body=b"body", message="gone")
    second = await log.dead(20, two, state="replaying", reason="gone", event_type="B")
    third = await log.dead(30, one, state="resolved", dead_at=start + 9)
    elsewhere = await log.dead(40, foreign)

    async def refs(which: DeadLetterFilter) -> list[DeliveryRef]:
        page = await read.dead_letters("default", which, ALL)
        return [view.ref for view in page.items]

    assert await refs(DeadLetterFilter()) == [third, second, first]
    assert await refs(DeadLetterFilter(resolved=False)) == [second, first]
    assert await refs(DeadLetterFilter(resolved=True)) == [third]
    assert await refs(DeadLetterFilter(subscription_id="s1")) == [third, first]
    assert (
        await refs(DeadLetterFilter(subscription_id="s3"))
        == await refs(DeadLetterFilter(subscription_id="s9"))
        == []
    )
    assert (
        await refs(DeadLetterFilter(reason="gone"))
        == await refs(DeadLetterFilter(event_type="B"))
        == [second]
    )
    assert await refs(DeadLetterFilter(since=start + 5, until=start + 9)) == [first]
    found = await read.dead_letter("default", first)
    assert found is not None
    assert (found.subscription_id, found.body, found.message) == ("s1", b"body", "gone")
    assert await read.dead_letter("default", elsewhere) is None


async def test_pages_of_dead_letters_miss_nothing_and_repeat_nothing(
    read: ReadStore, log: Log, subscribe: MakeSubscription
) -> None:
    two = [await subscribe("s1"), await subscribe("s2")]
    states = ["open", "replaying", "resolved"]
    refs = [
        await log.dead(event, to, state=states[(event + to.no) % 3])
        for event in range(1, 8)
        for to in two
    ]

    async def ask(span: Span) -> Page[DeadLetterView]:
        return await read.dead_letters("default", DeadLetterFilter(), span)

    for limit in (1, 3, 14):
        found = [view.ref for page in await pages(ask, limit) for view in page]
        assert found == sorted(refs, reverse=True)


async def test_the_summary_counts_what_a_replay_would_send(
    read: ReadStore, log: Log, subscribe: MakeSubscription
) -> None:
    one, two = await subscribe("s1"), await subscribe("s2")
    for event, dead_at in ((1, 100), (2, 50), (3, 70)):
        await log.dead(event, one, dead_at=dead_at, status_code=500, error_class="http_status")
    await log.dead(4, one, state="resolved")
    await log.dead(5, two, reason="gone", dead_at=9)
    await log.dead(6, two, reason="gone", state="replaying", dead_at=8)  # on its way already

    found = await read.dead_letter_summary("default", DeadLetterFilter())

    assert [(each.subscription_id, each.reason, each.count) for each in found] == [
        ("s1", "attempts_exhausted", 3),
        ("s2", "gone", 1),
    ]
    assert (found[0].error_class, found[0].status_code) == ("http_status", 500)
    assert (found[0].first_dead_at, found[0].last_dead_at) == (50, 100)
    assert await read.dead_letter_summary("default", DeadLetterFilter(resolved=False)) == found
    resolved = await read.dead_letter_summary("default", DeadLetterFilter(resolved=True))
    assert [each.count for each in resolved] == [1]
    assert await read.dead_letter_summary("other", DeadLetterFilter()) == []


# --- undelivered


async def test_undelivered_says_what_is_missing_and_why(
    read: ReadStore, log: Log, subscribe: MakeSubscription, clock: FakeClock
) -> None:
    early = await log.event("early")
    since = clock.now() + 1
    to = await subscribe("s1", event_types=("A",))
    refs = [DeliveryRef(await log.event(f"e{number}"), to.no) for number in range(6)]
    await log.finished(refs[0].event_key, to)
    await log.queued(refs[1].event_key, to)
    await log.queued(refs[2].event_key, to, token=1)
    await log.finished(refs[3].event_key, to, "dead")
    await log.dead(refs[3].event_key, to, reason="gone")
    await log.finished(refs[4].event_key, to, "cancelled")
    await log.event("unwanted", "B")
    await log.event("foreign", tenant_id="other")

    page = await read.undelivered("default", to, since, ALL)

    assert [(each.event.id, each.status, each.reason, each.ref) for each in page.items] == [
        ("e1", "pending", None, refs[1]),
        ("e2", "delivering", None, refs[2]),
        ("e3", "dead", "gone", refs[3]),
        ("e4", "cancelled", None, refs[4]),
        ("e5", "missing", None, None),
    ]
    assert page.next is None
    everything = await read.undelivered("default", to, 0, ALL)
    assert everything.items[0].event.key == early


@pytest.mark.parametrize("limit", [1, 2, 4, 50])
async def test_a_walk_is_bounded_and_misses_nothing(
    read: ReadStore,
    log: Log,
    subscribe: MakeSubscription,
    monkeypatch: pytest.MonkeyPatch,
    limit: int,
) -> None:
    monkeypatch.setattr(reading_undelivered, "LOOKED_AT", 4)
    monkeypatch.setattr(reading_undelivered, "_CHUNK", 2)
    to = await subscribe("s1", event_types=("A",))
    wanted = []
    for number in range(24):
        event = await log.event(f"e{number}", "A" if number % 8 < 3 else "B")
        if number % 8 < 3:
            wanted.append(event)

    async def ask(span: Span) -> Page[UndeliveredView]:
        return await read.undelivered("default", to, 0, span)

    found = await pages(ask, limit)

    assert [view.event.key for page in found for view in page] == wanted
    assert max(len(page) for page in found) <= min(limit, 4)


# --- plans


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A line for each table that a read touches, as SQLite plans it."""
    lines: list[str] = []
    query, fetch = SqliteTx.query, SqliteTx.fetch

    async def explain(tx: SqliteTx, text: str, arguments: tuple[Any, ...] = ()) -> None:
        lines.extend(row[3] for row in await tx.sql(f"EXPLAIN QUERY PLAN {text}", arguments))

    async def noted_query(self: SqliteTx, statement: Executable) -> list[dict[str, Any]]:
        assert hasattr(statement, "compile")
        options = {"literal_binds": True}
        dialect = self.connection.dialect
        await explain(self, str(statement.compile(dialect=dialect, compile_kwargs=options)))
        return await query(self, statement)

    async def noted_fetch(
        self: SqliteTx, statement: Statement, **given: object
    ) -> list[tuple[Any, ...]]:
        compiled = compiling.compiled(statement)
        await explain(self, compiled.text, compiled.arguments(given))
        return await fetch(self, statement, **given)

    monkeypatch.setattr(SqliteTx, "query", noted_query)
    monkeypatch.setattr(SqliteTx, "fetch", noted_fetch)
    return lines


@ONLY_SQLITE
@pytest.mark.parametrize("status", [None, *DeliveryStatus])
@pytest.mark.parametrize(
    "which",
    [
        {},
        {"subscription_id": "s1", "since": 1},
        {"event_id": "e1"},
        {"operation_id": "op"},
        {"event_type": "A"},
    ],
    ids=str,
)
async def test_lists_of_deliveries_use_indexes(
    read: ReadStore,
    log: Log,
    subscribe: MakeSubscription,
    plans: list[str],
    which: dict[str, Any],
    status: DeliveryStatus | None,
) -> None:
    await subscribe("s1")
    await log.operation("op")
    await log.event("e1")
    del plans[:]

    await read.deliveries("default", DeliveryFilter(status=status, **which), Span(5, (9, 9)))

    assert [line for line in plans if line.startswith("SCAN ") and _is_table(line)] == []
    sorts = [line for line in plans if "TEMP B-TREE FOR ORDER BY" in line]
    # the queue is kept in the order of due times; a lane's bare keys are sorted, first those of
    # the newest
    most = 2 if "subscription_id" in which else int(status is DeliveryStatus.DELIVERING)
    assert len(sorts) <= most


@ONLY_SQLITE
async def test_other_reads_use_indexes(
    read: ReadStore, log: Log, subscribe: MakeSubscription, plans: list[str], clock: FakeClock
) -> None:
    to = await subscribe("s1")
    await log.operation("op")
    await log.event("e1")
    del plans[:]
    after = Span(5, (key_floor(clock.now()), 1))

    await read.operation("default", "op")
    await read.operations("default", OperationFilter(), after)
    await read.operations("default", OperationFilter(status=Status.FAILED.value), after)
    await read.log(1, 0, 10)
    await read.feed("default", 0, 10)
    await read.log_ends([1, 2])
    await read.feed_ends(["default"])
    await read.event("default", "e1")
    await read.subscriptions("default", None, None, Span(5, (3,)))
    await read.dead_letters("default", DeadLetterFilter(), after)
    await read.dead_letters("default", DeadLetterFilter(subscription_id="s1"), after)
    await read.dead_letter_summary("default", DeadLetterFilter(resolved=False))
    await read.undelivered("default", to, clock.now() - 5_000, Span(5))

    assert [line for line in plans if line.startswith("SCAN ") and _is_table(line)] == []
    assert any("uq_events_operation_key_sequence (operation_key=?" in line for line in plans)
    assert any("ix_operations_tenant_id_key (tenant_id=? AND key<?)" in line for line in plans)
    assert any("ix_operations_ended_badly (tenant_id=? AND" in line for line in plans)
    assert any("ix_dead_letters_tenant_id_state_event_key" in line for line in plans)


def _is_table(line: str) -> bool:
    return line.split()[1] in schema.metadata.tables
