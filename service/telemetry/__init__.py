"""What the service tells of itself: logs and metrics."""

from service.telemetry.happenings import ToldDeliveries
from service.telemetry.logs import configure_logging
from service.telemetry.metrics import CONTENT_TYPE, Queue, Snapshot, Work, exposition
from service.telemetry.sweeps import ToldSweeps

__all__ = [
    "CONTENT_TYPE",
    "Queue",
    "Snapshot",
    "ToldDeliveries",
    "ToldSweeps",
    "Work",
    "configure_logging",
    "exposition",
]
