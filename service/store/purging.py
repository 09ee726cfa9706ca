"""What a deleted tenant leaves is deleted in batches: its log first, then what stood around it.

Its row stays, so that its id is not given twice, and so do its entries of the audit log, which say
who deleted it. Its subscription may stay that has the highest number of all, without anything in
it (:mod:`service.store.lifetimes` says why).
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from sqlalchemy import bindparam, select

from service.store import hours, traffic
from service.store.database import Database, Tx, alone
from service.store.queueing import IS_ONE_OF, PAIR
from service.store.schema import (
    attempts,
    dead_letters,
    deliveries,
    delivery_queue,
    event_ids,
    events,
    operations,
    replays,
    subscription_secrets,
    subscriptions,
    tenants,
)
from service.store.schema_health import attempt_tallies, subscription_health
from service.store.schema_processes import lane_paces
from service.store.statements import CHUNK, Many, Row, Statement, deletion

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
_HANGS_ON_EVENTS: Final = (attempts, deliveries, delivery_queue, dead_letters)
_OF_EVENTS: Final = (
    *(deletion(table.c.event_key) for table in _HANGS_ON_EVENTS),
    deletion(events.c.key),
)
_IDS: Final = deletion(event_ids.c.tenant_id, event_ids.c.id)
_OF_PAIRS: Final = tuple(
    Many(f"DELETE FROM {table.name} WHERE {IS_ONE_OF}", *PAIR) for table in _HANGS_ON_EVENTS
)
_OF_OPERATIONS: Final = (deletion(replays.c.operation_key), deletion(operations.c.key))
_OF_SUBSCRIPTIONS: Final = tuple(
    deletion(table.c.subscription_no)
    for table in (subscription_secrets, subscription_health, attempt_tallies, lane_paces)
)
_SUBSCRIPTIONS: Final = deletion(subscriptions.c.no)


async def purge(database: Database) -> int:
    """Delete a batch of what is left of one deleted tenant; how many rows, 0 when none are left."""
    if not await database.look(_UNPURGED):
        return 0  # the usual case, and one that needs no writer
    return await database.write(alone(_purge, 0))


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
    for statement in _OF_EVENTS:
        await tx.each(statement, [row[:1] for row in rows])
    await tx.each(_IDS, [(tenant_id, row[1]) for row in rows])
    return len(rows)


async def _dead_letters(tx: Tx, tenant_id: str) -> int:
    """Those that outlived their events, and what goes with them."""
    pairs = await tx.sql(
        f"SELECT event_key, subscription_no FROM dead_letters WHERE tenant_id = ? LIMIT {CHUNK}",
        (tenant_id,),
    )
    for statement in _OF_PAIRS:
        await tx.each(statement, pairs)
    return len(pairs)


async def _operations(tx: Tx, tenant_id: str) -> int:
    rows = await tx.sql(
        f"SELECT key FROM operations WHERE tenant_id = ? LIMIT {CHUNK}", (tenant_id,)
    )
    for statement in _OF_OPERATIONS:
        await tx.each(statement, rows)
    return len(rows)


async def _subscriptions(tx: Tx, tenant_id: str) -> int:
    rows = await tx.sql(
        "SELECT no FROM subscriptions WHERE tenant_id = ? "
        f"AND no < (SELECT max(no) FROM subscriptions) LIMIT {CHUNK}",
        (tenant_id,),
    )
    await _what_hangs_on(tx, rows)
    await tx.each(_SUBSCRIPTIONS, rows)
    return len(rows)


async def _what_hangs_on(tx: Tx, numbers: Sequence[Row]) -> None:
    for statement in _OF_SUBSCRIPTIONS:
        await tx.each(statement, numbers)


async def _last_subscription(tx: Tx, tenant_id: str) -> int:
    """The one that has to stay: what was in it goes."""
    rows = await tx.sql(
        f"UPDATE subscriptions SET url = '', deleted_at = ?, {_EMPTIED} "
        "WHERE tenant_id = ? AND url <> '' RETURNING no",
        (tx.now, tenant_id),
    )
    await _what_hangs_on(tx, rows)
    return len(rows)


async def _keys_and_answers(tx: Tx, tenant_id: str) -> int:
    """The keys and links, dead long since, and the answers kept for ``Idempotency-Key``."""
    keys = await tx.sql("DELETE FROM api_keys WHERE tenant_id = ? RETURNING id", (tenant_id,))
    answers = await tx.sql(
        "DELETE FROM idempotency_keys WHERE tenant_id = ? AND key IN (SELECT key FROM "
        f"idempotency_keys WHERE tenant_id = ? LIMIT {CHUNK}) RETURNING key",
        (tenant_id, tenant_id),
    )
    links = await tx.sql("DELETE FROM portal_links WHERE tenant_id = ? RETURNING id", (tenant_id,))
    return len(keys) + len(answers) + len(links)


_STEPS: Final[tuple[Callable[[Tx, str], Awaitable[int]], ...]] = (
    _events,
    _dead_letters,
    _operations,
    hours.purge,
    _subscriptions,
    _last_subscription,
    _keys_and_answers,
    traffic.purge,
)
