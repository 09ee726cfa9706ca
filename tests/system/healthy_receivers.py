"""Receivers that take everything at once, in a process that they share with nothing hostile.

    python -m tests.system.healthy_receivers --count 50

See :mod:`tests.support.talking`: says its ports, then by ``webhook-id`` the monotonic time (s) of
each request since it was asked last.
"""

import argparse
import asyncio
from contextlib import AsyncExitStack

import uvloop

from tests.support.receiver import Received, Receiver, Reply
from tests.support.talking import talk


class Arrivals:
    """When each event came first, over all receivers."""

    def __init__(self) -> None:
        self._times: dict[str, float] = {}

    def note(self, request: Received) -> Reply:
        self._times.setdefault(request.headers["webhook-id"], request.at)
        return Reply(204)

    def take(self) -> dict[str, float]:
        times, self._times = self._times, {}
        return times


async def run(count: int) -> None:
    """Serve until nobody asks any more."""
    arrivals = Arrivals()
    async with AsyncExitStack() as stack:
        receivers = [Receiver(arrivals.note) for _ in range(count)]
        for each in receivers:
            await stack.enter_async_context(each)

        def report() -> dict[str, float]:
            for each in receivers:
                each.requests.clear()
            return arrivals.take()

        await talk([each.port for each in receivers], report)


def main() -> None:
    """Run as a process."""
    parser = argparse.ArgumentParser(description="Receivers that take everything.")
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(options.count))


if __name__ == "__main__":
    main()
