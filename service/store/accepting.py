"""Accept: a whole group of requests in one transaction (the journey's first).

The order of work is also the order of locks: idempotency keys, operations, event ids, tenant row;
then inserts. The tenant row's config version comes back with the feed position, so that a
subscription made a millisecond ago, by whichever process, is matched.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, func, select, update

from service.domain.acceptance import KnownEvent, NewEvent, Planner, TenantName, Verdict
from service.domain.delivery import Trigger
from service.domain.errors import Refusal
from service.domain.ids import KeyMaker
from service.domain.matching import Index
from service.domain.retry import first_due
from service.domain.subscription import Subscription
from service.ports import AcceptRequest, AcceptResult, Dice, GroupTooWideError
from service.store import once, ordering
from service.store.database import Database, Tx
from service.store.rows import (
    OPERATION_COLUMNS,
    SUBSCRIPTION_COLUMNS,
    operation_of,
    operation_row,
    subscription_of,
)
from service.store.schema import (
    delivery_queue,
    event_ids,
    events,
    operations,
    subscriptions,
    tenants,
)
from service.store.statements import Row, Statement, among

if TYPE_CHECKING:
    from service.domain.operation import Operation

#: Delivery rows in one transaction, so that nobody waits long behind a wide fan-out.
MAX_DELIVERIES: Final = 5_000

_FIND_OPERATIONS: Final = Statement(
    select(*(operations.c[name] for name in OPERATION_COLUMNS)).where(
        operations.c.tenant_id == bindparam("tenant"), among(operations.c.id, "names")
    )
)
_FIND_EVENTS: Final = Statement(
    select(event_ids.c.id, events.c.type, events.c.operation_id, events.c.sequence, events.c.status)
    .join(events, events.c.key == event_ids.c.event_key)
    .where(event_ids.c.tenant_id == bindparam("tenant"), among(event_ids.c.id, "names"))
)
_NUMBER: Final = Statement(
    update(tenants)
    .where(tenants.c.id == bindparam("tenant"))
    .values(feed_position=tenants.c.feed_position + bindparam("count"))
    .returning(tenants.c.feed_position, tenants.c.config_version)
)
_SUBSCRIPTIONS: Final = Statement(
    select(*(subscriptions.c[name] for name in SUBSCRIPTION_COLUMNS))
    .where(subscriptions.c.tenant_id == bindparam("tenant"), subscriptions.c.deleted_at.is_(None))
    .order_by(subscriptions.c.no)
)
_PENDING: Final = Statement(select(func.count()).select_from(delivery_queue))

_EVENT_COLUMNS: Final = tuple(column.name for column in events.columns)
_QUEUE_COLUMNS: Final = tuple(column.name for column in delivery_queue.columns)
_OPERATION_CHANGES: Final = ", ".join(
    f"{name} = excluded.{name}"
    for name in OPERATION_COLUMNS
    if name not in {"key", "tenant_id", "id", "created_at", "metadata", "described"}
)


@dataclass(slots=True)
class _Work:
    """What one group comes to, before it is written."""

    planner: Planner
    results: list[AcceptResult] = field(default_factory=list)
    kept: list[tuple[str, str, bytes, bytes, int]] = field(default_factory=list)


class AcceptStore:
    """See :class:`service.ports.AcceptStore`."""

    def __init__(
        self, database: Database, keys: KeyMaker, dice: Dice, schedule: Sequence[float]
    ) -> None:
        self._database = database
        self._keys = keys
        self._dice = dice
        self._schedule = tuple(schedule)
        self._indexes: dict[str, tuple[int, Index]] = {}
        #: Deliveries made by this process: what a count of the open ones does not know yet.
        self.made = 0

    async def pending(self) -> int:
        """How many deliveries are open."""
        return int((await self._database.look(_PENDING))[0][0])

    async def accept(
        self, group: Sequence[AcceptRequest], *, bounded: bool = True
    ) -> list[AcceptResult]:
        """Commit the group.

        Raises:
            GroupTooWideError: ``bounded``, and it makes more than 5,000 deliveries; nothing was
            kept.
        """

        async def job(tx: Tx) -> list[AcceptResult]:
            return await self._accept(tx, group, bounded=bounded)

        return await self._database.write(job)

    async def _accept(
        self, tx: Tx, group: Sequence[AcceptRequest], *, bounded: bool
    ) -> list[AcceptResult]:
        answers = await once.find_answers(
            tx, [(request.tenant_id, request.once.key) for request in group if request.once]
        )
        work = _Work(await self._planner(tx, group))
        for request in group:
            work.results.append(_judge(work, request, answers, tx.now))
        planner = work.planner
        deliveries = await self._fan_out(tx, planner.events)
        if bounded and len(deliveries) > MAX_DELIVERIES and len(planner.events) > 1:
            raise GroupTooWideError
        deliveries = await ordering.park(tx, deliveries)
        await _write(tx, planner, deliveries)
        await once.keep_answers(tx, work.kept)
        self.made += len(deliveries)
        lanes = frozenset(row[1] for row in deliveries if row[2] <= tx.now)
        return [AcceptResult(result.answer, lanes) for result in work.results]

    async def _planner(self, tx: Tx, group: Sequence[AcceptRequest]) -> Planner:
        known: dict[TenantName, Operation] = {}
        seen: dict[TenantName, KnownEvent] = {}
        for tenant, (wanted, ids) in sorted(_names(group).items()):
            for row in await tx.fetch(_FIND_OPERATIONS, tenant=tenant, names=sorted(wanted)):
                operation = operation_of(row)
                known[tenant, operation.id] = operation
            if ids:
                for row in await tx.fetch(_FIND_EVENTS, tenant=tenant, names=sorted(ids)):
                    seen[tenant, row[0]] = KnownEvent(*row[1:])
        return Planner(known, seen, self._keys, tx.now, lambda: self._dice.bytes(4))

    async def _fan_out(self, tx: Tx, new: list[NewEvent]) -> list[Row]:
        """Number the events in their tenants' feeds; the delivery rows of those who want them."""
        rows: list[Row] = []
        for tenant, own in _by_tenant(new):
            position, version = (await tx.fetch(_NUMBER, tenant=tenant, count=len(own)))[0]
            for offset, event in enumerate(own, position - len(own) + 1):
                event.feed_position = offset
            index = await self._index(tx, tenant, version)
            for event in own:
                matching = index.match(event.type, event.operation_type, event.operation_id)
                rows.extend(self._delivery(event, each, tx.now) for each in matching)
        return rows

    def _delivery(self, event: NewEvent, subscription: Subscription, now: int) -> Row:
        schedule = subscription.retry_schedule or self._schedule
        due = first_due(now, schedule, self._dice.random()) if schedule[0] else now
        chain = event.operation_key if subscription.ordering == "operation" else None
        return (event.key, subscription.no, due, 0, 0, Trigger.SCHEDULE.value, None, chain)

    async def _index(self, tx: Tx, tenant: str, version: int) -> Index:
        kept = self._indexes.get(tenant)
        if kept is not None and kept[0] == version:
            return kept[1]
        rows = await tx.fetch(_SUBSCRIPTIONS, tenant=tenant)
        index = Index(map(subscription_of, rows))
        self._indexes[tenant] = (version, index)
        return index


