"""Into the dead-letter table: what every path that gives a delivery up has in common."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from service.domain import ids, operational
from service.domain.delivery import DeadLetterState, DeliveryStatus
from service.domain.health import DisabledReason
from service.domain.ids import DeliveryRef
from service.domain.operational import Notice
from service.domain.retry import DeadReason
from service.store.announcing import Announcer, names_of
from service.store.database import Tx
from service.store.schema import dead_letters, deliveries
from service.store.statements import Row

_COLUMNS: Final = tuple(column.name for column in dead_letters.columns)
#: A dead letter whose replay failed is open again, with what it died of this time.
_AGAIN: Final = "ON CONFLICT (event_key, subscription_no) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}"
    for name in (
        "state",
        "reason",
        "attempts",
        "dead_at",
        "resolved_at",
        "status_code",
        "error_class",
        "message",
    )
)


@dataclass(frozen=True, slots=True)
class Corpse:
    """A delivery that was taken out of the queue undelivered."""

    ref: DeliveryRef
    tenant_id: str
    reason: DeadReason
    attempts: int
    status_code: int | None
    error_class: str | None
    message: str | None
    #: (id, type, operation id, sequence, body)
    event: Row

    @property
    def is_silent(self) -> bool:
        """Whether it carried an operational event: nobody is told of those."""
        return operational.is_operational(self.event[1], self.event[2])


async def bury(tx: Tx, corpses: Sequence[Corpse]) -> None:
    """Write finished deliveries and open dead letters for them."""
    status = DeliveryStatus.DEAD.value
    columns = ("event_key", "subscription_no", "status", "attempts", "finished_at")
    await tx.insert(
        deliveries, columns, [(*each.ref, status, each.attempts, tx.now) for each in corpses]
    )
    await tx.insert(dead_letters, _COLUMNS, [_row(each, tx.now) for each in corpses], _AGAIN)


async def tell(
    tx: Tx, corpses: Sequence[Corpse], announcer: Announcer, others: Sequence[Notice] = ()
) -> frozenset[int]:
    """Tell of what was buried, and of ``others``; the lanes of who is told.

    It counts what others may add to, so the rows of the tenants are to be locked before.
    """
    noted = [each for each in corpses if not each.is_silent]
    return await announcer.announce(tx, [*await _notices(tx, noted, announcer), *others])


async def _notices(tx: Tx, corpses: Sequence[Corpse], announcer: Announcer) -> list[Notice]:
    if not corpses:
        return []
    lanes = Counter(each.ref.subscription_no for each in corpses)
    names = await names_of(tx, lanes)
    notices = [_notice(each, names[each.ref.subscription_no][1]) for each in corpses]
    for lane, count in sorted(lanes.items()):
        crossed = await announcer.crossed(tx, lane, count)
        notices += [operational.threshold(*names[lane], each) for each in crossed]
    return notices


def _notice(corpse: Corpse, subscription_id: str) -> Notice:
    event_id, event_type, operation_id, *_ = corpse.event
    data = {
        "subscriptionId": subscription_id,
        "deliveryId": ids.delivery_id(corpse.ref),
        "deadLetterId": ids.dead_letter_id(corpse.ref),
        "eventId": event_id,
        "eventType": event_type,
        "operationId": operation_id,
        "reason": corpse.reason.value,
        "attempts": corpse.attempts,
        "statusCode": corpse.status_code,
        "errorClass": corpse.error_class,
    }
    said = f"The delivery of event {event_id} to subscription {subscription_id} was given up."
    return Notice(corpse.tenant_id, operational.DEAD_LETTERED, said, data)


def _row(each: Corpse, now: int) -> Row:
    return (
        *each.ref,
        each.tenant_id,
        DeadLetterState.OPEN.value,
        each.reason.value,
        each.attempts,
        now,
        None,
        0,
        each.status_code,
        each.error_class,
        each.message,
        *each.event,
    )


async def disable(tx: Tx, subscription_no: int, reason: DisabledReason) -> str | None:
    """Disable a subscription; the sweep moves what waits for it. Its id, if it was enabled.

    Its tenant's configuration is to be given another version then.
    """
    rows = await tx.sql(
        "UPDATE subscriptions SET status = 'disabled', disabled_reason = ?, updated_at = ?, "
        "version = version + 1 WHERE no = ? AND deleted_at IS NULL AND status <> 'disabled' "
        "RETURNING id",
        (reason.value, tx.now, subscription_no),
    )
    return str(rows[0][0]) if rows else None
