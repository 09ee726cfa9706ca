"""Reads of the dead-letter table."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import func, select

from service.domain.delivery import DeadLetterState
from service.domain.ids import DeliveryRef, key_floor
from service.ports import DeadLetterCount, DeadLetterFilter, DeadLetterView, Page, Span
from service.store.database import Database, Tx
from service.store.paging import Condition, Place, down_to, floor_of, page_of
from service.store.reading_deliveries import (
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
_KEY: Final = (dead_letters.c.event_key, dead_letters.c.subscription_no)
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
            along = [*await _owned(tx, tenant_id, which), *behind(dead_letters, span)]
            if which.until is not None:  # nothing dies before it came
                along.append(dead_letters.c.event_key < key_floor(which.until))
            wanted = _wanted(which)
            # state by state: each is then a walk along the index, whose order is ours
            states = [
                [dead_letters.c.state == each.value, *along]
                for each in _states(resolved=which.resolved)
            ]
            floor = await _floor(tx, states) if wanted else None
            rows: list[dict[str, Any]] = []
            for each in states:
                conditions = [*each, *wanted, *down_to(_KEY, floor)]
                rows += await _newest(tx, conditions, span.limit + 1)
        found = sorted(map(_view, rows), key=lambda view: view.ref, reverse=True)
        return page_of(found, span.limit, lambda letter: tuple(letter.ref), floor)

    async def dead_letter_summary(
        self, tenant_id: str, which: DeadLetterFilter
    ) -> list[DeadLetterCount]:
        """Counts by subscription, reason and error, largest first; of open ones by default.

        What is replayed just now is neither: another replay would not send it.
        """
        state = DeadLetterState.RESOLVED if which.resolved else DeadLetterState.OPEN
        count = func.count().label("count")
        async with self._database.read() as tx:
            conditions = [*await _owned(tx, tenant_id, which), *_wanted(which)]
            grouped = (
                select(
                    *_GROUP,
                    count,
                    func.min(dead_letters.c.dead_at).label("first_dead_at"),
                    func.max(dead_letters.c.dead_at).label("last_dead_at"),
                    subscription_id_of(dead_letters).label("subscription_id"),
                )
                .where(dead_letters.c.state == state.value, *conditions)
                .group_by(*_GROUP)
                .order_by(count.desc(), *_GROUP)
            )
            rows = await tx.query(grouped)
        return [DeadLetterCount(**_without(row, "subscription_no")) for row in rows]


def _states(*, resolved: bool | None) -> Sequence[DeadLetterState]:
    if resolved is None:
        return _ALL
    return _RESOLVED if resolved else _UNRESOLVED


async def _owned(tx: Tx, tenant_id: str, which: DeadLetterFilter) -> list[Condition]:
    """Whose they are."""
    own = dead_letters.c
    conditions = [own.tenant_id == tenant_id]
    if which.subscription_id is not None:
        number = await subscription_no(tx, tenant_id, which.subscription_id)
        conditions.append(own.subscription_no == number)
    return conditions


def _wanted(which: DeadLetterFilter) -> list[Condition]:
    """What each of them has to be looked at for."""
    own = dead_letters.c
    conditions = []
    if which.event_type is not None:
        conditions.append(own.event_type == which.event_type)
    if which.reason is not None:
        conditions.append(own.reason == which.reason)
    if which.since is not None:
        conditions.append(own.dead_at >= which.since)
    if which.until is not None:
        conditions.append(own.dead_at < which.until)
    return conditions


async def _floor(tx: Tx, states: Sequence[Sequence[Condition]]) -> Place | None:
    """How far down a page may look: in each state at so many, all of them merged."""
    floors = [await floor_of(tx, _KEY, each) for each in states]
    return max((floor for floor in floors if floor is not None), default=None)


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
