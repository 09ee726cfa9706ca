"""API keys as they are looked up, and the walk over everything that is sealed."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from sqlalchemy import (
    Column,
    Select,
    and_,
    bindparam,
    case,
    delete,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from service.domain.subscription import headers_context, key_context, secret_context, tls_context
from service.domain.tenant import DEFAULT_TENANT
from service.ports import FoundKey, NewText, Principal
from service.store.database import Database, Reads, Tx
from service.store.rows import scopes_of, scopes_text
from service.store.schema import (
    api_keys,
    idempotency_keys,
    subscription_secrets,
    subscriptions,
)
from service.store.statements import Row, Statement

#: Values in one write job: enough to be quick, few enough that no event waits long behind them.
_BATCH: Final = 500

IN_FORCE: Final = and_(
    api_keys.c.revoked_at.is_(None),
    or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > bindparam("now")),
)
_FIND_KEY: Final = Statement(
    select(
        api_keys.c.id,
        api_keys.c.tenant_id,
        api_keys.c.scopes,
        api_keys.c.expires_at,
        case((api_keys.c.hash != bindparam("hash"), api_keys.c.previous_until)),
    ).where(
        or_(
            api_keys.c.hash == bindparam("hash"),
            and_(
                api_keys.c.previous_hash == bindparam("hash"),
                api_keys.c.previous_until > bindparam("now"),
            ),
        ),
        IN_FORCE,
    )
)

#: The oldest and the newest secret: a ring that opens both opens what is between, most likely.
_SAMPLES: Final = tuple(
    Statement(
        select(subscription_secrets.c.sealed, subscriptions.c.id, subscription_secrets.c.version)
        .join(subscriptions, subscriptions.c.no == subscription_secrets.c.subscription_no)
        .order_by(order)
        .limit(1)
    )
    for order in (
        subscription_secrets.c.subscription_no.asc(),
        subscription_secrets.c.subscription_no.desc(),
    )
)

Reseal = Callable[[bytes, str], bytes | None]
#: One batch behind the given place; the place it came to (``None``: the end), and how many changed.
_Step = Callable[[Tx, Reseal, Row], Awaitable[tuple[Row | None, int]]]


async def find_key(database: Database, digest: bytes) -> FoundKey | None:
    """Whose key has this hash, when it is neither revoked nor expired."""
    rows = await database.glance(_FIND_KEY, hash=digest)
    if not rows:
        return None
    key_id, tenant_id, scopes, *ends = rows[0]
    principal = Principal(key_id, tenant_id, scopes_of(scopes))
    return FoundKey(principal, min((end for end in ends if end is not None), default=None))


async def ensure_key(
    tx: Tx, named: tuple[str, str], text: NewText, scopes: Sequence[str], no: int
) -> bool:
    """Make a key of the default tenant be there, in force; whether that changed anything.

    ``named`` are its id and its name, ``no`` its number if it is new.
    """
    key_id, name = named
    wanted = {
        "tenant_id": DEFAULT_TENANT,
        "name": name,
        "hash": text.digest,
        "public": text.public,
        "scopes": scopes_text(scopes),
        "expires_at": None,
        "revoked_at": None,
    }
    rows = await tx.query(select(api_keys).where(api_keys.c.id == key_id))
    if rows and wanted.items() <= rows[0].items():
        return False
    # a hash names one key: the one that is asked for now
    await tx.change(delete(api_keys).where(api_keys.c.hash == text.digest, api_keys.c.id != key_id))
    if rows:
        await tx.change(update(api_keys).where(api_keys.c.id == key_id).values(wanted))
    else:
        await tx.change(insert(api_keys).values(id=key_id, created_at=tx.now, no=no, **wanted))
    return True


async def first_key(
    tx: Tx, named: tuple[str, str], text: NewText, scopes: Sequence[str], no: int
) -> bool:
    """Make a key of the default tenant unless its id is taken; whether it was made.

    The arguments are as in :func:`ensure_key`.
    """
    columns = ("id", "name", "tenant_id", "hash", "public", "scopes", "created_at", "no")
    values = (DEFAULT_TENANT, text.digest, text.public, scopes_text(scopes), tx.now, no)
    unless_there = "ON CONFLICT (id) DO NOTHING RETURNING id"
    return bool(await tx.insert(api_keys, columns, [(*named, *values)], unless_there))


async def sealed_samples(database: Reads) -> list[tuple[bytes, str]]:
    """A few sealed values with their contexts, to try a key ring on."""
    rows = [row for statement in _SAMPLES for row in await database.look(statement)]
    return [(sealed, secret_context(name, version)) for sealed, name, version in rows]


async def reseal(database: Database, reseal_one: Reseal) -> int:
    """Pass every sealed value with its context through ``reseal_one``; how many it changed."""
    total = 0
    for step in (_secrets, _private_keys, _headers, _identities, _answers):
        place: Row | None = ()
        while place is not None:
            place, count = await _in_one_job(database, step, reseal_one, place)
            total += count
    return total


async def _in_one_job(
    database: Database, step: _Step, reseal_one: Reseal, after: Row
) -> tuple[Row | None, int]:
    async def job(tx: Tx) -> tuple[Row | None, int]:
        return await step(tx, reseal_one, after)

    return await database.write(job)


async def _secrets(tx: Tx, reseal_one: Reseal, after: Row) -> tuple[Row | None, int]:
    return await _of_secrets(tx, reseal_one, after, (subscription_secrets.c.sealed, secret_context))


async def _private_keys(tx: Tx, reseal_one: Reseal, after: Row) -> tuple[Row | None, int]:
    column = subscription_secrets.c.sealed_key
    return await _of_secrets(tx, reseal_one, after, (column, key_context))


async def _of_secrets(
    tx: Tx, reseal_one: Reseal, after: Row, what: tuple[Column[Any], Callable[[str, int], str]]
) -> tuple[Row | None, int]:
    column, context = what
    table = subscription_secrets
    key = (table.c.subscription_no, table.c.version)
    found = (
        select(*key, column, subscriptions.c.id)
        .join(subscriptions, subscriptions.c.no == table.c.subscription_no)
        .where(column.is_not(None))
    )
    rows = await _batch(tx, found, key, after)
    sealed = [(row, row[column.name], context(row["id"], row["version"])) for row in rows]
    return await _apply(tx, reseal_one, column, key, sealed)


async def _headers(tx: Tx, reseal_one: Reseal, after: Row) -> tuple[Row | None, int]:
    return await _of_subscriptions(
        tx, reseal_one, after, (subscriptions.c.headers, headers_context)
    )


async def _identities(tx: Tx, reseal_one: Reseal, after: Row) -> tuple[Row | None, int]:
    return await _of_subscriptions(tx, reseal_one, after, (subscriptions.c.tls, tls_context))


async def _of_subscriptions(
    tx: Tx, reseal_one: Reseal, after: Row, what: tuple[Column[Any], Callable[[str], str]]
) -> tuple[Row | None, int]:
    column, context = what
    key = (subscriptions.c.no,)
    found = select(*key, subscriptions.c.id, column).where(column.is_not(None))
    rows = await _batch(tx, found, key, after)
    sealed = [(row, row[column.name], context(row["id"])) for row in rows]
    return await _apply(tx, reseal_one, column, key, sealed)


async def _answers(tx: Tx, reseal_one: Reseal, after: Row) -> tuple[Row | None, int]:
    table = idempotency_keys
    key = (table.c.tenant_id, table.c.key)
    rows = await _batch(tx, select(*key, table.c.answer), key, after)
    sealed = [(row, row["answer"], answer_context(row["tenant_id"], row["key"])) for row in rows]
    return await _apply(tx, reseal_one, table.c.answer, key, sealed)


def answer_context(tenant_id: str, key: str) -> str:
    """What a sealed answer to an ``Idempotency-Key`` is bound to."""
    return f"idempotency_keys/{tenant_id}/{key}"


async def _batch(tx: Tx, found: Select[Any], key: Row, after: Row) -> list[dict[str, Any]]:
    if after:
        found = found.where(tuple_(*key) > tuple_(*(literal(value) for value in after)))
    return await tx.query(found.order_by(*key).limit(_BATCH))


async def _apply(
    tx: Tx,
    reseal_one: Reseal,
    column: Column[Any],
    key: Row,
    sealed: Sequence[tuple[dict[str, Any], bytes, str]],
) -> tuple[Row | None, int]:
    """Write what ``reseal_one`` changes of one batch."""
    count = 0
    for row, value, context in sealed:
        new = reseal_one(value, context)
        if new is not None:
            which = [part == row[part.name] for part in key]
            count += await tx.change(update(column.table).where(*which).values({column.name: new}))
    if len(sealed) < _BATCH:
        return None, count
    return tuple(sealed[-1][0][part.name] for part in key), count
