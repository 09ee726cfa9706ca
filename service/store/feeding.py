"""Events into the tables: numbered in the feeds of their tenants, with ids and deliveries.

The number is taken under the lock of the tenant's row, whose config version tells which
subscriptions there are. Where they are known already all of it goes by one statement, in the order
of locks: operations, tenants, then what is new. It takes hold of no tenant that has changed, and
writes nothing then.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, select, update

from service.domain.acceptance import NewEvent
from service.domain.delivery import Trigger
from service.domain.matching import Index
from service.domain.retry import first_due
from service.domain.subscription import Subscription
from service.ports import Dice
from service.store import moving, subscribing
from service.store.database import Expected, Trace, Tx
from service.store.rows import SUBSCRIPTION_COLUMNS, subscription_of
from service.store.schema import delivery_queue, event_ids, events, subscriptions, tenants
from service.store.statements import Change, Insert, Many, Row, Statement

_NUMBER: Final = Statement(
    update(tenants)
    .where(tenants.c.id == bindparam("tenant"))
    .values(feed_position=tenants.c.feed_position + bindparam("count"))
    .returning(tenants.c.feed_position, tenants.c.config_version, tenants.c.bound_subscriptions)
)
_SUBSCRIPTIONS: Final = Statement(
    select(*(subscriptions.c[name] for name in SUBSCRIPTION_COLUMNS))
    .where(
        subscriptions.c.tenant_id == bindparam("tenant"),
        subscriptions.c.operation_id.is_(None),
        subscriptions.c.deleted_at.is_(None),
    )
    .order_by(subscriptions.c.no)
)
_EVENT_COLUMNS: Final = tuple(column.name for column in events.columns)
_ID_COLUMNS: Final = ("tenant_id", "id", "event_key")
_QUEUE_COLUMNS: Final = tuple(column.name for column in delivery_queue.columns)

# --- the statement for all: its parts by their names, each waits for those that it counts

#: The tenants, if they are as they are known, by id and version.
_HOLD: Final = (
    "SELECT t.id FROM tenants t JOIN {{rows}} ON t.id = v.column1 "
    "WHERE t.config_version = v.column2 AND t.bound_subscriptions = 0{} "
    'ORDER BY t.id COLLATE "C" FOR UPDATE OF t'
)
_HELD: Final = "held"
_TENANT: Final = (tenants.c.id, tenants.c.config_version)
_HOLD_THEM: Final = Many(_HOLD.format(""), *_TENANT)
_THEN_HOLD_THEM: Final = Many(
    _HOLD.format(f" AND (SELECT count(*) FROM {moving.MOVED}) >= 0"), *_TENANT
)
#: So many events are for each of those; what place comes before theirs.
_NUMBERED: Final = "numbered"
_NUMBER_THEM: Final = Many(
    "UPDATE tenants SET feed_position = tenants.feed_position + v.column2 FROM {rows} "
    f"WHERE tenants.id = v.column1 AND (SELECT count(*) FROM {_HELD}) > 0 "
    "RETURNING tenants.id, tenants.feed_position - v.column2 AS before",
    tenants.c.id,
    tenants.c.feed_position,
)
_BEGIN: Final = moving.begin(f"WHERE (SELECT count(*) FROM {_NUMBERED}) > 0 AND {moving.UNSEEN}")
#: The events as they were written; each value that goes to the server costs, so their ids are taken
#: from there.
_LOGGED: Final = "logged"


def _place(number: int, name: str) -> str:
    value = f"v.column{number}"
    return f"{_NUMBERED}.before + {value}" if name == "feed_position" else value


_INSERT: Final = Many(
    f"INSERT INTO events ({', '.join(_EVENT_COLUMNS)}) SELECT "
    + ", ".join(_place(number, name) for number, name in enumerate(_EVENT_COLUMNS, 1))
    + f" FROM {{rows}} JOIN {_NUMBERED} ON {_NUMBERED}.id = v.column2 "
    "RETURNING tenant_id, id, key",
    *events.columns,
)
_INSERT_IDS: Final = Many(
    f"INSERT INTO event_ids ({', '.join(_ID_COLUMNS)}) SELECT tenant_id, id, key FROM {_LOGGED}"
)
#: Nothing was tried, and nothing is of a chain.
_ENQUEUE: Final = Many(
    "INSERT INTO delivery_queue (event_key, subscription_no, due_at, attempts, step, trigger) "
    f"SELECT *, 0, 0, '{Trigger.SCHEDULE}' FROM {{rows}}",
    *(delivery_queue.c[name] for name in _QUEUE_COLUMNS[:3]),
)


@dataclass(frozen=True, slots=True)
class _Known:
    """The subscriptions of a tenant as they are at a version of its configuration."""

    version: int
    index: Index
    #: Whether none is of one operation only, and none gets its events one after the other.
    is_plain: bool


class Feeds:
    """Who gets the events of each tenant. ``schedule`` (s) is for subscriptions without one."""

    def __init__(self, dice: Dice, schedule: Sequence[float]) -> None:
        self._dice = dice
        self._schedule = tuple(schedule)
        self._known: dict[str, _Known] = {}

    def is_plain(self, names: Iterable[str]) -> bool:
        """Whether :meth:`foresee` can be asked about these tenants."""
        known = (self._known.get(name) for name in names)
        return all(each is not None and each.is_plain for each in known)

    def foresee(self, new: list[NewEvent], now: int) -> list[Row]:
        """The delivery rows of those who wanted the events when that was last known.

        The events are numbered from 1 on for each tenant.
        """
        rows: list[Row] = []
        for tenant, own in _by_tenant(new):
            for place, event in enumerate(own, 1):
                event.feed_position = place
            rows += self._matching(own, [self._known[tenant].index], now)
        return rows

    async def number(self, tx: Tx, new: list[NewEvent]) -> list[Row]:
        """Number the events in their tenants' feeds; the delivery rows of those who want them."""
        rows: list[Row] = []
        for tenant, own in _by_tenant(new):
            numbered = await tx.fetch(_NUMBER, tenant=tenant, count=len(own))
            position, version, bound = numbered[0]
            for offset, event in enumerate(own, position - len(own) + 1):
                event.feed_position = offset
            indexes = [await self._index(tx, tenant, version, is_alone=not bound)]
            if bound:
                names = {event.operation_id for event in own if event.operation_id is not None}
                indexes.append(await subscribing.find_bound(tx, tenant, names))
            rows += self._matching(own, indexes, tx.now)
        return rows

    def versions(self, new: Sequence[NewEvent]) -> list[tuple[str, int, int]]:
        """The tenants of these events, with the version that is known and how many they are."""
        return [(name, self._known[name].version, len(own)) for name, own in _by_tenant(new)]

    def _matching(self, own: list[NewEvent], indexes: list[Index], now: int) -> list[Row]:
        return [
            self._delivery(event, each, now)
            for event in own
            for index in indexes
            for each in index.match(event.type, event.operation_type, event.operation_id)
        ]

    def _delivery(self, event: NewEvent, subscription: Subscription, now: int) -> Row:
        schedule = subscription.retry_schedule or self._schedule
        due = first_due(now, schedule, self._dice.random()) if schedule[0] else now
        chain = event.operation_key if subscription.ordering == "operation" else None
        return (event.key, subscription.no, due, 0, 0, Trigger.SCHEDULE.value, None, chain)

    async def _index(self, tx: Tx, tenant: str, version: int, *, is_alone: bool) -> Index:
        kept = self._known.get(tenant)
        if kept is None or kept.version != version:
            found = [subscription_of(row) for row in await tx.fetch(_SUBSCRIPTIONS, tenant=tenant)]
            is_plain = is_alone and all(each.ordering != "operation" for each in found)
            kept = self._known[tenant] = _Known(version, Index(found), is_plain)
        return kept.index


