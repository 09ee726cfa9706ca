"""Notes between processes that something moved: watchers then re-read the log."""

from typing import Protocol

from service.ports import Backplane
from service.pubsub.in_process import InProcessBackplane

__all__ = ["InProcessBackplane", "RunningBackplane", "make_backplane"]

#: What the names of channels begin with.
NAMESPACE = "ringback"


class RunningBackplane(Backplane, Protocol):
    """A backplane that hears other processes while it runs, and is closed in the end."""

    async def run(self) -> None:
        """Hear what other processes publish, until cancelled."""

    async def close(self) -> None:
        """Send nothing more."""


def make_backplane(url: str, origin: str, namespace: str = NAMESPACE) -> RunningBackplane:
    """The backplane over the Redis at ``url``; without one, that of this process alone.

    It connects when it is used; ``origin`` is this process's name among all.
    """
    if not url:
        return InProcessBackplane()
    from service.pubsub.on_redis import RedisBackplane  # noqa: PLC0415  megabytes that one process needs not

    return RedisBackplane(url, origin, namespace)
