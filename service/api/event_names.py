"""What events are called on a stream (contract, section 4.2)."""

from typing import Final

from service.domain.operation import LIFECYCLE, Status, is_end

_NAMES: Final = {
    Status.PROCESSING: "status-update",
    Status.COMPLETED: "completed",
    Status.COMPLETED_WITH_ERRORS: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
}


def event_name(event_type: str) -> str:
    """The name of a message: lifecycle types have their own, all others share one."""
    status = LIFECYCLE.get(event_type)
    return "event" if status is None else _NAMES[status]


def ends(event_type: str) -> bool:
    """Whether an event of this type is its operation's last: only lifecycle types end one."""
    status = LIFECYCLE.get(event_type)
    return status is not None and is_end(status)
