"""Pages that look at so many rows only: who follows them finds what one great page would show."""

import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.delivery import DeadLetterState, DeliveryStatus, is_finished
from service.domain.ids import KeyMaker
from service.domain.operation import Status
from service.domain.times import HURRIED
from service.ports import (
    AuditFilter,
    DeadLetterFilter,
    DeliveryFilter,
    OperationFilter,
    Page,
    Principal,
    Span,
)
from service.store import paging, reading_deliveries, schema
from service.store.database import Database
from service.store.reading import ReadStore
from tests.support.clock import FakeClock

from .conftest import MakeSubscription, Put

pytestmark = pytest.mark.anyio

Ask = Callable[[ReadStore, Span], Awaitable[Page[Any]]]

EVENTS: Final = 25
#: Milliseconds from one event to the next.
STEP: Final = 10
BEGIN: Final = FakeClock().now()
END: Final = BEGIN + EVENTS * STEP

tenants = st.sampled_from(["default", "other", "none"])
subscriptions = st.none() | st.sampled_from(["s1", "s2", "foreign", "unknown"])
types = st.none() | st.sampled_from(["A", "B", "none"])
moments = st.none() | st.integers(BEGIN - STEP, END + STEP)


def deliveries(tenant: str, which: DeliveryFilter) -> Ask:
    return lambda read, span: read.deliveries(tenant, which, span)


def dead_letters(tenant: str, which: DeadLetterFilter) -> Ask:
    return lambda read, span: read.dead_letters(tenant, which, span)


def operations(tenant: str, which: OperationFilter) -> Ask:
    return lambda read, span: read.operations(tenant, which, span)


def entries(who: Principal, which: AuditFilter) -> Ask:
    return lambda read, span: read.entries(who, which, span)


def subscribed(tenant: str, status: str | None) -> Ask:
    return lambda read, span: read.subscriptions(tenant, status, None, span)


LISTS: Final[st.SearchStrategy[Ask]] = st.one_of(
    st.builds(
        deliveries,
        tenants,
        st.builds(
            DeliveryFilter,
            status=st.none() | st.sampled_from(DeliveryStatus),
            subscription_id=subscriptions,
            operation_id=st.none() | st.sampled_from(["op1", "none"]),
            event_type=types,
            since=moments,
            until=moments,
        ),
    ),
    st.builds(
        dead_letters,
        tenants,
        st.builds(
            DeadLetterFilter,
            subscription_id=subscriptions,
            event_type=types,
            reason=st.none() | st.sampled_from(["gone", "expired", "none"]),
            since=moments,
            until=moments,
            resolved=st.none() | st.booleans(),
        ),
    ),
    st.builds(
        operations,
        tenants,
        st.builds(
            OperationFilter,
            status=st.none() | st.sampled_from([each.value for each in Status]),
            type=types,
            created_after=moments,
            created_before=moments,
        ),
    ),
    st.builds(subscribed, tenants, st.none() | st.sampled_from(["active", "paused"])),
    st.builds(
        entries,
        st.builds(Principal, st.just("key"), tenants, st.just(frozenset()), named=st.booleans()),
        st.builds(
            AuditFilter,
            actor=st.none() | st.sampled_from(["key_1", "none"]),
            action=st.none() | st.sampled_from(["a.made", "none"]),
            target=st.none() | st.sampled_from(["t1", "none"]),
            since=moments,
            until=moments,
        ),
    ),
)


