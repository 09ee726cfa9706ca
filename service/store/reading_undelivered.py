"""What a subscription should have had and has not.

The log is walked from the past on, and each event that the subscription wants is looked up among
its deliveries; so what never had a delivery is found too. A walk looks at a bounded number of
events and then says where it came to.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Table, select

from service.domain.delivery import DeliveryStatus
from service.domain.ids import DeliveryRef, key_floor
from service.domain.matching import wants
from service.domain.subscription import Subscription
from service.ports import EventView, Page, Span, UndeliveredView
from service.store import forgotten
from service.store.database import Database, Tx
from service.store.paging import LOOKED_AT
from service.store.reading_operations import EVENT_COLUMNS
from service.store.schema import dead_letters, deliveries, delivery_queue, events

#: Events read at a time, no body among them.
_CHUNK: Final = 500

_MISSING: Final = "missing"
#: Event key, status and reason of one pair.
_Finding = tuple[int, str, str | None]


class UndeliveredReads:
    """See :class:`service.ports.ReadStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def undelivered(
        self, tenant_id: str, subscription: Subscription, since: int, span: Span
    ) -> Page[UndeliveredView]:
        """Pairs of this subscription without a successful delivery, oldest event first.

        Events of all tenants are looked at: a page may be short, even empty, and have a next one.
        """
        after = span.after[0] if span.after is not None else key_floor(since) - 1
        findings: list[_Finding] = []
        more = True
        async with self._database.read() as tx:
            for _ in range(LOOKED_AT // _CHUNK):
                chunk = await _log(tx, after)
                wanted = _wanted(tenant_id, subscription, chunk)
                findings += await _judge(tx, subscription.no, wanted)
                more = len(chunk) == _CHUNK
                if chunk:
                    after = chunk[-1]["key"]
                if len(findings) >= span.limit or not more:
                    break
            views = await _views(tx, subscription.no, findings[: span.limit])
        if len(findings) > span.limit:
            return Page(views, (findings[span.limit - 1][0],))
        return Page(views, (after,) if more else None)


async def _log(tx: Tx, after: int) -> list[dict[str, Any]]:
    own = events.c
    return await tx.query(
        select(own.key, own.tenant_id, own.type, own.operation_type, own.operation_id)
        .where(own.key > after, own.key >= forgotten.FLOOR)
        .order_by(own.key)
        .limit(_CHUNK)
    )


def _wanted(
    tenant_id: str, subscription: Subscription, chunk: Sequence[dict[str, Any]]
) -> list[int]:
    return [
        row["key"]
        for row in chunk
        if row["tenant_id"] == tenant_id
        and wants(subscription, row["type"], row["operation_type"], row["operation_id"])
    ]


async def _judge(tx: Tx, number: int, keys: Sequence[int]) -> list[_Finding]:
    """What became of these events on their way to the subscription; the delivered ones left out."""
    if not keys:
        return []
    queue = await _of_pairs(tx, delivery_queue, number, keys, "token")
    finished = await _of_pairs(tx, deliveries, number, keys, "status")
    reasons = await _of_pairs(tx, dead_letters, number, keys, "reason")
    findings: list[_Finding] = []
    for key in keys:
        if key in queue:
            waits = queue[key] is None
            status = DeliveryStatus.PENDING if waits else DeliveryStatus.DELIVERING
            findings.append((key, status.value, None))
        elif finished.get(key) != DeliveryStatus.DELIVERED:
            dead = finished.get(key) == DeliveryStatus.DEAD
            findings.append((key, finished.get(key, _MISSING), reasons.get(key) if dead else None))
    return findings


async def _of_pairs(
    tx: Tx, table: Table, number: int, keys: Sequence[int], column: str
) -> dict[int, Any]:
    own = table.c
    rows = await tx.query(
        select(own.event_key, own[column]).where(
            own.event_key.in_(keys), own.subscription_no == number
        )
    )
    return {row["event_key"]: row[column] for row in rows}


async def _views(tx: Tx, number: int, findings: Sequence[_Finding]) -> list[UndeliveredView]:
    keys = [key for key, _, _ in findings]
    rows = await tx.query(select(*EVENT_COLUMNS).where(events.c.key.in_(keys)))
    found = {row["key"]: EventView(**row) for row in rows}
    return [
        UndeliveredView(
            found[key], status, reason, None if status == _MISSING else DeliveryRef(key, number)
        )
        for key, status, reason in findings
    ]
