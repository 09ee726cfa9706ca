"""A failed operation tried once more: one new operation, all that is its own in one transaction."""

import json
from typing import Any

import pytest

from service.domain.errors import RefusalKind
from service.domain.subscription import headers_context, secret_context
from service.ports import (
    AcceptRequest,
    Answer,
    Note,
    Once,
    Replayed,
    Retried,
    Retry,
    Rotation,
)
from service.store import schema
from tests.support.world import TTL, World, event, kept, refused

pytestmark = pytest.mark.anyio

RETRYABLE = b'{"title":"no","retryable":true}'


def reseal(sealed: bytes, context: str, other: str) -> bytes:
    """Writes down what it was asked."""
    return b"|".join((sealed, context.encode(), other.encode()))


def request(
    world: World, new: str = "new", failed: str = "op", once: Once | None = None
) -> AcceptRequest:
    wanted = Retry(failed, world.keys.next(world.clock.now()), new, f"sub_{new}", reseal)
    note = Note("key_test", "operation.retried", failed)
    return AcceptRequest("default", (), once, note=note, retry=wanted)


async def retry(
    world: World, new: str = "new", failed: str = "op", once: Once | None = None
) -> Answer:
    (result,) = await world.accept.accept([request(world, new, failed, once)])
    return result.answer


async def retried(world: World, new: str = "new", failed: str = "op") -> Retried:
    answer = await retry(world, new, failed)
    assert isinstance(answer, Retried), answer
    return answer


async def failed(world: World, error: bytes = RETRYABLE, **members: Any) -> None:  # noqa: ANN401  members of many types
    """A described operation that failed."""
    await world.described(**members)
    await world.posted(event("op", "FAILED", error=error))


async def test_a_retry_is_a_new_operation_with_a_first_event(world: World) -> None:
    lane = await world.subscribe(event_types=("RETRY_REQUESTED",))
    await failed(world, metadata=b'{"a":1.10}', timeout_ms=5_000, client_job_id="job")
    world.clock.advance(1_000)

    (result,) = await world.accept.accept([request(world)])

    answer = result.answer
    assert isinstance(answer, Retried)
    assert (answer.made, answer.webhook) == (True, None)
    assert result.lanes == {lane.no}
    new = answer.operation
    assert new == await world.operation("new")
    assert (new.status, new.sequence, new.retry_of) == ("PENDING", 1, "op")
    assert (new.type, new.metadata, new.client_job_id) == ("report", b'{"a":1.10}', None)
    assert new.created_at == world.clock.now()
    assert new.silent_at == world.clock.now() + 5_000
    assert (await world.operation("op")).retried_by == "new"
    (claimed,) = await world.claim(lane.no)
    body = json.loads(claimed.body)
    assert (body["type"], body["operationId"], body["sequence"]) == ("RETRY_REQUESTED", "new", 1)
    assert (body["status"], body["data"]) == ("PENDING", {"retryOf": "op"})
    assert body["operationType"] == "report"


async def test_asked_again_it_is_the_same_operation(world: World) -> None:
    await failed(world, webhook={})
    first = await retried(world)
    await world.posted(event("new", "STARTED"))

    again = await retried(world, "other")

    assert not again.made
    assert (again.operation.id, again.operation.status) == ("new", "PROCESSING")
    assert again.webhook == first.webhook
    assert {row["id"] for row in await world.rows(schema.operations)} == {"op", "new"}


async def test_two_at_once_make_one_operation(world: World) -> None:
    await failed(world, webhook={})

    first, second = await world.accept.accept([request(world, "one"), request(world, "two")])

    assert isinstance(first.answer, Retried)
    assert isinstance(second.answer, Retried)
    assert (first.answer.made, second.answer.made) == (True, False)
    assert first.answer.operation == second.answer.operation
    assert first.answer.webhook == second.answer.webhook
    assert [row["type"] for row in await world.rows(schema.events)] == [
        "FAILED",
        "RETRY_REQUESTED",
    ]


async def test_who_asked_for_it_is_noted_once(world: World) -> None:
    await failed(world)
    await retry(world)
    await retry(world)
    refused(await retry(world, "x", "nowhere"))

    notes = [
        (row["actor"], row["action"], row["target"]) for row in await world.rows(schema.audit_log)
    ]
    assert notes == [
        ("key_test", "operation.created", "op"),
        ("key_test", "operation.retried", "op"),
    ]


