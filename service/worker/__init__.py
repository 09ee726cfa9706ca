"""Dramatiq's side of delivering: the actor, and what calls it on the event loop."""

from service.worker.actors import declare
from service.worker.hosting import WorkerHost

__all__ = ["WorkerHost", "declare"]
