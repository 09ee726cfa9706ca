"""A crowd of watchers of one stream, in a process of its own so that it disturbs nobody.

    python -m service.lab.bench.watchers_crowd --port P --path /v1/... --key K
        --watchers N --events E

Prints ``ready`` when every watcher has the stream's first bytes, and at the end one line of JSON:
for every event the monotonic times at which it came, and how many watchers were turned away. A
watcher is a raw socket, and costs as little as that.
"""

import argparse
import asyncio
import json
import re
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import uvloop

#: Connections under way at once while all are made.
_TOGETHER = 100
#: Seconds without any event after which those that did not come are taken for lost.
_PATIENCE = 15.0
_ID = re.compile(rb"^id: (\d+)$", re.MULTILINE)


@dataclass
class Crowd:
    """What all watchers saw."""

    watchers: int
    events: int
    #: By sequence, when it came to each watcher that it came to.
    times: dict[int, list[float]] = field(default_factory=dict)
    #: Watchers that were turned away.
    refused: int = 0
    #: Events that came twice, or before an earlier one.
    astray: int = 0
    last: float = field(default_factory=time.monotonic)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def saw(self, sequence: int) -> None:
        """Note the next event of one watcher."""
        self.last = time.monotonic()
        self.times.setdefault(sequence, []).append(self.last)
        if self.is_done:
            self.done.set()

    @property
    def is_done(self) -> bool:
        """Whether everybody has everything."""
        return sum(map(len, self.times.values())) == self.watchers * self.events


class Watcher(asyncio.Protocol):
    """One connection: reads the ids of the messages as they come."""

    def __init__(self, crowd: Crowd, request: bytes) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._crowd = crowd
        self._request = request
        self._rest = b""
        self._place = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        # uvloop's transports are of no class of asyncio's
        cast("asyncio.WriteTransport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        text = self._rest + data
        if not self.opened.done():
            if b"\r\n\r\n" not in text:
                self._rest = text
                return
            self.opened.set_result(None)
            if not text.startswith(b"HTTP/1.1 200 "):
                self._crowd.refused += 1
        whole, _, self._rest = text.rpartition(b"\n")
        for found in _ID.finditer(whole):
            if int(found[1]) == self._place + 1:
                self._place += 1
                self._crowd.saw(self._place)
            else:
                self._crowd.astray += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the protocol's own signature
        """Before the stream began it was turned away."""
        if not self.opened.done():
            self._crowd.refused += 1
            self.opened.set_result(None)


async def run(options: argparse.Namespace) -> Crowd:
    """Open all, then take what comes until everybody has everything, or nothing comes any more."""
    crowd = Crowd(options.watchers, options.events)
    head = f"GET {options.path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {options.key}"
    request = f"{head}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    kept = []  # a transport that nobody holds may be closed
    for start in range(0, crowd.watchers, _TOGETHER):
        made = await asyncio.gather(
            *(
                loop.create_connection(lambda: Watcher(crowd, request), "127.0.0.1", options.port)
                for _ in range(min(_TOGETHER, crowd.watchers - start))
            )
        )
        async with asyncio.timeout(_PATIENCE):
            await asyncio.gather(*(watcher.opened for _, watcher in made))
        kept += made
    say("ready")
    crowd.last = time.monotonic()
    while not crowd.is_done and time.monotonic() - crowd.last < _PATIENCE:
        with suppress(TimeoutError):
            await asyncio.wait_for(crowd.done.wait(), 1.0)
    return crowd


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run as a process."""
    parser = argparse.ArgumentParser(description="Watchers of one stream.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--watchers", type=int, required=True)
    parser.add_argument("--events", type=int, required=True)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        crowd = runner.run(run(options))
    facts = {"refused": crowd.refused, "astray": crowd.astray, "times": crowd.times}
    say(json.dumps(facts))


if __name__ == "__main__":
    main()
