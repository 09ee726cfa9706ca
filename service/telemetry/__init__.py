"""What the service tells of itself: logs and metrics."""

from service.telemetry.logs import configure_logging
from service.telemetry.metrics import CONTENT_TYPE, Snapshot, exposition

__all__ = ["CONTENT_TYPE", "Snapshot", "configure_logging", "exposition"]
