"""Subscriptions, secrets and keys, each change with its trace."""

import json

import pytest
from sqlalchemy import insert, select, update

from service.domain.errors import Refusal, RefusalKind, not_found
from service.domain.ids import key_time
from service.domain.subscription import (
    MAX_SECRETS,
    Subscription,
    SubscriptionStatus,
    changed,
    headers_context,
    secret_context,
)
from service.ports import (
    FoundKey,
    Lane,
    NewSubscription,
    Once,
    Principal,
    Replayed,
    Rotation,
)
from service.store import schema
from service.store.database import Database, Tx
from service.store.managing import ManageStore
from service.store.reading import ReadStore
from tests.support.clock import FakeClock

from .conftest import MakeSubscription, Put, Rows

pytestmark = pytest.mark.anyio


async def config_version(database: Database) -> int:
    async with database.read() as tx:
        found = await tx.query(select(schema.tenants.c.config_version))
    return int(found[0]["config_version"])


def once(fingerprint: bytes = b"f", answer: bytes | None = b"answer") -> Once:
    return Once("k", fingerprint, lambda _: answer)


# --- subscriptions


async def test_a_subscription_is_numbered_and_noted(
    subscribe: MakeSubscription, database: Database, read: ReadStore, rows: Rows, clock: FakeClock
) -> None:
    before = await config_version(database)

    first = await subscribe(
        "sub_1", url="https://example.com/secret-path", event_types=("A", "b.*")
    )
    second = await subscribe("sub_2", retry_schedule=(0.0, 2.5))

    assert second.no == first.no + 1
    assert (first.version, first.created_at) == (1, clock.now())
    assert await read.subscription("default", "sub_1") == first
    assert await read.subscription("default", "sub_2") == second
    assert await config_version(database) > before
    entry = (await rows(schema.audit_log))[0]
    assert (entry["actor"], entry["action"]) == ("key_test", "subscription.created")
    assert (entry["tenant_id"], entry["target"]) == ("default", "sub_1")
    assert key_time(entry["key"]) == clock.now()
    assert json.loads(entry["detail"]) == {"host": "example.com"}


async def test_a_subscription_made_twice_under_one_key_is_one(
    manage: ManageStore, rows: Rows
) -> None:
    for _ in range(2):
        wanted = Subscription(
            no=0, id="sub_1", tenant_id="default", url="https://e.org", created_at=0, updated_at=0
        )
        await manage.create_subscription(NewSubscription(wanted, b"s"), "key", once())

    assert len(await rows(schema.subscriptions)) == 1
    assert len(await rows(schema.subscription_secrets)) == 1


async def test_a_change_makes_the_next_version(
    manage: ManageStore, subscribe: MakeSubscription, database: Database, rows: Rows,
    clock: FakeClock,
) -> None:  # fmt: skip
    made = await subscribe("sub_1")
    before = await config_version(database)
    clock.advance(1_000)

    paused = await manage.change_subscription(
        "default",
        "sub_1",
        lambda now: changed(now, no=99, status=SubscriptionStatus.PAUSED, headers=b"sealed"),
        "key_a",
        "subscription.paused",
    )

    assert paused == changed(
        made, status=SubscriptionStatus.PAUSED, headers=b"sealed", version=2, updated_at=clock.now()
    )
    assert await config_version(database) > before
    entry = (await rows(schema.audit_log))[-1]
    assert (entry["actor"], entry["action"]) == ("key_a", "subscription.paused")
    assert json.loads(entry["detail"]) == {"changed": ["headers", "status"]}


async def test_a_refused_change_changes_nothing(
    manage: ManageStore, subscribe: MakeSubscription, read: ReadStore, rows: Rows
) -> None:
    made = await subscribe("sub_1")
    refusal = Refusal(RefusalKind.CONFLICT, "no")

    assert (
        await manage.change_subscription("default", "sub_1", lambda _: refusal, "k", "a") is refusal
    )
    assert await read.subscription("default", "sub_1") == made
    assert len(await rows(schema.audit_log)) == 1


