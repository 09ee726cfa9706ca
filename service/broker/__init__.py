"""The broker that carries wakes: Dramatiq's, in this process or over Redis."""

import asyncio
from collections.abc import Sequence

from dramatiq import Broker, Middleware

from service.broker.in_process import InProcessBroker
from service.broker.waker import ACTOR, QUEUE, BrokerWaker, RemoteWaker

__all__ = ["ACTOR", "QUEUE", "AnyWaker", "Broker", "make_broker", "make_waker"]

AnyWaker = BrokerWaker | RemoteWaker

#: What every key in Redis begins with.
NAMESPACE = "ringback"


def make_broker(url: str, middleware: Sequence[Middleware], namespace: str = NAMESPACE) -> Broker:
    """The broker over the Redis at ``url``; without one, that of this process alone.

    It connects when it is used: that Redis is away is no reason not to start.
    """
    if not url:
        return InProcessBroker(middleware)
    from service.broker.on_redis import WakeBroker  # noqa: PLC0415  megabytes that one process needs not

    return WakeBroker(url, middleware, namespace)


def make_waker(broker: Broker, loop: asyncio.AbstractEventLoop) -> AnyWaker:
    """What wakes through this broker, from that event loop."""
    return (BrokerWaker if isinstance(broker, InProcessBroker) else RemoteWaker)(broker, loop)
