"""A delivery: one event on its way to one subscription, and the moves it may make."""

from enum import StrEnum
from typing import Final


class DeliveryStatus(StrEnum):
    """Where a delivery is."""

    PENDING = "pending"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


_FINISHED: Final = frozenset(
    {DeliveryStatus.DELIVERED, DeliveryStatus.DEAD, DeliveryStatus.CANCELLED}
)

#: From each status, the statuses it may move to. ``pending`` and ``delivering`` live in the queue.
MOVES: Final[dict[DeliveryStatus, frozenset[DeliveryStatus]]] = {
    DeliveryStatus.PENDING: frozenset(
        {DeliveryStatus.DELIVERING, DeliveryStatus.DEAD, DeliveryStatus.CANCELLED}
    ),
    DeliveryStatus.DELIVERING: _FINISHED | {DeliveryStatus.PENDING},
    # a replay or a manual retry reopens what was finished
    **dict.fromkeys(_FINISHED, frozenset({DeliveryStatus.PENDING})),
}


def is_finished(status: DeliveryStatus) -> bool:
    """Whether the delivery has left the queue."""
    return status in _FINISHED


class Trigger(StrEnum):
    """What made an attempt happen."""

    SCHEDULE = "schedule"
    MANUAL = "manual"
    REPLAY = "replay"


class DeadLetterState(StrEnum):
    """What became of a dead letter."""

    OPEN = "open"
    REPLAYING = "replaying"
    RESOLVED = "resolved"
