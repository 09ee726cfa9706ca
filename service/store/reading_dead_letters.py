"""Reads of the dead-letter table."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import func, select

from service.domain.delivery import DeadLetterState
from service.domain.ids import DeliveryRef
from service.ports import DeadLetterCount, DeadLetterFilter, DeadLetterView, Page, Span
from service.store.database import Database, Tx
from service.store.paging import page_of
from service.store.reading_deliveries import (
    Condition,
    behind,
    pair_is,
    subscription_id_of,
    subscription_no,
)
from service.store.schema import dead_letters

_ALL: Final = tuple(DeadLetterState)
_RESOLVED: Final = (DeadLetterState.RESOLVED,)
_UNRESOLVED: Final = tuple(state for state in _ALL if state not in _RESOLVED)

_COLUMNS: Final = (
    *(column for column in dead_letters.columns if column.name != "tenant_id"),
    subscription_id_of(dead_letters).label("subscription_id"),
)
_GROUP: Final = (
    dead_letters.c.subscription_no,
    dead_letters.c.reason,
    dead_letters.c.error_class,
    dead_letters.c.status_code,
)


class DeadLetterReads:
    """See :class:`service.ports.ReadStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def dead_letter(self, tenant_id: str, ref: DeliveryRef) -> DeadLetterView | None:
        """One dead letter."""
        statement = select(*_COLUMNS).where(
            *pair_is(dead_letters, ref), dead_letters.c.tenant_id == tenant_id
        )
        async with self._database.read() as tx:
            rows = await tx.query(statement)
        return _view(rows[0]) if rows else None

    async def dead_letters(
        self, tenant_id: str, which: DeadLetterFilter, span: Span
    ) -> Page[DeadLetterView]:
        """Newest event first."""
        async with self._database.read() as tx:
            conditions = await _conditions(tx, tenant_id, which)
            rows: list[dict[str, Any]] = []
            # state by state: each is then a walk along the index, whose order is ours
            for state in _states(resolved=which.resolved):
                own = (dead_letters.c.state == state.value, *behind(dead_letters, span))
                rows += await _newest(tx, [*conditions, *own], span.limit + 1)
        found = sorted(map(_view, rows), key=lambda view: view.ref, reverse=True)
        return page_of(found, span.limit, lambda letter: tuple(letter.ref))

    async def dead_letter_summary(
        self, tenant_id: str, which: DeadLetterFilter
    ) -> list[DeadLetterCount]:
        """Counts by subscription, reason and error, largest first; unresolved ones by default."""
        states = [state.value for state in _states(resolved=bool(which.resolved))]
        count = func.count().label("count")
        async with self._database.read() as tx:
            conditions = await _conditions(tx, tenant_id, which)
            grouped = (
                select(
                    *_GROUP,
                    count,
                    func.min(dead_letters.c.dead_at).label("first_dead_at"),
                    func.max(dead_letters.c.dead_at).label("last_dead_at"),
                    subscription_id_of(dead_letters).label("subscription_id"),
                )
                .where(dead_letters.c.state.in_(states), *conditions)
                .group_by(*_GROUP)
                .order_by(count.desc(), *_GROUP)
            )
            rows = await tx.query(grouped)
        return [DeadLetterCount(**_without(row, "subscription_no")) for row in rows]


def _states(*, resolved: bool | None) -> Sequence[DeadLetterState]:
    if resolved is None:
        return _ALL
    return _RESOLVED if resolved else _UNRESOLVED


async def _conditions(tx: Tx, tenant_id: str, which: DeadLetterFilter) -> list[Condition]:
    own = dead_letters.c
    conditions = [own.tenant_id == tenant_id]
    if which.subscription_id is not None:
        number = await subscription_no(tx, tenant_id, which.subscription_id)
        conditions.append(own.subscription_no == number)
    if which.event_type is not None:
        conditions.append(own.event_type == which.event_type)
    if which.reason is not None:
        conditions.append(own.reason == which.reason)
    if which.since is not None:
        conditions.append(own.dead_at >= which.since)
    if which.until is not None:
        conditions.append(own.dead_at < which.until)
    return conditions


async def _newest(tx: Tx, conditions: Sequence[Condition], limit: int) -> list[dict[str, Any]]:
    own = dead_letters.c
    return await tx.query(
        select(*_COLUMNS)
        .where(*conditions)
        .order_by(own.event_key.desc(), own.subscription_no.desc())
        .limit(limit)
    )


def _view(row: dict[str, Any]) -> DeadLetterView:
    ref = DeliveryRef(row["event_key"], row["subscription_no"])
    return DeadLetterView(ref=ref, **_without(row, "event_key", "subscription_no"))


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}
