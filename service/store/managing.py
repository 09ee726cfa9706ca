"""Subscriptions and their secrets.

Every change of a subscription bumps its tenant's config version in the same transaction; accept
compares that version with the one its index was made of, so an event posted a millisecond later
meets the change. Subscriptions of one operation only are in no index, and bump nothing.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, bindparam, delete, select, update

from service.domain.errors import Refusal, not_found
from service.domain.ids import KeyMaker
from service.domain.subscription import (
    Subscription,
    Verification,
    changed,
    refuse_rotation,
    resumed,
)
from service.domain.tenant import DEFAULT_TENANT
from service.ports import (
    FoundKey,
    Lane,
    NewKey,
    NewSubscription,
    NewText,
    Once,
    Principal,
    Replayed,
    Rotation,
)
from service.store import auditing, health, keeping, subscribing, versions
from service.store.database import Database, Job, Tx
from service.store.once import find_answer
from service.store.once import once as do_once
from service.store.rows import SUBSCRIPTION_COLUMNS
from service.store.schema import subscription_secrets, subscriptions, tenants
from service.store.statements import Statement

T = TypeVar("T")

#: What no change touches.
_FIXED: Final = frozenset({"no", "id", "tenant_id", "created_at"})
_DEFAULT: Final = Statement(
    select(tenants.c.verification).where(tenants.c.id == bindparam("tenant"))
)


class ManageStore:
    """See :class:`service.ports.ManageStore`."""

    def __init__(self, database: Database, keys: KeyMaker) -> None:
        self._database = database
        self._keys = keys

    async def create_subscription(
        self, new: NewSubscription, actor: str, once: Once | None = None
    ) -> Subscription | Refusal | Replayed:
        """Make a subscription; events committed later reach it."""

        async def body(tx: Tx) -> Subscription | Refusal:
            made = await subscribing.make(tx, new)
            await self._note(tx, made, actor, "subscription.created")
            return made

        return await self._once(new.subscription.tenant_id, once, body)

    async def change_subscription(
        self,
        tenant_id: str,
        name: str,
        change: Callable[[Subscription], Subscription | Refusal],
        actor: str,
        action: str,
        key: NewKey | None = None,
    ) -> Subscription | Refusal:
        """Apply ``change`` to the subscription as it is; ``action`` names it in the audit log."""

        async def body(tx: Tx, now: Subscription) -> Subscription | Refusal:
            wanted = change(now)
            if isinstance(wanted, Refusal):
                return wanted
            if key is not None and wanted.signing.by_key:
                wanted = changed(wanted, public_key=await subscribing.with_key(tx, now, key))
            if wanted.url != now.url:  # another receiver, which did not ask to be left alone
                wanted = changed(wanted, hold_until=0)
                await health.clear(tx, now.no)
            after = await _write(tx, now, wanted)
            await self._rebind(tx, now, after)
            await self._note(tx, after, actor, action, _difference(now, after))
            return after

        return await self._with(tenant_id, name, body)

    async def resume_subscription(
        self, tenant_id: str, name: str, actor: str
    ) -> Subscription | Refusal:
        """Enable a subscription, end its pause and its hold, and begin anew with its receiver."""

        async def body(tx: Tx, now: Subscription) -> Subscription:
            after = await _write(tx, now, resumed(now))
            await health.clear(tx, now.no)
            detail = _difference(now, after)
            await self._note(tx, after, actor, "subscription.resumed", detail)
            return after

        return await self._with(tenant_id, name, body)

    async def delete_subscription(self, tenant_id: str, name: str, actor: str) -> Refusal | None:
        """Delete a subscription and its secrets; what waits for it becomes dead letters."""

        async def body(tx: Tx, now: Subscription) -> None:
            # the URL stays: lists of past deliveries show where they went
            bare = changed(now, headers=None, header_names=(), tls=None, tls_facts=None)
            await _write(tx, now, bare, deleted_at=tx.now)
            await tx.change(delete(subscription_secrets).where(_secrets_of(now)))
            await health.forget(tx, now.no)
            await subscribing.count(tx, tenant_id, -int(now.operation_id is not None))
            await self._note(tx, now, actor, "subscription.deleted")

        return await self._with(tenant_id, name, body)

    async def rotate_secret(
        self,
        tenant_id: str,
        name: str,
        rotation: Rotation,
        actor: str,
        once: Once | None = None,
    ) -> Subscription | Refusal | Replayed:
        """Add a secret; the present one goes on signing for a while."""
        overlap, key = rotation.overlap, rotation.key

        async def body(tx: Tx, now: Subscription) -> Subscription | Refusal:
            present = await subscribing.secrets(tx, now)
            refusal = refuse_rotation(name, present, overlap, tx.now)
            if refusal is not None:
                return refusal
            version = present[0].version + 1
            newest = (_secrets_of(now), subscription_secrets.c.expires_at.is_(None))
            await tx.change(
                update(subscription_secrets).where(*newest).values(expires_at=tx.now + overlap)
            )
            expired = (_secrets_of(now), subscription_secrets.c.expires_at <= tx.now)
            await tx.change(delete(subscription_secrets).where(*expired))
            new = key(version) if key is not None and now.signing.by_key else None
            await subscribing.add_secret(tx, now, version, rotation.seal(version), new)
            after = await _write(tx, now, changed(now, public_key=new and new.public))
            detail = {"version": version, "overlapMs": overlap}
            await self._note(tx, after, actor, "subscription.secret_rotated", detail)
            return after

        return await self._once(tenant_id, once, _with(tenant_id, name, body))

    async def lane(self, tenant_id: str, name: str) -> Lane | Refusal:
        """The subscription with the secrets that sign now, newest first; shown to nobody."""
        return await self._with(tenant_id, name, _lane)

    async def default_verification(self, tenant_id: str) -> Verification:
        """That of the tenant's new subscriptions which say nothing of it."""
        found = await self._database.look(_DEFAULT, tenant=tenant_id)
        return Verification(found[0][0]) if found else Verification.NONE

    async def replayed(self, tenant_id: str, once: Once) -> Replayed | Refusal | None:
        """What is kept under an ``Idempotency-Key``; why it is not for this request; or nothing."""

        async def job(tx: Tx) -> Replayed | Refusal | None:
            return await find_answer(tx, tenant_id, once)

        return await self._database.write(job)

    async def note(self, who: Principal, action: str, target: str, detail: str) -> None:
        """Write into the audit log what came to nothing else."""

        async def job(tx: Tx) -> None:
            actor = (who.tenant_id, who.key_id)
            await auditing.note(tx, self._keys, actor, action, target, detail)

        await self._database.write(job)

    async def reveal(
        self, tenant_id: str, name: str, actor: str, *, action: str = "subscription.secret_revealed"
    ) -> Lane | Refusal:
        """The subscription with the secrets that sign now, newest first; noted as ``action``."""

        async def body(tx: Tx, now: Subscription) -> Lane:
            who = (tenant_id, actor)
            await auditing.note(tx, self._keys, who, action, now.id)
            return await _lane(tx, now)

        return await self._with(tenant_id, name, body)

    async def ensure_key(
        self,
        key_id: str,
        name: str,
        digest: bytes,
        scopes: Sequence[str],
        public: str | None = None,
    ) -> None:
        """Make sure this key of the tenant ``default`` exists with this hash and public part."""
        text = NewText(digest, public)

        async def job(tx: Tx) -> None:
            no = self._keys.next(tx.now)
            if await keeping.ensure_key(tx, (key_id, name), text, scopes, no):
                await versions.renew(tx, self._keys, DEFAULT_TENANT)

        await self._database.write(job)

    async def first_key(self, key_id: str, name: str, text: NewText, scopes: Sequence[str]) -> bool:
        """Make this key of the tenant ``default`` unless its id is taken; whether it did."""

        async def job(tx: Tx) -> bool:
            no = self._keys.next(tx.now)
            return await keeping.first_key(tx, (key_id, name), text, scopes, no)

        return await self._database.write(job)

    async def find_key(self, digest: bytes) -> FoundKey | None:
        """Whose key this is, when it is neither revoked nor expired."""
        return await keeping.find_key(self._database, digest)

    async def sealed_samples(self) -> list[tuple[bytes, str]]:
        """A few sealed values with their contexts, to try a key ring on."""
        return await keeping.sealed_samples(self._database)

    async def reseal(self, reseal: Callable[[bytes, str], bytes | None]) -> int:
        """Pass every sealed value with its context through ``reseal``; how many it changed."""
        return await keeping.reseal(self._database, reseal)

    async def _once(
        self,
        tenant_id: str,
        wanted: Once | None,
        body: Callable[[Tx], Awaitable[T | Refusal]],
    ) -> T | Refusal | Replayed:
        async def job(tx: Tx) -> T | Refusal | Replayed:
            return await do_once(tx, tenant_id, wanted, body)

        return await self._database.write(job)

    async def _with(
        self, tenant_id: str, name: str, body: Callable[[Tx, Subscription], Awaitable[T]]
    ) -> T | Refusal:
        return await self._database.write(_with(tenant_id, name, body))

    async def _rebind(self, tx: Tx, before: Subscription, after: Subscription) -> None:
        """Count what came to be of one operation only, or no longer is; nobody keeps the others."""
        change = int(after.operation_id is not None) - int(before.operation_id is not None)
        if change:
            await subscribing.count(tx, after.tenant_id, change)
            await versions.renew(tx, self._keys, after.tenant_id)

    async def _note(
        self,
        tx: Tx,
        subscription: Subscription,
        actor: str,
        action: str,
        detail: dict[str, Any] | None = None,
    ) -> None:
        """Note a change of a subscription, and let no reader of the configuration miss it."""
        tenant_id = subscription.tenant_id
        if subscription.operation_id is None:
            await versions.renew(tx, self._keys, tenant_id)
        # the host only: the rest of a URL is a secret with many receivers
        told = detail or {"host": urlsplit(subscription.url).hostname}
        who = (tenant_id, actor)
        await auditing.note(tx, self._keys, who, action, subscription.id, json.dumps(told))


