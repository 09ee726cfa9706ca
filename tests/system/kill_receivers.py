"""Three receivers in a process that outlives the service it serves.

    python -m tests.system.kill_receivers --log FILE --seed N

prints the port, then logs every request before it answers, each line with the answer it will give:
``/ok`` takes everything, ``/flaky`` fails three of ten, ``/slow`` takes its time. The seed decides,
so that a run can be repeated.
"""

import argparse
import asyncio
import contextlib
import json
import random
import sys
from pathlib import Path

from tests.support.receiver import Received, Receiver, Reply

FAILING = 0.3
SLOWNESS = (0.05, 0.2)


def answer(request: Received, seed: int) -> Reply:
    """What the receiver says to this attempt."""
    attempt = f"{request.headers['webhook-id']}/{request.headers['x-webhook-attempt']}"
    dice = random.Random(f"{seed}/{request.path}/{attempt}")  # noqa: S311  to be repeated, not to be safe
    if request.path == "/flaky":
        return Reply(503 if dice.random() < FAILING else 204)
    return Reply(delay=dice.uniform(*SLOWNESS) if request.path == "/slow" else 0.0)


def line(request: Received, reply: Reply) -> bytes:
    """The request as one line of JSON."""
    facts = {
        "path": request.path,
        "status": reply.status,
        "headers": request.headers,
        "body": request.body.decode(),
    }
    return json.dumps(facts).encode() + b"\n"


async def _run(log_file: Path, seed: int) -> None:
    # unbuffered and in one write: a line is in the file, whole, before its request is answered
    with log_file.open("ab", buffering=0) as log:

        def script(request: Received) -> Reply:
            reply = answer(request, seed)
            log.write(line(request, reply))
            return reply

        async with Receiver(script) as receiver:
            sys.stdout.write(f"{receiver.port}\n")
            sys.stdout.flush()
            while True:
                receiver.requests.clear()  # the file has them
                await asyncio.sleep(1)


def main() -> None:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(description="Receivers for the kill rounds.")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(options.log, options.seed))


if __name__ == "__main__":
    main()
