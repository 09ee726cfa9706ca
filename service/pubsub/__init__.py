"""Notes between processes that something moved: watchers then re-read the log."""

from service.pubsub.in_process import InProcessBackplane
from service.pubsub.on_redis import RedisBackplane

__all__ = ["AnyBackplane", "InProcessBackplane", "make_backplane"]

AnyBackplane = InProcessBackplane | RedisBackplane

#: What the names of channels begin with.
NAMESPACE = "ringback"


def make_backplane(url: str, origin: str, namespace: str = NAMESPACE) -> AnyBackplane:
    """The backplane over the Redis at ``url``; without one, that of this process alone.

    It connects when it is used; ``origin`` is this process's name among all.
    """
    return RedisBackplane(url, origin, namespace) if url else InProcessBackplane()
