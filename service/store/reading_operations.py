"""Reads of operations, their events, and subscriptions."""

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import bindparam, or_, select

from service.domain.ids import key_floor
from service.domain.operation import Operation
from service.domain.subscription import Subscription, SubscriptionStatus
from service.ports import EventView, OperationFilter, Page, ReceiverView, Span
from service.store.database import Database, Tx
from service.store.paging import Condition, down_to, floor_of, page_of
from service.store.rows import (
    OPERATION_COLUMNS,
    SUBSCRIPTION_COLUMNS,
    operation_of,
    subscription_of,
)
from service.store.schema import ended_badly, event_ids, events, operations, subscriptions
from service.store.statements import Statement

EVENT_COLUMNS: Final = (
    events.c.key,
    events.c.id,
    events.c.type,
    events.c.operation_id,
    events.c.sequence,
    events.c.feed_position,
    events.c.created_at,
    events.c.body,
    events.c.operation_type,
)

_OPERATION_COLUMNS: Final = tuple(operations.c[name] for name in OPERATION_COLUMNS)
_KEY: Final = (operations.c.key,)
_NO: Final = (subscriptions.c.no,)
#: The statuses of ``ended_badly``.
_ENDED_BADLY: Final = frozenset({"CANCELLED", "COMPLETED_WITH_ERRORS", "FAILED"})
_SUBSCRIPTION_COLUMNS: Final = tuple(subscriptions.c[name] for name in SUBSCRIPTION_COLUMNS)

# These answer the polls of every client, so they are compiled once.
_OPERATION: Final = Statement(
    select(*_OPERATION_COLUMNS).where(
        operations.c.tenant_id == bindparam("tenant"), operations.c.id == bindparam("name")
    )
)
_EVENT_KEY: Final = Statement(
    select(event_ids.c.event_key).where(
        event_ids.c.tenant_id == bindparam("tenant"), event_ids.c.id == bindparam("name")
    )
)
#: By a key that is given, so that only the part is looked into that it is of.
_EVENT: Final = Statement(select(*EVENT_COLUMNS).where(events.c.key == bindparam("key")))


class OperationReads:
    """See :class:`service.ports.ReadStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def operation(self, tenant_id: str, name: str) -> Operation | None:
        """One operation."""
        rows = await self._database.look(_OPERATION, tenant=tenant_id, name=name)
        return operation_of(rows[0]) if rows else None

    async def operations(
        self, tenant_id: str, which: OperationFilter, span: Span
    ) -> Page[Operation]:
        """Newest first."""
        along = [operations.c.tenant_id == tenant_id, *_along(which, span)]
        wanted = _wanted(which)
        async with self._database.read() as tx:
            floor = await floor_of(tx, _KEY, along) if wanted else None
            rows = await tx.query(
                select(*_OPERATION_COLUMNS)
                .where(*along, *wanted, *down_to(_KEY, floor), *_readable(tx.now))
                .order_by(operations.c.key.desc())
                .limit(span.limit + 1)
            )
        found = [operation_of(tuple(row.values())) for row in rows]
        return page_of(found, span.limit, lambda operation: (operation.key,), floor)

    async def event(self, tenant_id: str, name: str) -> EventView | None:
        """One event."""
        keys = await self._database.look(_EVENT_KEY, tenant=tenant_id, name=name)
        rows = await self._database.look(_EVENT, key=keys[0][0]) if keys else []
        return EventView(*rows[0]) if rows else None

    async def subscription(self, tenant_id: str, name: str) -> Subscription | None:
        """One subscription that is not deleted."""
        which = [subscriptions.c.tenant_id == tenant_id, subscriptions.c.id == name]
        async with self._database.read() as tx:
            found = await _subscriptions(tx, 1, which)
        return found[0] if found else None

    async def subscriptions(
        self, tenant_id: str, status: str | None, operation_id: str | None, span: Span
    ) -> Page[Subscription]:
        """Newest first."""
        along = [subscriptions.c.tenant_id == tenant_id, subscriptions.c.deleted_at.is_(None)]
        if operation_id is not None:
            along.append(subscriptions.c.operation_id == operation_id)
        if span.after is not None:
            along.append(subscriptions.c.no < span.after[0])
        wanted = [] if status is None else [subscriptions.c.status == status]
        async with self._database.read() as tx:
            floor = await floor_of(tx, _NO, along) if wanted else None
            which = [*along, *wanted, *down_to(_NO, floor)]
            found = await _subscriptions(tx, span.limit + 1, which)
        return page_of(found, span.limit, lambda subscription: (subscription.no,), floor)

    async def receivers(self, tenant_id: str, names: Collection[str]) -> dict[str, ReceiverView]:
        """What these subscriptions are known by."""
        if not names:
            return {}
        it = subscriptions.c
        wanted = (it.tenant_id == tenant_id, it.id.in_(sorted(names)))
        async with self._database.read() as tx:
            rows = await tx.query(
                select(it.id, it.url, it.description, it.deleted_at, it.status).where(*wanted)
            )
        return {
            row["id"]: ReceiverView(
                row["url"],
                row["description"],
                is_deleted=row["deleted_at"] is not None,
                is_disabled=row["status"] == SubscriptionStatus.DISABLED,
            )
            for row in rows
        }


async def _subscriptions(tx: Tx, limit: int, which: Sequence[Condition]) -> list[Subscription]:
    rows = await tx.query(
        select(*_SUBSCRIPTION_COLUMNS)
        .where(subscriptions.c.deleted_at.is_(None), *which)
        .order_by(subscriptions.c.no.desc())
        .limit(limit)
    )
    return [subscription_of(tuple(row.values())) for row in rows]


def _readable(now: int) -> list[Condition]:
    """Not past its expiry, whether or not the sweep has been there."""
    expires = operations.c.expires_at
    return [or_(expires.is_(None), expires > now)]


def _along(which: OperationFilter, span: Span) -> list[Condition]:
    """What indexes know, in the order of the list."""
    own = operations.c
    conditions: list[Condition] = [own.forgotten_at.is_(None)]
    if span.after is not None:
        conditions.append(own.key < span.after[0])
    if which.type is not None:
        conditions.append(own.type == which.type)
    elif which.status in _ENDED_BADLY:
        conditions += [own.status == which.status, ended_badly]
    if which.client_job_id is not None:
        conditions.append(own.client_job_id == which.client_job_id)
    if which.created_before is not None:
        conditions.append(own.key < key_floor(which.created_before))
    if which.created_after is not None:
        conditions.append(own.key >= key_floor(which.created_after))
    return conditions


def _wanted(which: OperationFilter) -> list[Condition]:
    """What each row has to be looked at for."""
    by_index = which.type is None and which.status in _ENDED_BADLY
    if which.status is None or by_index:
        return []
    return [operations.c.status == which.status]
