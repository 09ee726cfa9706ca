"""What a deleted tenant leaves is deleted in batches: its log first, then what stood around it.

Its row stays, so that its id is not given twice, and so do its entries of the audit log, which say
who deleted it. Its subscription may stay that has the highest number of all, without anything in
it (:mod:`service.store.lifetimes` says why).
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from sqlalchemy import bindparam, select

from service.store.database import Database, Tx
from service.store.schema import events, subscriptions, tenants
from service.store.statements import CHUNK, Statement, flat, is_one_of

#: Milliseconds after which no request that had begun before can add anything more.
_SETTLED: Final = 300_000

_UNPURGED: Final = Statement(
    select(tenants.c.id, tenants.c.deleted_at)
    .where(tenants.c.deleted_at.is_not(None), tenants.c.purged_at.is_(None))
    .order_by(tenants.c.deleted_at)
)
_EVENTS: Final = Statement(
    select(events.c.key, events.c.id).where(events.c.tenant_id == bindparam("tenant")).limit(CHUNK)
)
#: Whatever a subscription may have besides.
_EMPTIED: Final = ", ".join(
    f"{column.name} = NULL"
    for column in subscriptions.columns
    if column.nullable and column.name != "deleted_at"
)
_OF_EVENT: Final = ("attempts", "deliveries", "delivery_queue", "dead_letters")
_PAIR: Final = ("event_key", "subscription_no")


async def purge(database: Database) -> int:
    """Delete a batch of what is left of one deleted tenant; how many rows, 0 when none are left."""
    if not await database.look(_UNPURGED):
        return 0  # the usual case, and one that needs no writer
    return await database.write(_purge)


async def _purge(tx: Tx) -> int:
    for tenant_id, deleted_at in await tx.fetch(_UNPURGED):
        for step in _STEPS:
            done = await step(tx, tenant_id)
            if done:
                return done
        if deleted_at <= tx.now - _SETTLED:
            await tx.sql("UPDATE tenants SET purged_at = ? WHERE id = ?", (tx.now, tenant_id))
    return 0


async def _events(tx: Tx, tenant_id: str) -> int:
    rows = await tx.fetch(_EVENTS, tenant=tenant_id)
    keys = [row[0] for row in rows]
    for table in _OF_EVENT:
        await tx.sql(f"DELETE FROM {table} WHERE event_key IN {_marks(keys)}", keys)
    names = [(tenant_id, row[1]) for row in rows]
    if names:
        which = is_one_of(("tenant_id", "id"), len(names))
        await tx.sql(f"DELETE FROM event_ids WHERE {which}", flat(names))
    await tx.sql(f"DELETE FROM events WHERE key IN {_marks(keys)}", keys)
    return len(rows)


async def _dead_letters(tx: Tx, tenant_id: str) -> int:
    """Those that outlived their events, and what goes with them."""
    pairs = await tx.sql(
        f"SELECT event_key, subscription_no FROM dead_letters WHERE tenant_id = ? LIMIT {CHUNK}",
        (tenant_id,),
    )
    for table in _OF_EVENT if pairs else ():
        await tx.sql(f"DELETE FROM {table} WHERE {is_one_of(_PAIR, len(pairs))}", flat(pairs))
    return len(pairs)


async def _operations(tx: Tx, tenant_id: str) -> int:
    rows = await tx.sql(
        f"SELECT key FROM operations WHERE tenant_id = ? LIMIT {CHUNK}", (tenant_id,)
    )
    keys = [row[0] for row in rows]
    await tx.sql(f"DELETE FROM replays WHERE operation_key IN {_marks(keys)}", keys)
    await tx.sql(f"DELETE FROM operations WHERE key IN {_marks(keys)}", keys)
    return len(keys)


async def _subscriptions(tx: Tx, tenant_id: str) -> int:
    rows = await tx.sql(
        "SELECT no FROM subscriptions WHERE tenant_id = ? "
        f"AND no < (SELECT max(no) FROM subscriptions) LIMIT {CHUNK}",
        (tenant_id,),
    )
    numbers = [row[0] for row in rows]
    await _what_hangs_on(tx, numbers)
    await tx.sql(f"DELETE FROM subscriptions WHERE no IN {_marks(numbers)}", numbers)
    return len(numbers)


async def _what_hangs_on(tx: Tx, numbers: Sequence[int]) -> None:
    for table in ("subscription_secrets", "subscription_health", "attempt_tallies"):
        await tx.sql(f"DELETE FROM {table} WHERE subscription_no IN {_marks(numbers)}", numbers)


async def _last_subscription(tx: Tx, tenant_id: str) -> int:
    """The one that has to stay: what was in it goes."""
    rows = await tx.sql(
        f"UPDATE subscriptions SET url = '', deleted_at = ?, {_EMPTIED} "
        "WHERE tenant_id = ? AND url <> '' RETURNING no",
        (tx.now, tenant_id),
    )
    numbers = [row[0] for row in rows]
    await _what_hangs_on(tx, numbers)
    return len(numbers)


async def _keys_and_answers(tx: Tx, tenant_id: str) -> int:
    """The keys, revoked long since, and the answers kept for ``Idempotency-Key``."""
    keys = await tx.sql("DELETE FROM api_keys WHERE tenant_id = ? RETURNING id", (tenant_id,))
    answers = await tx.sql(
        "DELETE FROM idempotency_keys WHERE tenant_id = ? AND key IN (SELECT key FROM "
        f"idempotency_keys WHERE tenant_id = ? LIMIT {CHUNK}) RETURNING key",
        (tenant_id, tenant_id),
    )
    return len(keys) + len(answers)


_STEPS: Final[tuple[Callable[[Tx, str], Awaitable[int]], ...]] = (
    _events,
    _dead_letters,
    _operations,
    _subscriptions,
    _last_subscription,
    _keys_and_answers,
)


def _marks(values: Sequence[Any]) -> str:
    return f"({', '.join('?' * len(values))})"
