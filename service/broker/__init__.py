"""The broker that carries wakes: Dramatiq's, in this process or over Redis."""

from collections.abc import Sequence

from dramatiq import Middleware

from service.broker.in_process import InProcessBroker
from service.broker.on_loop import LoopBroker
from service.broker.waker import ACTOR, QUEUE, BrokerWaker

__all__ = ["ACTOR", "QUEUE", "BrokerWaker", "LoopBroker", "make_broker"]


#: What every key in Redis begins with.
NAMESPACE = "ringback"


def make_broker(
    url: str, middleware: Sequence[Middleware] = (), namespace: str = NAMESPACE
) -> LoopBroker:
    """The broker over the Redis at ``url``; without one, that of this process alone.

    It connects when it is used: that Redis is away is no reason not to start.
    """
    if not url:
        return InProcessBroker(middleware)
    from service.broker.on_redis import WakeBroker  # noqa: PLC0415  megabytes that one process needs not

    return WakeBroker(url, middleware, namespace)
