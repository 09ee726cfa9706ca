"""The broker that carries wakes: Dramatiq's, in this process or over Redis."""

import asyncio
from collections.abc import Sequence

from dramatiq import Middleware

from service.broker.in_process import InProcessBroker
from service.broker.on_redis import WakeBroker
from service.broker.waker import ACTOR, QUEUE, BrokerWaker, RemoteWaker

__all__ = ["ACTOR", "QUEUE", "AnyBroker", "AnyWaker", "make_broker", "make_waker"]

AnyBroker = InProcessBroker | WakeBroker
AnyWaker = BrokerWaker | RemoteWaker

#: What every key in Redis begins with.
NAMESPACE = "ringback"


def make_broker(
    url: str, middleware: Sequence[Middleware], namespace: str = NAMESPACE
) -> AnyBroker:
    """The broker over the Redis at ``url``; without one, that of this process alone.

    It connects when it is used: that Redis is away is no reason not to start.
    """
    return WakeBroker(url, middleware, namespace) if url else InProcessBroker(middleware)


def make_waker(broker: AnyBroker, loop: asyncio.AbstractEventLoop) -> AnyWaker:
    """What wakes through this broker, from that event loop."""
    return (RemoteWaker if isinstance(broker, WakeBroker) else BrokerWaker)(broker, loop)
