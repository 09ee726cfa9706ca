"""The actors. A message only wakes: what is due, and who may send it, is the store's to say."""

from collections.abc import Awaitable, Callable

import dramatiq

Serve = Callable[[list[int]], Awaitable[None]]


def declare(broker: dramatiq.Broker, serve: Serve, *, actor: str, queue: str) -> None:
    """Declare the delivering actor on ``broker`` under the names that wakes are addressed to."""

    @dramatiq.actor(broker=broker, actor_name=actor, queue_name=queue)
    async def deliver(lanes: list[int]) -> None:
        await serve(lanes)
