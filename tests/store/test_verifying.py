"""What the verification of URLs asks of the store, and what is kept of it."""

import pytest
from sqlalchemy import update

from service.domain.errors import Refusal, RefusalKind, not_found
from service.domain.ids import key_time
from service.domain.subscription import Verification
from service.ports import (
    Lane,
    Principal,
    Replayed,
    Rotation,
)
from service.store import schema
from service.store.database import Database, Tx
from service.store.managing import ManageStore
from service.store.once import LIFETIME
from service.store.reading import ReadStore
from tests.support.clock import FakeClock
from tests.support.world import kept

from .conftest import MakeSubscription, Put, Rows

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("way", Verification)
async def test_what_was_agreed_to_is_kept(
    subscribe: MakeSubscription, read: ReadStore, way: Verification
) -> None:
    made = await subscribe("sub_1", verification=way, verified_at=5, allowed_per_minute=2**31 - 1)
    found = await read.subscription("default", "sub_1")
    assert found == made
    assert found is not None
    assert found.verification is way


async def test_a_lane_has_the_secrets_that_sign_and_leaves_no_trace(
    manage: ManageStore, subscribe: MakeSubscription, rows: Rows, clock: FakeClock
) -> None:
    await subscribe("sub_1", secret=b"one")
    await manage.rotate_secret("default", "sub_1", Rotation(lambda _: b"two", 1_000), "key")
    before = await rows(schema.audit_log)

    lane = await manage.lane("default", "sub_1")
    clock.advance(1_000)
    later = await manage.lane("default", "sub_1")

    assert isinstance(lane, Lane)
    assert isinstance(later, Lane)
    assert [each.sealed for each in lane.secrets] == [b"two", b"one"]
    assert [each.sealed for each in later.secrets] == [b"two"]
    assert await rows(schema.audit_log) == before
    nobody = not_found("subscription", "sub_1")
    assert await manage.lane("other", "sub_1") == nobody


async def test_a_tenant_has_its_own_default(
    manage: ManageStore, database: Database, put: Put
) -> None:
    await put(schema.tenants, id="other", verification="cloudevents")
    assert await manage.default_verification("default") is Verification.NONE
    assert await manage.default_verification("other") is Verification.CLOUDEVENTS
    assert await manage.default_verification("nobody") is Verification.NONE

    async def change(tx: Tx) -> None:
        await tx.change(
            update(schema.tenants)
            .where(schema.tenants.c.id == "default")
            .values(verification="challenge")
        )

    await database.write(change)
    assert await manage.default_verification("default") is Verification.CHALLENGE


async def test_an_answer_that_is_kept_is_found_without_doing_anything(
    manage: ManageStore, put: Put, clock: FakeClock
) -> None:
    assert await manage.replayed("default", kept()) is None
    answer = {"key": "k", "fingerprint": b"f", "answer": b"answer", "created_at": clock.now()}
    await put(schema.idempotency_keys, tenant_id="default", **answer)

    assert await manage.replayed("default", kept()) == Replayed(b"answer")
    other = await manage.replayed("default", kept(fingerprint=b"g"))
    assert isinstance(other, Refusal)
    assert other.kind is RefusalKind.IDEMPOTENCY_KEY_REUSED
    assert await manage.replayed("other", kept()) is None
    assert await manage.replayed("default", kept("k2")) is None
    clock.advance(LIFETIME)
    assert await manage.replayed("default", kept()) is None


async def test_what_came_to_nothing_is_noted(
    manage: ManageStore, rows: Rows, clock: FakeClock
) -> None:
    who = Principal("key_1", "acme", frozenset())
    await manage.note(who, "subscription.verification_failed", "sub_1", '{"statusCode":404}')
    (entry,) = await rows(schema.audit_log)
    assert key_time(entry.pop("key")) == clock.now()
    assert entry == {
        "tenant_id": "acme",
        "actor": "key_1",
        "action": "subscription.verification_failed",
        "target": "sub_1",
        "detail": '{"statusCode":404}',
    }
