"""API keys: made, rotated, revoked, listed. Only hashes of them are stored.

Every change bumps its tenant's config version, as those of subscriptions do, and has the tenant's
row locked before it looks at a key: so changes of one key, and the end of its tenant, go one after
the other.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from sqlalchemy import Select, insert, select, update

from service.domain.api_keys import ADMIN_KEY_ID, ApiKey
from service.domain.errors import Fault, Refusal, conflict, invalid, not_found
from service.domain.ids import KeyMaker
from service.domain.times import render
from service.ports import NewText, Once, Page, Principal, Replayed, Span
from service.store import auditing, tenancy, versions
from service.store.database import Database, Tx
from service.store.once import once as do_once
from service.store.paging import page_of
from service.store.rows import scopes_of, scopes_text
from service.store.schema import api_keys
from service.store.statements import Many

T = TypeVar("T")

_COLUMNS: Final = tuple(
    api_keys.c[name]
    for name in (
        "no",
        "id",
        "tenant_id",
        "name",
        "scopes",
        "created_at",
        "public",
        "expires_at",
        "revoked_at",
        "last_used_at",
        "previous_until",
    )
)
_USED: Final = Many(
    "UPDATE api_keys SET last_used_at = v.column2 FROM {rows} WHERE api_keys.id = v.column1",
    api_keys.c.id,
    api_keys.c.last_used_at,
)


class KeyStore:
    """See :class:`service.ports.KeyStore`."""

    def __init__(self, database: Database, keys: KeyMaker) -> None:
        self._database = database
        self._keys = keys

    async def create_key(
        self, who: Principal, key: ApiKey, text: NewText, once: Once | None = None
    ) -> ApiKey | Refusal | Replayed:
        """Make a key of a tenant that is there."""

        async def body(tx: Tx) -> ApiKey | Refusal:
            if not await tenancy.lock(tx, key.tenant_id):
                return invalid(Fault("/tenantId", f"There is no tenant {key.tenant_id!r} here."))
            values = {column.name: getattr(key, column.name) for column in _COLUMNS}
            values |= {"scopes": scopes_text(key.scopes), "hash": text.digest}
            await tx.change(insert(api_keys).values(values))
            told = {
                "name": key.name,
                "scopes": sorted(key.scopes),
                "expiresAt": None if key.expires_at is None else render(key.expires_at),
            }
            await self._note(tx, who, key, "created", told)
            return key

        async def job(tx: Tx) -> ApiKey | Refusal | Replayed:
            return await do_once(tx, who.tenant_id, once, body)

        return await self._database.write(job)

    async def rotate_key(
        self, who: Principal, name: str, text: NewText, overlap: int, once: Once | None = None
    ) -> ApiKey | Refusal | Replayed:
        """Give a key another text; the present one is good for ``overlap`` ms longer."""

        async def rotate(tx: Tx, key: ApiKey) -> ApiKey | Refusal:
            if key.revoked_at is not None or (key.expires_at or tx.now + 1) <= tx.now:
                return conflict(f"API key {name!r} is revoked or expired. Make a new one instead.")
            if overlap and (key.previous_until or 0) > tx.now:
                return _refuse_third(key)
            which = api_keys.c.id == name
            values: dict[str, Any] = {"previous_hash": None, "previous_until": None}
            if overlap:
                present = select(api_keys.c.hash).where(which).scalar_subquery()
                values = {"previous_hash": present, "previous_until": tx.now + overlap}
            values |= {"hash": text.digest, "public": text.public}
            await tx.change(update(api_keys).where(which).values(values))
            await self._note(tx, who, key, "rotated", {"overlapMs": overlap})
            return (await _found(tx, who, name)) or key

        async def job(tx: Tx) -> ApiKey | Refusal | Replayed:
            body = _with(who, name, rotate)
            return await do_once(tx, who.tenant_id, once, body)

        return await self._database.write(job)

    async def revoke_key(self, who: Principal, name: str) -> Refusal | None:
        """End a key for good; one that has ended stays as it is."""

        async def revoke(tx: Tx, key: ApiKey) -> None:
            if key.revoked_at is not None:
                return
            ended = update(api_keys).where(api_keys.c.id == name)
            await tx.change(
                ended.values(revoked_at=tx.now, previous_hash=None, previous_until=None)
            )
            await self._note(tx, who, key, "revoked", {"name": key.name})

        return await self._database.write(_with(who, name, revoke))

    async def key(self, who: Principal, name: str) -> ApiKey | None:
        """One key, whether or not it is in force."""
        async with self._database.read() as tx:
            return await _found(tx, who, name)

    async def keys(self, who: Principal, tenant_id: str | None, span: Span) -> Page[ApiKey]:
        """Newest first; those of one tenant where it is named."""
        statement = _visible(who).order_by(api_keys.c.no.desc()).limit(span.limit + 1)
        if tenant_id is not None:
            statement = statement.where(api_keys.c.tenant_id == tenant_id)
        if span.after is not None:
            statement = statement.where(api_keys.c.no < span.after[0])
        async with self._database.read() as tx:
            found = [_key_of(row) for row in await tx.query(statement)]
        return page_of(found, span.limit, lambda key: (key.no,))

    async def note_use(self, used: Mapping[str, int]) -> None:
        """Note when keys were used last (ms), by id."""
        rows = sorted(used.items())

        async def job(tx: Tx) -> None:
            await tx.each(_USED, rows)

        await self._database.write(job)

    async def _note(
        self, tx: Tx, who: Principal, key: ApiKey, what: str, told: dict[str, Any]
    ) -> None:
        """Note a change of a key in the log of its tenant."""
        await versions.renew(tx, self._keys, key.tenant_id)
        actor = (key.tenant_id, who.key_id)
        detail = json.dumps(told)
        await auditing.note(tx, self._keys, actor, f"api_key.{what}", key.id, detail)


def _with(
    who: Principal, name: str, body: Callable[[Tx, ApiKey], Awaitable[T | Refusal]]
) -> Callable[[Tx], Awaitable[T | Refusal]]:
    """``body`` with the key as it is, if there is one that this principal may change."""

    async def job(tx: Tx) -> T | Refusal:
        found = await _found(tx, who, name)
        if found is not None:
            await tenancy.lock(tx, found.tenant_id)
            found = await _found(tx, who, name)  # it may have been changed before it was locked
        if found is None:
            return not_found("API key", name)
        return _refuse_bootstrap(name) or await body(tx, found)

    return job


def _refuse_third(key: ApiKey) -> Refusal:
    until = render(key.previous_until or 0)
    return conflict(
        f"API key {key.id!r} was rotated before, and its text from before that is good until "
        f"{until}: no third one may be good beside the present one and the new one. Wait until "
        "then; or, with overlapSeconds 0, let both end now.",
        previousKeyUntil=until,
    )


def _refuse_bootstrap(name: str) -> Refusal | None:
    if name != ADMIN_KEY_ID:
        return None
    return conflict(
        "The bootstrap key is ruled by RINGBACK_ADMIN_KEY or, without it, by the file admin.key in "
        "the data folder: change that, and restart."
    )


async def _found(tx: Tx, who: Principal, name: str) -> ApiKey | None:
    rows = await tx.query(_visible(who).where(api_keys.c.id == name))
    return _key_of(rows[0]) if rows else None


def _visible(who: Principal) -> Select[Any]:
    statement = select(*_COLUMNS)
    return statement.where(api_keys.c.tenant_id == who.tenant_id) if who.named else statement


def _key_of(row: Mapping[str, Any]) -> ApiKey:
    return ApiKey(**{**row, "scopes": scopes_of(row["scopes"])})