@pytest.fixture
async def filled(
    database: Database, put: Put, keys: KeyMaker, subscribe: MakeSubscription
) -> ReadStore:
    """A store in which everything there can be is some of the rows of each list."""
    dice = random.Random(7)  # noqa: S311  nobody is to be kept from guessing it
    lanes = [
        await subscribe("s1"),
        await subscribe("s2", status="paused"),
        await subscribe("foreign", "other"),
    ]
    for number in range(5):
        await subscribe(f"idle{number}")
    for number in range(EVENTS):
        now = BEGIN + number * STEP
        tenant = dice.choice(["default", "default", "other"])
        key = keys.next(now)
        own = {"tenant_id": tenant, "key": key}
        kind, job = dice.choice("AAB"), dice.choice(["op1", "op2"])
        await put(
            schema.operations, **own, id=f"o{number}", status=dice.choice(list(Status)).value,
            type=dice.choice(["A", "B", None]), created_at=now,
            forgotten_at=dice.choice([None, None, now]),
        )  # fmt: skip
        await put(
            schema.audit_log, **own, actor=dice.choice(["key_1", "key_2"]),
            action=dice.choice(["a.made", "a.gone"]), target=dice.choice(["t1", "t2"]),
        )  # fmt: skip
        await put(
            schema.events, **own, id=f"e{number}", type=kind, operation_id=job,
            operation_key=key, sequence=1, feed_position=number,
        )  # fmt: skip
        for lane in lanes:
            if lane.tenant_id == tenant:
                pair = {"event_key": key, "subscription_no": lane.no}
                await _deliver(put, pair, dice, now)
                await put(
                    schema.dead_letters, **pair, tenant_id=tenant, event_id=f"e{number}",
                    event_type=kind, state=dice.choice(list(DeadLetterState)).value,
                    reason=dice.choice(["gone", "expired"]), dead_at=now + dice.randrange(STEP),
                )  # fmt: skip
    return ReadStore(database)


async def _deliver(put: Put, pair: dict[str, int], dice: random.Random, now: int) -> None:
    status = dice.choice(list(DeliveryStatus))
    if is_finished(status):
        await put(schema.deliveries, **pair, status=status.value, attempts=1, finished_at=now)
        return
    token = 7 if status is DeliveryStatus.DELIVERING else None
    due = dice.choice([HURRIED + 1, now])
    await put(schema.delivery_queue, **pair, due_at=due, trigger="schedule", token=token)


async def followed(read: ReadStore, ask: Ask, limit: int) -> list[list[Any]]:
    """The pages of a list, up to the one that has no next."""
    pages = [await ask(read, Span(limit))]
    while (place := pages[-1].next) is not None:
        pages.append(await ask(read, Span(limit, place)))
        assert pages[-1].next is None or pages[-1].next < place
    return [list(page.items) for page in pages]


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(ask=LISTS, looked_at=st.integers(1, 12), limit=st.integers(1, 8), lanes=st.integers(0, 3))
async def test_who_follows_short_pages_finds_exactly_what_one_great_page_shows(
    filled: ReadStore, ask: Ask, looked_at: int, limit: int, lanes: int
) -> None:
    whole = await ask(filled, Span(10_000))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(paging, "LOOKED_AT", looked_at)
        patched.setattr(reading_deliveries, "_FEW_LANES", lanes)
        pages = await followed(filled, ask, limit)

    assert whole.next is None
    assert [item for page in pages for item in page] == list(whole.items)
    assert max(map(len, pages)) <= limit


@pytest.mark.parametrize(
    "ask",
    [
        deliveries("default", DeliveryFilter(event_type="none")),
        deliveries("other", DeliveryFilter(status=DeliveryStatus.DELIVERED)),
        dead_letters("default", DeadLetterFilter(reason="none")),
        operations("default", OperationFilter(status="PROCESSING")),
        entries(Principal("key", "default", frozenset()), AuditFilter(action="none")),
    ],
    ids=["deliveries", "deliveries delivered", "dead letters", "operations", "audit log"],
)
async def test_a_page_ends_where_it_has_looked_at_enough(
    filled: ReadStore, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    monkeypatch.setattr(paging, "LOOKED_AT", 2)

    pages = await followed(filled, ask, 10)

    assert len(pages) > 3
    assert max(map(len, pages)) <= 2


async def test_a_small_tenants_deliveries_are_not_hidden_among_those_of_all(
    filled: ReadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await filled.deliveries("other", DeliveryFilter(), Span(100))
    monkeypatch.setattr(paging, "LOOKED_AT", 1)

    page = await filled.deliveries("other", DeliveryFilter(), Span(100))

    assert len(page.items) > 1
    assert page == whole