def _with(
    tenant_id: str, name: str, body: Callable[[Tx, Subscription], Awaitable[T]]
) -> Job[T | Refusal]:
    """``body`` with the subscription as it is, if the tenant has it."""

    async def job(tx: Tx) -> T | Refusal:
        found = await subscribing.lock(tx, tenant_id, name)
        return not_found("subscription", name) if found is None else await body(tx, found)

    return job


async def _write(
    tx: Tx, now: Subscription, wanted: Subscription, deleted_at: int | None = None
) -> Subscription:
    """Write a changed subscription as its next version."""
    fixed = {name: getattr(now, name) for name in _FIXED}
    after = changed(wanted, **fixed, version=now.version + 1, updated_at=tx.now)
    await tx.change(
        update(subscriptions)
        .where(subscriptions.c.no == now.no)
        .values(**subscribing.values_of(after), deleted_at=deleted_at)
    )
    return after


async def _lane(tx: Tx, now: Subscription) -> Lane:
    """The subscription with the secrets that sign now, newest first."""
    secrets = await subscribing.secrets(tx, now)
    return Lane(
        now, tuple(each for each in secrets if each.expires_at is None or each.expires_at > tx.now)
    )


def _secrets_of(subscription: Subscription) -> ColumnElement[bool]:
    return subscription_secrets.c.subscription_no == subscription.no


def _difference(before: Subscription, after: Subscription) -> dict[str, Any]:
    """The members that changed: by name only, since headers, URLs and metadata may hold secrets."""
    ignored = {"version", "updated_at", "tls_facts"}
    names = [
        name
        for name in SUBSCRIPTION_COLUMNS
        if name not in ignored and getattr(before, name) != getattr(after, name)
    ]
    return {"changed": names}