class Luck:
    """Whether to try the statement for all, which others who write the same operations make fail.

    After it has failed some groups are done in turn before it is tried again: one, then twice as
    many and one each time.
    """

    _MOST: Final = 63

    def __init__(self) -> None:
        self._length = self._left = 0

    def is_tried(self) -> bool:
        """Whether it is to be tried now."""
        if not self._left:
            return True
        self._left -= 1
        return False

    def held(self) -> None:
        """It was as foreseen."""
        self._length = 0

    def failed(self) -> None:
        """It was not."""
        self._length = self._left = min(2 * self._length + 1, self._MOST)


def inserts(new: Sequence[NewEvent], deliveries: list[Row]) -> tuple[Insert, ...]:
    """Events that are numbered, with their ids and their deliveries."""
    return (
        Insert(events, _EVENT_COLUMNS, _event_rows(new)),
        Insert(event_ids, _ID_COLUMNS, [(e.tenant_id, e.id, e.key) for e in new]),
        Insert(delivery_queue, _QUEUE_COLUMNS, deliveries),
    )


async def write(
    tx: Tx,
    moves: Sequence[moving.Move],
    new: tuple[Sequence[NewEvent], list[Row], list[tuple[str, int, int]]],
    beside: Change,
    trace: Trace,
) -> None:
    """Write operations, events with their foreseen deliveries, and what is done beside it.

    Of the latter each row has to give one.

    Raises:
        UnexpectedError: an operation, or a tenant's configuration, is not as it was known.
    """
    made, deliveries, versions = new
    begun, moved = moving.begun(moves), moving.moved_by(moves)
    hold = _THEN_HOLD_THEM if moved.rows else _HOLD_THEM
    await tx.only(
        Expected(moved, len(moved.rows)),
        Expected(Change(hold, [row[:2] for row in versions], name=_HELD), len(versions)),
        Expected(Change(_NUMBER_THEM, [row[::2] for row in versions], name=_NUMBERED)),
        Expected(Change(_BEGIN, begun), len(begun)),
        Expected(Change(_INSERT, _event_rows(made), name=_LOGGED)),
        Expected(Change(_INSERT_IDS, [()] if made else [])),
        Expected(Change(_ENQUEUE, [row[:3] for row in deliveries])),
        Expected(beside, len(beside.rows)),
        trace=trace,
    )


def _event_rows(new: Iterable[NewEvent]) -> list[Row]:
    return [
        (
            event.key,
            event.tenant_id,
            event.id,
            event.type,
            event.operation_key,
            event.operation_id,
            event.operation_type,
            event.sequence,
            event.status,
            event.created_at,
            event.feed_position,
            event.body,
        )
        for event in new
    ]


def _by_tenant(new: Iterable[NewEvent]) -> list[tuple[str, list[NewEvent]]]:
    grouped: dict[str, list[NewEvent]] = {}
    for event in new:
        grouped.setdefault(event.tenant_id, []).append(event)
    return sorted(grouped.items())
