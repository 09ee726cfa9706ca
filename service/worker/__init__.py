"""Dramatiq's side of delivering: the actor, and the event loop it runs on."""

from service.worker.actors import declare
from service.worker.hosting import LentLoop, WorkerHost

__all__ = ["LentLoop", "WorkerHost", "declare"]