def _names(group: Sequence[AcceptRequest]) -> dict[str, tuple[set[str], set[str]]]:
    """The operation ids and the event ids that a group names, by tenant."""
    names: dict[str, tuple[set[str], set[str]]] = {}
    for request in group:
        operation_ids, given_ids = names.setdefault(request.tenant_id, (set(), set()))
        sound = [event for event in request.events if not isinstance(event, Refusal)]
        operation_ids.update(event.operation_id for event in sound if event.operation_id)
        given_ids.update(event.id for event in sound if event.id)
    return names


Answers = dict[tuple[str, str], tuple[bytes, bytes]]


def _judge(work: _Work, request: AcceptRequest, answers: Answers, now: int) -> AcceptResult:
    if request.once is not None:
        kept = answers.get((request.tenant_id, request.once.key))
        if kept is not None:
            return AcceptResult(once.judge(request.once, *kept))
    take = work.planner.take
    verdicts: list[Verdict] = [
        each if isinstance(each, Refusal) else take(request.tenant_id, each)
        for each in request.events
    ]
    if request.once is not None:
        answer = request.once.render(verdicts)
        if answer is not None:
            row = (request.tenant_id, request.once.key, request.once.fingerprint, answer, now)
            work.kept.append(row)
            # the same request once more in this group is answered like one that comes later
            answers[request.tenant_id, request.once.key] = (request.once.fingerprint, answer)
    return AcceptResult(verdicts)


async def _write(tx: Tx, planner: Planner, deliveries: list[Row]) -> None:
    new = planner.events
    if not new:
        return
    await tx.insert(events, _EVENT_COLUMNS, [_event_row(event) for event in new])
    await tx.insert(
        event_ids, ("tenant_id", "id", "event_key"), [(e.tenant_id, e.id, e.key) for e in new]
    )
    await tx.insert(
        operations,
        OPERATION_COLUMNS,
        [operation_row(operation) for operation in planner.changed_operations()],
        f"ON CONFLICT (key) DO UPDATE SET {_OPERATION_CHANGES}",
    )
    await tx.insert(delivery_queue, _QUEUE_COLUMNS, deliveries)


def _event_row(event: NewEvent) -> Row:
    return (
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


def _by_tenant(new: Iterable[NewEvent]) -> list[tuple[str, list[NewEvent]]]:
    grouped: dict[str, list[NewEvent]] = {}
    for event in new:
        grouped.setdefault(event.tenant_id, []).append(event)
    return sorted(grouped.items())
