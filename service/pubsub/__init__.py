"""Notes between processes that something moved: watchers then re-read the log."""

from service.pubsub.in_process import InProcessBackplane

__all__ = ["InProcessBackplane"]
