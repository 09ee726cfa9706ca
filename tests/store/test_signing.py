"""Private keys beside secrets, certificates beside headers: each change whole, each value found."""

import pytest

from service.domain.errors import Refusal, RefusalKind
from service.domain.subscription import (
    Signing,
    Subscription,
    changed,
    key_context,
    secret_context,
    tls_context,
)
from service.ports import (
    Lane,
    NewKey,
    NewSubscription,
    Rotation,
    SealedKey,
)
from service.store import schema
from service.store.managing import ManageStore
from service.store.reading import ReadStore
from tests.support.clock import FakeClock

from .conftest import MakeSubscription, Rows

pytestmark = pytest.mark.anyio


def key(version: int, name: str = "sub_1") -> SealedKey:
    return SealedKey(b"key %d of %s" % (version, name.encode()), f"whpk_{name}_{version}")


async def change(
    manage: ManageStore, new_key: NewKey | None = key, **members: object
) -> Subscription:
    after = await manage.change_subscription(
        "default", "sub_1", lambda now: changed(now, **members), "key", "changed", new_key
    )
    assert isinstance(after, Subscription)
    return after


async def rotate(manage: ManageStore, overlap: int = 60_000) -> Subscription:
    after = await manage.rotate_secret(
        "default", "sub_1", Rotation(lambda _: b"sealed", overlap, key), "k"
    )
    assert isinstance(after, Subscription)
    return after


async def pairs(manage: ManageStore) -> list[tuple[int, bytes | None, str | None]]:
    """Version, sealed private key and public key of what signs, newest first."""
    lane = await manage.reveal("default", "sub_1", "key")
    assert isinstance(lane, Lane)
    return [(each.version, each.sealed_key, each.public_key) for each in lane.secrets]


async def test_a_key_comes_with_its_subscription(
    manage: ManageStore, read: ReadStore, subscribe: MakeSubscription
) -> None:
    plain = changed(await subscribe("other"), id="sub_1", signing=Signing.ED25519)
    made = await manage.create_subscription(NewSubscription(plain, b"sealed", key(1)), "key")

    assert isinstance(made, Subscription)
    assert made.public_key == "whpk_sub_1_1"
    assert await read.subscription("default", "sub_1") == made
    assert await pairs(manage) == [(1, *key(1))]


async def test_a_key_comes_when_it_is_to_sign_and_stays(
    manage: ManageStore, subscribe: MakeSubscription
) -> None:
    await subscribe("sub_1")
    assert (await change(manage, description="x")).public_key is None
    assert (await change(manage, signing=Signing.BOTH)).public_key == "whpk_sub_1_1"
    assert (await change(manage, signing=Signing.HMAC)).public_key == "whpk_sub_1_1"

    after = await change(manage, lambda _: SealedKey(b"", "another"), signing=Signing.ED25519)
    assert after.public_key == "whpk_sub_1_1"
    assert await pairs(manage) == [(1, *key(1))]


async def test_a_refused_change_makes_no_key(
    manage: ManageStore, subscribe: MakeSubscription
) -> None:
    await subscribe("sub_1")
    refusal = Refusal(RefusalKind.CONFLICT, "no")

    assert refusal is await manage.change_subscription(
        "default", "sub_1", lambda _: refusal, "key", "changed", key
    )
    assert await pairs(manage) == [(1, None, None)]


async def test_a_rotation_brings_a_key_where_one_signs(
    manage: ManageStore, subscribe: MakeSubscription, clock: FakeClock
) -> None:
    await subscribe("sub_1")
    assert (await rotate(manage)).public_key is None
    await change(manage, signing=Signing.ED25519)
    assert (await rotate(manage)).public_key == "whpk_sub_1_3"

    assert await pairs(manage) == [(3, *key(3)), (2, *key(2)), (1, None, None)]
    clock.advance(60_001)
    assert await pairs(manage) == [(3, *key(3))]


async def test_public_keys_are_those_that_sign(
    manage: ManageStore, read: ReadStore, subscribe: MakeSubscription, clock: FakeClock
) -> None:
    for name in ("sub_2", "sub_3", "sub_4"):
        plain = changed(await subscribe(f"{name}_plain"), id=name)
        await manage.create_subscription(NewSubscription(plain, b"", key(1, name)), "key")
    await subscribe("sub_1")
    await change(manage, signing=Signing.ED25519)
    await rotate(manage)
    own = ["whpk_sub_1_1", "whpk_sub_1_2"]
    every = [*own, "whpk_sub_2_1", "whpk_sub_3_1", "whpk_sub_4_1"]

    assert await read.public_keys(None, "", 10) == every
    assert await read.public_keys(None, every[1], 2) == every[2:4]
    assert await read.public_keys("sub_1", "", 10) == own
    assert await read.public_keys("sub_1", own[0], 10) == own[1:]
    assert await read.public_keys("sub_2_plain", "", 10) == []
    assert await read.public_keys("nobody", "", 10) == []
    clock.advance(60_000)
    assert await read.public_keys("sub_1", "", 10) == own[1:]
    await manage.delete_subscription("default", "sub_1", "key")
    assert await read.public_keys(None, "", 10) == every[2:]


async def test_a_key_of_two_subscriptions_is_one(
    manage: ManageStore, read: ReadStore, subscribe: MakeSubscription
) -> None:
    for name in ("sub_1", "sub_2"):
        plain = changed(await subscribe(f"{name}_plain"), id=name)
        await manage.create_subscription(NewSubscription(plain, b"", key(1)), "key")

    assert await read.public_keys(None, "", 10) == ["whpk_sub_1_1"]


async def test_certificates_go_with_their_subscription(
    manage: ManageStore, subscribe: MakeSubscription, read: ReadStore, rows: Rows
) -> None:
    made = await subscribe("sub_1", tls=b"sealed", tls_facts=b"{}")
    assert await read.subscription("default", "sub_1") == made
    await manage.delete_subscription("default", "sub_1", "key")

    (left,) = await rows(schema.subscriptions)
    assert (left["tls"], left["tls_facts"]) == (None, None)


async def test_private_keys_and_certificates_are_resealed_too(
    manage: ManageStore, subscribe: MakeSubscription, rows: Rows
) -> None:
    await subscribe("sub_1", secret=b"secret", tls=b"identity")
    await subscribe("sub_2", secret=b"other")
    await change(manage, signing=Signing.BOTH)
    seen: dict[str, bytes] = {}

    def reseal(sealed: bytes, context: str) -> bytes:
        seen[context] = sealed
        return b"new " + sealed

    assert await manage.reseal(reseal) == 4
    assert seen == {
        secret_context("sub_1", 1): b"secret",
        key_context("sub_1", 1): key(1).sealed,
        secret_context("sub_2", 1): b"other",
        tls_context("sub_1"): b"identity",
    }
    first, second = await rows(schema.subscription_secrets)
    assert (first["sealed"], first["sealed_key"]) == (b"new secret", b"new " + key(1).sealed)
    assert (second["sealed"], second["sealed_key"]) == (b"new other", None)
    assert [each["tls"] for each in await rows(schema.subscriptions)] == [b"new identity", None]


async def test_the_audit_log_tells_what_changed_and_no_more(
    manage: ManageStore, subscribe: MakeSubscription, rows: Rows
) -> None:
    await subscribe("sub_1")
    await change(manage, signing=Signing.BOTH, tls=b"sealed", tls_facts=b"{}")

    assert (await rows(schema.audit_log))[-1]["detail"] == (
        '{"changed": ["signing", "public_key", "tls"]}'
    )