async def test_what_is_foreign_is_not_there(
    manage: ManageStore, subscribe: MakeSubscription
) -> None:
    await subscribe("sub_1", tenant_id="other")
    missing = not_found("subscription", "sub_1")

    assert await manage.change_subscription("default", "sub_1", lambda s: s, "k", "a") == missing
    assert await manage.delete_subscription("default", "sub_1", "k") == missing
    assert (
        await manage.rotate_secret("default", "sub_1", Rotation(lambda _: b"", 0), "k") == missing
    )
    assert await manage.reveal("default", "sub_1", "k") == missing


async def test_a_deleted_subscription_leaves_its_url_and_no_secrets(
    manage: ManageStore, subscribe: MakeSubscription, read: ReadStore, rows: Rows, clock: FakeClock
) -> None:
    made = await subscribe("sub_1", headers=b"sealed", header_names=("x-token",))

    assert await manage.delete_subscription("default", "sub_1", "key") is None

    left = (await rows(schema.subscriptions))[0]
    assert (left["url"], left["deleted_at"], left["version"]) == (made.url, clock.now(), 2)
    assert (left["headers"], left["header_names"]) == (None, b"[]")
    assert await rows(schema.subscription_secrets) == []
    assert await read.subscription("default", "sub_1") is None
    assert await manage.delete_subscription("default", "sub_1", "key") is not None


# --- secrets


async def signing(manage: ManageStore) -> list[tuple[int, bytes, int | None]]:
    lane = await manage.reveal("default", "sub_1", "key")
    assert isinstance(lane, Lane)
    return [(each.version, each.sealed, each.expires_at) for each in lane.secrets]


async def test_rotation_lets_the_present_secret_sign_on(
    manage: ManageStore, subscribe: MakeSubscription, clock: FakeClock, rows: Rows
) -> None:
    await subscribe("sub_1", secret=b"one")
    start = clock.now()

    await manage.rotate_secret("default", "sub_1", Rotation(lambda v: b"v%d" % v, 5_000), "key")
    clock.advance(1_000)
    await manage.rotate_secret("default", "sub_1", Rotation(lambda v: b"v%d" % v, 60_000), "key")

    assert await signing(manage) == [
        (3, b"v3", None),
        (2, b"v2", start + 61_000),
        (1, b"one", start + 5_000),
    ]
    clock.advance(4_000)
    assert [version for version, _, _ in await signing(manage)] == [3, 2]
    rotated = await manage.rotate_secret("default", "sub_1", Rotation(lambda _: b"v4", 0), "key")
    assert isinstance(rotated, Subscription)
    assert rotated.version == 4
    assert [row["version"] for row in await rows(schema.subscription_secrets)] == [2, 4]


async def test_few_secrets_sign_at_once(
    manage: ManageStore, subscribe: MakeSubscription, clock: FakeClock
) -> None:
    await subscribe("sub_1")

    async def rotated(overlap: int) -> Subscription | Refusal | Replayed:
        return await manage.rotate_secret(
            "default", "sub_1", Rotation(lambda _: b"s", overlap), "key"
        )

    for number in range(MAX_SECRETS - 1):
        assert isinstance(await rotated(1_000 * (number + 1)), Subscription)
    refusal = await rotated(1_000)
    assert isinstance(refusal, Refusal)
    assert refusal.kind is RefusalKind.CONFLICT
    assert len(await signing(manage)) == MAX_SECRETS
    assert isinstance(await rotated(0), Subscription)  # a leaked one can always be ended
    assert len(await signing(manage)) == MAX_SECRETS
    clock.advance(1_000)
    assert isinstance(await rotated(1_000), Subscription)


async def test_a_reveal_is_noted_without_the_secret(
    manage: ManageStore, subscribe: MakeSubscription, rows: Rows
) -> None:
    await subscribe("sub_1")

    await manage.reveal("default", "sub_1", "key_curious")

    entry = (await rows(schema.audit_log))[-1]
    assert (entry["actor"], entry["action"]) == ("key_curious", "subscription.secret_revealed")
    assert entry["detail"] is None


# --- keys