async def test_the_answer_to_a_key_is_kept(world: World) -> None:
    await failed(world)

    assert isinstance(await retry(world, once=kept()), Retried)
    assert await retry(world, once=kept()) == Replayed(b"answer")
    other = refused(await retry(world, once=kept(fingerprint=b"g")))
    assert other.kind is RefusalKind.IDEMPOTENCY_KEY_REUSED


@pytest.mark.parametrize(
    "error", [b"{}", b'{"retryable":false}', b'{"retryable":true,"retryAfter":60}']
)
async def test_a_refused_retry_leaves_nothing(world: World, error: bytes) -> None:
    await failed(world, error, webhook={})
    before = [await world.rows(table) for table in (schema.operations, schema.subscriptions)]

    refusal = refused(await retry(world, once=kept()))

    assert refusal.kind is RefusalKind.CONFLICT
    assert before == [
        await world.rows(table) for table in (schema.operations, schema.subscriptions)
    ]
    assert await world.rows(schema.idempotency_keys) == []


async def test_patience_is_over_at_its_time(world: World) -> None:
    await failed(world, b'{"retryable":true,"retryAfter":60}')
    world.clock.advance(59_001)
    assert refused(await retry(world)).retry_after == 1
    world.clock.advance(999)

    assert (await retried(world)).made


async def test_what_is_not_there_running_or_expired_is_not_tried_again(world: World) -> None:
    await world.posted(event("running"))
    await failed(world)
    world.clock.advance(TTL)

    kinds = [refused(await retry(world, "x", name)).kind for name in ("none", "running", "op")]

    assert kinds == [RefusalKind.NOT_FOUND, RefusalKind.CONFLICT, RefusalKind.GONE]


async def test_a_retry_of_a_retry(world: World) -> None:
    await failed(world)
    await retried(world, "second")
    await world.posted(event("second", "FAILED", error=RETRYABLE))

    third = await retried(world, "third", "second")

    assert third.operation.retry_of == "second"


# --- its own subscription


async def test_its_own_subscription_is_made_once_more(world: World) -> None:
    await failed(world, webhook={"event_types": ("FAILED",), "headers": b"headers"})
    (own,) = await world.rows(schema.subscriptions)
    await world.deliver_due()
    world.clock.advance(10)

    webhook = (await retried(world)).webhook

    assert webhook is not None
    assert webhook.no == own["no"] + 1
    assert (webhook.id, webhook.operation_id, webhook.url) == ("sub_new", "new", own["url"])
    assert (webhook.event_types, webhook.created_at) == (("FAILED",), world.clock.now())
    assert (await world.operation("new")).webhook_id == "sub_new"
    assert webhook.headers == reseal(
        b"headers", headers_context("sub_op"), headers_context("sub_new")
    )
    (secret,) = await world.rows(schema.subscription_secrets, subscription_no=webhook.no)
    contexts = (secret_context("sub_op", 1), secret_context("sub_new", 1))
    assert secret["sealed"] == reseal(b"sealed", *contexts)
    (tenant,) = await world.rows(schema.tenants)
    assert tenant["bound_subscriptions"] == 2
    await world.posted(event("new", "FAILED", error=RETRYABLE))
    assert [each.ref.subscription_no for each in await world.claim()] == [webhook.no]


async def test_its_newest_secret_is_inherited(world: World) -> None:
    await failed(world, webhook={})
    await world.manage.rotate_secret(
        "default", "sub_op", Rotation(lambda _: b"newer", 1_000), "key_test"
    )

    webhook = (await retried(world)).webhook

    assert webhook is not None
    (secret,) = await world.rows(schema.subscription_secrets, subscription_no=webhook.no)
    contexts = (secret_context("sub_op", 2), secret_context("sub_new", 1))
    assert (secret["version"], secret["sealed"]) == (1, reseal(b"newer", *contexts))


async def test_a_subscription_that_asks_for_it_gets_the_request_too(world: World) -> None:
    await failed(world, webhook={"event_types": ("*",)})
    await world.deliver_due()

    webhook = (await retried(world)).webhook

    assert webhook is not None
    (claimed,) = await world.claim()
    assert (claimed.ref.subscription_no, claimed.event_type) == (webhook.no, "RETRY_REQUESTED")


@pytest.mark.parametrize("gone", ["deleted", "general"])
async def test_a_subscription_that_is_its_own_no_longer_is_not_inherited(
    world: World, gone: str
) -> None:
    await failed(world, webhook={})
    own = await world.read.subscription("default", "sub_op")
    assert own is not None
    if gone == "deleted":
        await world.delete(own)
    else:
        await world.change(own, operation_id=None)

    answer = await retried(world)

    assert answer.webhook is None
    assert answer.operation.webhook_id is None
