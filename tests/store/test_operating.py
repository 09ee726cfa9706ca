"""Operations described: once, with all that is theirs in one transaction."""

import json
from typing import Any

import pytest

from service.domain.errors import Refusal, RefusalKind
from service.ports import Described, OperationFilter, Replayed, Span
from service.store import schema
from service.store.once import LIFETIME
from tests.support.world import TTL, World, event, kept, refused

pytestmark = pytest.mark.anyio


async def test_an_operation_is_written_down_once(world: World) -> None:
    made = await world.described(metadata=b'{"a":1.10}')

    assert (made.made, made.webhook, made.waiting) == (True, None, False)
    assert await world.operation() == made.operation
    again = refused(await world.describe())

    assert again.kind is RefusalKind.CONFLICT
    assert "exists already" in again.detail
    assert again.extra == {"operationId": "op"}
    assert await world.operation() == made.operation


async def test_who_described_it_is_noted(world: World) -> None:
    await world.described(webhook={"url": "https://example.com/secret"})

    (note,) = await world.rows(schema.audit_log)
    assert (note["actor"], note["action"], note["target"]) == (
        "key_test",
        "operation.created",
        "op",
    )
    webhook = {"subscriptionId": "sub_op", "host": "example.com"}
    assert json.loads(note["detail"]) == {"type": "report", "webhook": webhook}


async def test_an_operation_that_an_event_created_is_described_later(world: World) -> None:
    await world.posted(event("op", "STARTED"), event("op"), event("op"))
    before = await world.operation()
    world.clock.advance(50)

    described = (await world.described(metadata=b"{}", client_job_id="job")).operation

    assert described == await world.operation()
    assert (described.key, described.sequence, described.status) == (before.key, 3, "PROCESSING")
    assert (described.type, described.metadata, described.described) == ("report", b"{}", True)
    assert described.client_job_id == "job"
    assert described.created_at == before.created_at
    assert described.updated_at == world.clock.now()
    assert isinstance(await world.describe(), Refusal)


async def test_who_describes_an_operation_may_be_a_little_behind(world: World) -> None:
    await world.posted(event("op", "STARTED"))
    before = await world.operation()
    world.clock.advance(-5)

    assert (await world.described()).operation.updated_at == before.updated_at


async def test_a_description_does_not_change_a_type_that_an_event_gave(world: World) -> None:
    await world.posted(event(operation_type="a"))

    assert "'a'" in refused(await world.describe(type="b")).detail
    assert (await world.described(type="a")).made


# --- the times it promises


async def test_the_times_of_a_new_operation(world: World) -> None:
    now = world.clock.now()

    made = (await world.described(expected_ms=60_000, ttl_ms=5, timeout_ms=7_000)).operation

    assert made.estimated_at == now + 60_000
    assert made.silent_at == now + 7_000
    assert (made.ttl_ms, made.expires_at) == (5, None)


async def test_a_description_counts_patience_from_itself(world: World) -> None:
    await world.posted(event(type_="STARTED"))
    world.clock.advance(10_000)

    made = (await world.described(expected_ms=60_000, timeout_ms=7_000)).operation

    assert made.silent_at == world.clock.now() + 7_000
    assert made.estimated_at == made.created_at + 60_000


@pytest.mark.parametrize(("own", "readable"), [(None, TTL), (90_000, 90_000)])
async def test_what_has_ended_before_it_is_described_gets_its_ttl(
    world: World, own: int | None, readable: int
) -> None:
    await world.posted(event(type_="COMPLETED"))
    ended = world.clock.now()
    world.clock.advance(1_000)

    made = (await world.described(ttl_ms=own, timeout_ms=5, expected_ms=5)).operation

    assert made.expires_at == ended + readable
    assert (made.silent_at, made.estimated_at) == (None, None)


async def test_an_id_that_expired_is_not_free(world: World) -> None:
    await world.posted(event(type_="COMPLETED"))
    world.clock.advance(TTL)

    assert refused(await world.describe()).kind is RefusalKind.CONFLICT


# --- the client's own id


async def test_a_clients_id_names_one_operation(world: World) -> None:
    first = await world.described("a", client_job_id="job", webhook={})

    again = await world.described("b", named=False, client_job_id="job", webhook={"id": "other"})

    assert (again.made, again.operation, again.webhook) == (
        False,
        first.operation,
        first.webhook,
    )
    assert [row["id"] for row in await world.rows(schema.operations)] == ["a"]
    assert [row["id"] for row in await world.rows(schema.subscriptions)] == ["sub_a"]
    assert len(await world.rows(schema.audit_log)) == 1
    assert not (await world.described("a", client_job_id="job")).made


async def test_a_clients_id_finds_what_an_event_created(world: World) -> None:
    await world.posted(event("op"))
    await world.described("op", client_job_id="job")

    again = await world.described("other", named=False, client_job_id="job")

    assert (again.made, again.operation.id) == (False, "op")


