"""The event log as watchers re-read it: one operation's, or a whole tenant's feed.

A tenant's events are numbered under its row's lock in the transaction that commits them, so none
can appear behind a number that has been read.
"""

from collections.abc import Sequence
from dataclasses import asdict
from operator import attrgetter
from typing import Final

from sqlalchemy import Column, ColumnElement, bindparam, literal_column, null, select, union_all

from service.domain.ids import LEAD, key_floor
from service.ports import EventLine, EventSpan, EventView, FeedSlice
from service.store import forgotten
from service.store.database import Database
from service.store.reading_operations import EVENT_COLUMNS
from service.store.schema import events, operations, tenants
from service.store.statements import Statement, among

_LOG: Final = Statement(
    select(*EVENT_COLUMNS)
    .where(
        events.c.operation_key == bindparam("operation"),
        events.c.sequence > bindparam("after"),
        events.c.key >= bindparam("first"),
        events.c.key >= forgotten.FLOOR,
    )
    .order_by(events.c.sequence)
    .limit(bindparam("count"))
)
_page: Final = (
    select(*EVENT_COLUMNS)
    .where(
        events.c.tenant_id == bindparam("tenant"),
        events.c.feed_position > bindparam("after"),
        events.c.key >= forgotten.FLOOR,
    )
    .order_by(events.c.feed_position)
    .limit(bindparam("count"))
    .subquery()
)
#: A page of the feed, and a row that says where the feed begins and ends. They are one statement:
#: of two the second might not find a part that was there at the first, in the same snapshot.
_FEED: Final = Statement(
    union_all(
        select(literal_column("0"), literal_column("0"), *_page.c),
        select(tenants.c.feed_floor, tenants.c.feed_position, *(null() for _ in _page.c)).where(
            tenants.c.id == bindparam("tenant")
        ),
    )
)
#: What a list shows of an event; see :class:`service.ports.EventLine`.
_LINE: Final = (
    events.c.id,
    events.c.type,
    events.c.operation_id,
    events.c.operation_type,
    events.c.sequence,
    events.c.feed_position,
    events.c.created_at,
)


def _newest(place: Column[int], *among_which: ColumnElement[bool]) -> Statement:
    """Those of a span, down from its end, along the index of places.

    What is asked of keys is asked so that no index of them can answer it: a planner that expects
    next to nothing between two moments reads a third of all events along their keys else. No key is
    of a time before its event's, and SQLite has keys in the index of places: with ``floor`` it
    leaves rows of earlier times alone.
    """
    key = events.c.key + literal_column("0")
    return Statement(
        select(*_LINE)
        .where(
            *among_which,
            place > bindparam("after"),
            place < bindparam("before"),
            events.c.created_at >= bindparam("since"),
            events.c.created_at < bindparam("until"),
            key >= bindparam("floor"),
            key >= forgotten.FLOOR,
        )
        .order_by(place.desc())
        .limit(bindparam("count"))
    )


_LOG_NEWEST: Final = _newest(
    events.c.sequence,
    events.c.operation_key == bindparam("operation"),
    events.c.key >= bindparam("first"),
)
_FEED_NEWEST: Final = _newest(events.c.feed_position, events.c.tenant_id == bindparam("tenant"))
_LOG_ENDS: Final = Statement(
    select(operations.c.key, operations.c.sequence).where(among(operations.c.key, "keys"))
)
_FEED_ENDS: Final = Statement(
    select(tenants.c.id, tenants.c.feed_position).where(among(tenants.c.id, "names"))
)
_place: Final = attrgetter("feed_position")


class FeedReads:
    """See :class:`service.ports.ReadStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def log(self, operation_key: int, after: int, limit: int) -> list[EventView]:
        """Events of the operation with a sequence above ``after``, oldest first."""
        first = operation_key - LEAD
        given = {"operation": operation_key, "after": after, "first": first, "count": limit}
        rows = await self._database.look(_LOG, **given)
        return [EventView(*row) for row in rows]

    async def feed(self, tenant_id: str, after: int, limit: int) -> FeedSlice:
        """Events of the tenant behind the place ``after``, in the order of their commits."""
        given = {"tenant": tenant_id, "after": after, "count": limit}
        rows = await self._database.look(_FEED, **given)
        ((floor, end),) = (row[:2] for row in rows if row[2] is None)
        page = [EventView(*row[2:]) for row in rows if row[2] is not None]
        return FeedSlice(sorted(page, key=_place), floor, end)

    async def log_newest(self, operation_key: int, span: EventSpan, limit: int) -> list[EventLine]:
        """Events of the operation, newest first."""
        first = operation_key - LEAD
        given = {"operation": operation_key, "first": first, **_given(span, limit)}
        return [EventLine(*row) for row in await self._database.look(_LOG_NEWEST, **given)]

    async def feed_newest(self, tenant_id: str, span: EventSpan, limit: int) -> list[EventLine]:
        """Events of the tenant, newest first."""
        given = {"tenant": tenant_id, **_given(span, limit)}
        return [EventLine(*row) for row in await self._database.look(_FEED_NEWEST, **given)]

    async def log_ends(self, operation_keys: Sequence[int]) -> dict[int, int]:
        """The present sequence of each operation."""
        rows = await self._database.look(_LOG_ENDS, keys=list(operation_keys))
        return dict(rows)

    async def feed_ends(self, tenant_ids: Sequence[str]) -> dict[str, int]:
        """The place of the newest event of each tenant."""
        rows = await self._database.look(_FEED_ENDS, names=list(tenant_ids))
        return dict(rows)


def _given(span: EventSpan, limit: int) -> dict[str, int]:
    return {"count": limit, "floor": key_floor(span.since), **asdict(span)}
