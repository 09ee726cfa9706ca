"""Into the dead-letter table: what every path that gives a delivery up has in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.delivery import DeadLetterState, DeliveryStatus
from service.domain.ids import DeliveryRef, KeyMaker
from service.domain.retry import DeadReason
from service.store import versions
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


async def bury(tx: Tx, corpses: Sequence[Corpse]) -> None:
    """Write finished deliveries and open dead letters for them."""
    status = DeliveryStatus.DEAD.value
    columns = ("event_key", "subscription_no", "status", "attempts", "finished_at")
    await tx.insert(
        deliveries, columns, [(*each.ref, status, each.attempts, tx.now) for each in corpses]
    )
    await tx.insert(dead_letters, _COLUMNS, [_row(each, tx.now) for each in corpses], _AGAIN)


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


async def disable(tx: Tx, keys: KeyMaker, tenant_id: str, subscription_no: int) -> None:
    """Disable a subscription whose receiver is gone; the sweep moves what waits for it."""
    await tx.sql(
        "UPDATE subscriptions SET status = 'disabled', disabled_reason = 'gone', updated_at = ?, "
        "version = version + 1 WHERE no = ? AND deleted_at IS NULL AND status <> 'disabled'",
        (tx.now, subscription_no),
    )
    await versions.renew(tx, keys, tenant_id)