async def test_the_bootstrap_key_is_found_until_it_ends(
    manage: ManageStore, database: Database, clock: FakeClock
) -> None:
    await manage.ensure_key("key_1", "bootstrap", b"digest", ["admin", "events:write"])

    found = Principal("key_1", "default", frozenset({"admin", "events:write"}))
    assert await manage.find_key(b"digest") == FoundKey(found)
    assert await manage.find_key(b"other") is None
    for column, at, valid in [
        ("expires_at", clock.now(), False),
        ("expires_at", clock.now() + 1, True),
        ("revoked_at", clock.now(), False),
    ]:

        async def end(tx: Tx, column: str = column, at: int = at) -> None:
            await tx.change(update(schema.api_keys).values({column: at}))

        await database.write(end)
        assert await manage.find_key(b"digest") == (FoundKey(found, at) if valid else None)


async def test_the_bootstrap_key_follows_its_setting(
    manage: ManageStore, database: Database, rows: Rows, put: Put
) -> None:
    await put(schema.api_keys, id="key_9", hash=b"new", tenant_id="other")
    await manage.ensure_key("key_1", "bootstrap", b"old", ["admin"])
    version = await config_version(database)
    await manage.ensure_key("key_1", "bootstrap", b"old", ["admin"])
    assert await config_version(database) == version

    await manage.ensure_key("key_1", "bootstrap", b"new", ["admin"])

    assert [(row["id"], row["hash"]) for row in await rows(schema.api_keys)] == [("key_1", b"new")]
    assert await manage.find_key(b"old") is None
    assert await config_version(database) > version


# --- resealing


async def test_every_sealed_value_is_passed_with_its_context(
    manage: ManageStore, subscribe: MakeSubscription, database: Database, rows: Rows
) -> None:
    await subscribe("sub_1", secret=b"s1", headers=b"h1")
    await subscribe("sub_2", secret=b"s2")
    many = [("default", f"k{n:04}", b"f", b"a%d" % n, 0) for n in range(1_001)]

    async def answers(tx: Tx) -> None:
        names = ("tenant_id", "key", "fingerprint", "answer", "created_at")
        await tx.insert(schema.idempotency_keys, names, many)

    await database.write(answers)
    seen: dict[str, bytes] = {}

    def reseal(sealed: bytes, context: str) -> bytes | None:
        assert context not in seen
        seen[context] = sealed
        return None if sealed == b"s2" else b"new " + sealed

    assert await manage.reseal(reseal) == 1_003
    assert seen == {
        secret_context("sub_1", 1): b"s1",
        secret_context("sub_2", 1): b"s2",
        headers_context("sub_1"): b"h1",
    } | {f"idempotency_keys/default/{key}": answer for _, key, _, answer, _ in many}
    assert [row["sealed"] for row in await rows(schema.subscription_secrets)] == [b"new s1", b"s2"]
    assert (await rows(schema.subscriptions))[0]["headers"] == b"new h1"
    assert (await rows(schema.idempotency_keys))[1_000]["answer"] == b"new a1000"


async def test_a_value_that_does_not_open_is_told_and_kept(
    manage: ManageStore, subscribe: MakeSubscription, rows: Rows
) -> None:
    await subscribe("sub_1", secret=b"s1")

    def fail(_sealed: bytes, _context: str) -> bytes | None:
        raise ValueError("unknown key")

    with pytest.raises(ValueError, match="unknown key"):
        await manage.reseal(fail)
    assert (await rows(schema.subscription_secrets))[0]["sealed"] == b"s1"


async def test_a_failing_change_leaves_no_half(
    manage: ManageStore, database: Database, subscribe: MakeSubscription, rows: Rows
) -> None:
    await subscribe("sub_1", secret=b"one")
    version = await config_version(database)

    def fail(_version: int) -> bytes:
        raise ValueError("sealing failed")

    with pytest.raises(ValueError, match="sealing failed"):
        await manage.rotate_secret("default", "sub_1", Rotation(fail, 1_000), "key")
    assert [row["expires_at"] for row in await rows(schema.subscription_secrets)] == [None]
    assert await config_version(database) == version


async def test_tenants_do_not_share_a_config_version(
    database: Database, subscribe: MakeSubscription
) -> None:
    async def other(tx: Tx) -> None:
        values = {"id": "other", "name": "o", "created_at": 0, "feed_position": 0}
        await tx.change(insert(schema.tenants).values({**values, "config_version": 7}))

    await database.write(other)
    before = await config_version(database)

    await subscribe("sub_1", tenant_id="other")

    assert await config_version(database) == before
