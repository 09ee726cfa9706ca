"""The broker that carries wakes: Dramatiq's, in this process or over Redis."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from dramatiq import Broker, Middleware

from service.broker.in_process import InProcessBroker
from service.broker.waker import ACTOR, QUEUE, BrokerWaker
from service.ports import Waker

__all__ = ["ACTOR", "QUEUE", "Broker", "ClosableWaker", "make_broker", "make_waker"]


#: What every key in Redis begins with.
NAMESPACE = "ringback"


class ClosableWaker(Waker, Protocol):
    """A waker that is closed in the end."""

    async def close(self) -> None:
        """Send nothing more."""


def make_broker(url: str, middleware: Sequence[Middleware], namespace: str = NAMESPACE) -> Broker:
    """The broker over the Redis at ``url``; without one, that of this process alone.

    It connects when it is used: that Redis is away is no reason not to start.
    """
    if not url:
        return InProcessBroker(middleware)
    from service.broker.on_redis import WakeBroker  # noqa: PLC0415  megabytes that one process needs not

    return WakeBroker(url, middleware, namespace)


def make_waker(broker: Broker, loop: asyncio.AbstractEventLoop) -> ClosableWaker:
    """What wakes through this broker, from that event loop."""
    if isinstance(broker, InProcessBroker):
        return BrokerWaker(broker, loop)
    from service.broker.remote_waker import RemoteWaker  # noqa: PLC0415  as for the broker

    return RemoteWaker(broker)