@pytest.mark.parametrize("members", [{"type": "other", "named": False}, {"name": "b"}])
async def test_a_clients_id_that_is_another_operations_is_refused(
    world: World, members: dict[str, Any]
) -> None:
    await world.described("a", client_job_id="job")

    refusal = refused(await world.describe(**{"name": "a", **members}, client_job_id="job"))

    assert refusal.kind is RefusalKind.CONFLICT
    assert refusal.extra == {"operationId": "a"}
    assert "'a'" in refusal.detail


async def test_clients_ids_are_a_tenants_own(world: World) -> None:
    await world.tenant("other")
    await world.described("a", client_job_id="job")

    assert (await world.described("a", tenant_id="other", client_job_id="job")).made


async def test_an_expired_operation_gives_its_clients_id_up(world: World) -> None:
    await world.described("a", client_job_id="job")
    await world.posted(event("a", "COMPLETED"))
    world.clock.advance(TTL - 1)
    assert not (await world.described("b", named=False, client_job_id="job")).made
    world.clock.advance(1)

    assert (await world.described("b", named=False, client_job_id="job")).made

    a, b = await world.rows(schema.operations)
    assert (a["client_job_id"], b["client_job_id"]) == (None, "job")


async def test_events_carry_the_clients_id(world: World) -> None:
    await world.posted(event("op"))
    await world.described("op", client_job_id="job")
    await world.posted(event("op"))

    bodies = [json.loads(row["body"]) for row in await world.rows(schema.events)]
    assert [body.get("clientJobId") for body in bodies] == [None, "job"]


# --- its own subscription


async def test_its_subscription_gets_the_events_that_end_it(world: World) -> None:
    made = await world.described(webhook={})
    assert made.webhook is not None
    assert made.operation.webhook_id == made.webhook.id

    await world.posted(event("op", "STARTED"), event("op"), event("other", "COMPLETED"))
    await world.posted(event("op", "COMPLETED"))

    (claimed,) = await world.claim()
    assert (claimed.ref.subscription_no, claimed.event_type) == (made.webhook.no, "COMPLETED")
    (tenant,) = await world.rows(schema.tenants)
    assert tenant["bound_subscriptions"] == 1


async def test_its_subscription_gets_what_came_before_it(world: World) -> None:
    """A producer's first events may be quicker than the description of its operation."""
    await world.posted(event("op", "STARTED"), event("other", "FAILED"), event("op", "COMPLETED"))

    made = await world.described(webhook={})

    assert made.waiting
    (claimed,) = await world.claim()
    assert (claimed.operation_id, claimed.event_type) == ("op", "COMPLETED")


async def test_what_came_before_and_was_not_asked_for_is_not_sent(world: World) -> None:
    await world.posted(event("op", "STARTED"))

    assert not (await world.described(webhook={})).waiting
    assert await world.claim() == []


async def test_a_refused_description_leaves_nothing(world: World) -> None:
    await world.described()

    refused(await world.describe(webhook={}))

    assert await world.rows(schema.subscriptions) == []
    assert await world.rows(schema.subscription_secrets) == []
    assert (await world.rows(schema.tenants))[0]["bound_subscriptions"] == 0


async def test_what_fails_at_its_last_step_leaves_nothing(world: World) -> None:
    await world.subscribe("sub_taken")

    with pytest.raises(Exception, match=r"(?i)unique"):
        await world.describe(webhook={"id": "sub_taken"}, once=kept())

    assert await world.rows(schema.operations) == []
    assert await world.rows(schema.idempotency_keys) == []


# --- once


async def test_the_same_request_gets_the_answer_kept_for_it(world: World) -> None:
    first = await world.describe(once=kept())
    again = await world.describe("other", once=kept())
    other = await world.describe("third", once=kept(fingerprint=b"g"))

    assert isinstance(first, Described)
    assert again == Replayed(b"answer")
    assert refused(other).kind is RefusalKind.IDEMPOTENCY_KEY_REUSED


async def test_an_answer_is_kept_for_a_day_and_then_replaced(world: World) -> None:
    await world.describe(once=kept())
    world.clock.advance(LIFETIME - 1)
    assert isinstance(await world.describe(once=kept()), Replayed)
    world.clock.advance(1)

    later = await world.describe("b", once=kept(fingerprint=b"g", said=b"new"))

    assert isinstance(later, Described)
    assert await world.describe(once=kept(fingerprint=b"g")) == Replayed(b"new")


async def test_neither_a_refusal_nor_what_renders_to_nothing_is_kept(world: World) -> None:
    await world.describe(once=kept(said=None))
    refused(await world.describe(once=kept()))

    assert await world.rows(schema.idempotency_keys) == []


async def test_a_history_leaves_out_what_expired_and_finds_by_the_clients_id(world: World) -> None:
    await world.described("a", client_job_id="job-a")
    await world.described("b", client_job_id="job-b")
    await world.posted(event("a", "COMPLETED"))

    async def found(**which: Any) -> list[str]:  # noqa: ANN401  members of many types
        page = await world.read.operations("default", OperationFilter(**which), Span(10))
        return [operation.id for operation in page.items]

    assert await found() == ["b", "a"]
    assert await found(client_job_id="job-a") == ["a"]
    world.clock.advance(TTL)
    assert await found() == ["b"]
    assert await found(client_job_id="job-a") == []
