"""Questions to name servers, each in a thread of its own, so that none waits for another.

A thread that hangs in the system's resolver cannot be stopped. Hence no pool: a few names whose
servers never answer would take all of its threads, and the process could not end before they do.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

#: Finds a name's addresses; may block, may raise OSError, is called in a thread.
Lookup = Callable[[str], Sequence[str]]

_SECONDS = 5.0
#: Threads at once, and for names that end alike: who owns a domain makes names in it at no cost.
_MOST = 512
_MOST_PER_DOMAIN = 32


class LookupTimeoutError(OSError):
    """The name server took too long. Not a TimeoutError: the attempt's own time is not up."""


class Lookups:
    """Runs look-ups; made on the loop that uses it."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._loop = asyncio.get_running_loop()
        self._pending: dict[str, asyncio.Future[Sequence[str]]] = {}
        self._domains: Counter[str] = Counter()
        self._ended = asyncio.Event()

    async def find(self, host: str) -> Sequence[str]:
        """The addresses of ``host``.

        Raises:
            LookupTimeoutError: no answer came in time.
            OSError: the name server says that there are none.
        """
        try:
            async with asyncio.timeout(_SECONDS):
                while host not in self._pending and not self._has_room(host):
                    await self._ended.wait()
                # Shielded: the thread goes on, and whoever asks next may join it. So a name whose
                # servers hang never holds more than one thread.
                return await asyncio.shield(self._pending.get(host) or self._begin(host))
        except TimeoutError:
            raise LookupTimeoutError from None

    def _has_room(self, host: str) -> bool:
        mine = self._domains[_domain(host)]
        return len(self._pending) < _MOST and mine < _MOST_PER_DOMAIN

    def _begin(self, host: str) -> asyncio.Future[Sequence[str]]:
        found: asyncio.Future[Sequence[str]] = self._loop.create_future()
        work = threading.Thread(target=self._work, args=(host, found), name="resolve", daemon=True)
        work.start()
        self._pending[host] = found
        self._domains[_domain(host)] += 1
        return found

    def _work(self, host: str, found: asyncio.Future[Sequence[str]]) -> None:
        answer: Sequence[str] | Exception
        try:
            answer = self._lookup(host)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the answer
            answer = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any longer
            self._loop.call_soon_threadsafe(self._end, host, found, answer)

    def _end(
        self,
        host: str,
        found: asyncio.Future[Sequence[str]],
        answer: Sequence[str] | Exception,
    ) -> None:
        self._pending.pop(host)
        domain = _domain(host)
        self._domains[domain] -= 1
        if not self._domains[domain]:
            del self._domains[domain]
        if isinstance(answer, Exception):
            found.set_exception(answer)
            found.exception()  # seen, even when nobody waited that long
        else:
            found.set_result(answer)
        self._ended.set()
        self._ended = asyncio.Event()


def _domain(host: str) -> str:
    return ".".join(host.rsplit(".", 2)[-2:])
