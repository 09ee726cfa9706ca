"""A process with a worker in it: `python -m tests.broker.worker_process URL NAMESPACE`.

It writes `ready`, then a line for each message: the lanes it names.
"""

import asyncio
import sys

from service.broker import ACTOR, QUEUE, make_broker
from service.worker import WorkerHost, declare


async def main(url: str, namespace: str) -> None:
    """Work until killed."""
    broker = make_broker(url, namespace=namespace)
    declare(broker, wake, actor=ACTOR, queue=QUEUE)
    WorkerHost(broker, broker.taken).start()
    say("ready")
    await asyncio.Event().wait()


def wake(lanes: list[int]) -> None:
    say(" ".join(map(str, lanes)))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
