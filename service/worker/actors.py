"""The actors. A message only wakes: what is due, and who may send it, is the store's to say."""

from collections.abc import Callable

import dramatiq

Wake = Callable[[list[int]], None]


def declare(broker: dramatiq.Broker, wake: Wake, *, actor: str, queue: str) -> None:
    """Declare the delivering actor on ``broker`` under the names that wakes are addressed to."""

    @dramatiq.actor(broker=broker, actor_name=actor, queue_name=queue)
    def deliver(lanes: list[int]) -> None:
        wake(lanes)
