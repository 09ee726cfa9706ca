"""One receiver of every hostile kind, all in a process that no healthy one shares.

    python -m tests.system.hostile_receivers --certificate FILE [--nice 19] [--tame]

See :mod:`tests.support.talking`: says the port of each kind, then by kind how many connections it
had and for how long (s) at most a sender stayed with it that was not let go.
"""

import argparse
import asyncio
import gzip
import os
import socket
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import hostile
from tests.support.certificates import server_context
from tests.support.receiver import Act, Received, Receiver, Reply
from tests.support.talking import talk

#: Seconds between two looks at who is still there.
LOOK_EVERY = 0.02
TCP_ESTABLISHED = 1
MIB = 1024 * 1024

GREETINGS: dict[str, Act] = {
    "never reads": hostile.never_read,
    "reset before read": hostile.reset,
}
ACTS: dict[str, Act] = {
    "hangs after headers": hostile.headers_then_hang,
    "header drip": hostile.header_drip,
    "body drip": hostile.body_drip,
    "1xx flood": hostile.interim_flood,
    "reset after read": hostile.reset,
    "endless body": hostile.endless_body,
    "bad chunking": hostile.bad_chunking,
    "closes mid status line": hostile.close_mid_status_line,
    "tiny headers": hostile.tiny_headers,
    "tiny chunks": hostile.tiny_chunks,
    "many answers": hostile.many_answers,
}
EXPIRED_TLS = "expired TLS"


def replies() -> dict[str, Reply]:
    """What is hostile by its content only."""
    return {
        "gzip bomb": Reply(200, (("content-encoding", "gzip"),), gzip.compress(bytes(64 * MIB))),
        "10 MB body": Reply(200, (), bytes(10_000_000)),
        "invalid UTF-8": Reply(200, (("x-broken", "\xff\xc3("),), b"\xff\xfe\xc3(" * 1000),
    }


@dataclass(slots=True)
class Watched:
    """What was seen of one kind's connections."""

    connections: int = 0
    #: Seconds that one was open for certain: up to the last look that found it so. This process may
    #: look late, being nice to others.
    longest: float = 0.0


@dataclass(frozen=True, slots=True)
class Open:
    """A connection that is watched."""

    kind: Watched
    sock: Any
    since: float


@dataclass(slots=True)
class Watch:
    """Sees when senders hang up, also on whoever does not read."""

    seen: dict[str, Watched] = field(default_factory=dict)
    _open: dict[asyncio.Future[None], Open] = field(default_factory=dict)

    def over(self, kind: str, act: Act) -> Act:
        """The act, ended when the sender is gone."""
        watched = self.seen.setdefault(kind, Watched())

        async def watched_act(writer: asyncio.StreamWriter) -> None:
            watched.connections += 1
            acting = asyncio.ensure_future(act(writer))
            gone = asyncio.get_running_loop().create_future()
            self._open[gone] = Open(watched, writer.get_extra_info("socket"), time.monotonic())
            try:
                await asyncio.wait([acting, gone], return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._open.pop(gone, None)
                acting.cancel()
                await asyncio.gather(acting, return_exceptions=True)

        return watched_act

    async def look(self) -> None:
        """Look until cancelled."""
        while True:
            for gone, each in list(self._open.items()):
                now = time.monotonic()
                if is_open(each.sock):
                    each.kind.longest = max(each.kind.longest, now - each.since)
                elif not gone.done():
                    gone.set_result(None)
            await asyncio.sleep(LOOK_EVERY)

    def report(self) -> dict[str, tuple[int, float]]:
        """Connections, and the longest, by kind."""
        return {kind: (each.connections, each.longest) for kind, each in self.seen.items()}


def is_open(sock: Any) -> bool:  # noqa: ANN401  the event loop's stand-in for a socket
    """Whether both ends of the connection are."""
    with suppress(OSError):
        state: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return state[0] == TCP_ESTABLISHED
    return False


def receivers(watch: Watch, certificate: Path) -> dict[str, Receiver]:
    """A receiver for each kind."""

    def answering(answer: Reply | Act) -> Receiver:
        def script(_: Received) -> Reply | Act:
            return answer

        return Receiver(script)

    greeting = {kind: Receiver(greeting=watch.over(kind, g)) for kind, g in GREETINGS.items()}
    acting = {kind: answering(watch.over(kind, act)) for kind, act in ACTS.items()}
    replying = {kind: answering(reply) for kind, reply in replies().items()}
    expired = Receiver(tls=server_context(certificate))
    return {**greeting, **acting, **replying, EXPIRED_TLS: expired}


async def run(certificate: Path, *, tame: bool) -> None:
    """Serve until nobody asks any more; the ``tame`` take everything."""
    watch = Watch()
    looking = asyncio.create_task(watch.look())
    async with AsyncExitStack() as stack:
        made = receivers(watch, certificate)
        if tame:
            made = {kind: Receiver() for kind in made if kind != EXPIRED_TLS}
        for each in made.values():
            await stack.enter_async_context(each)
        await talk({kind: each.port for kind, each in made.items()}, watch.report)
    looking.cancel()


def main() -> None:
    """Run as a process."""
    parser = argparse.ArgumentParser(description="Receivers of every hostile kind.")
    parser.add_argument("--certificate", type=Path, required=True, help="an expired one")
    parser.add_argument("--nice", type=int, default=19, help="to others on this machine")
    parser.add_argument("--tame", action="store_true", help="take everything, to compare")
    options = parser.parse_args()
    # floods are to take no processor from who is measured: others' machines would not either
    os.nice(options.nice)
    asyncio.run(
        run(options.certificate, tame=options.tame)
    )  # asyncio's own loop: uvloop's sockets tell no state


if __name__ == "__main__":
    main()
