"""What the service tells of itself: logs and metrics."""

from service.telemetry.happenings import ToldDeliveries
from service.telemetry.logs import configure_logging
from service.telemetry.metrics import CONTENT_TYPE, Queue, Snapshot, Work, exposition

__all__ = [
    "CONTENT_TYPE",
    "Queue",
    "Snapshot",
    "ToldDeliveries",
    "Work",
    "configure_logging",
    "exposition",
]
