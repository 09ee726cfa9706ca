"""Questions to name servers, each in a thread of its own, so that none waits for another.

A thread that hangs in the system's resolver cannot be stopped. Hence no pool: a few names whose
servers never answer would take all of its threads, and the process could not end before they do.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from service.sender.attempt import Attempt
from service.sender.errors import CrowdedOutError
from service.sender.owners import owner_of

#: Finds a name's addresses; may block, may raise OSError, is called in a thread.
Lookup = Callable[[str], Sequence[str]]

_SECONDS: Final = 5.0
#: Threads at once, by whether the name was answered last time: what strangers' names take up, those
#: that are known to work do not wait for.
_MOST: Final = {True: 128, False: 384}
#: Of these, for names of one owner: who owns a domain makes names in it at no cost.
_MOST_PER_OWNER: Final = 32
_REMEMBERED: Final = 16_384


class LookupTimeoutError(OSError):
    """The name server took too long. Not a TimeoutError: the attempt's own time is not up."""


class Lookups:
    """Runs look-ups; made on the loop that uses it."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._loop = asyncio.get_running_loop()
        self._pending: dict[str, asyncio.Future[Sequence[str]]] = {}
        #: Names that were answered, the oldest answer first.
        self._answered: dict[str, None] = {}
        #: Threads by their share, and by share and owner.
        self._busy: Counter[bool | tuple[bool, str]] = Counter()
        self._ended = asyncio.Event()

    async def find(self, host: str, attempt: Attempt | None = None) -> Sequence[str]:
        """The addresses of ``host``, which ``attempt`` wants.

        Raises:
            LookupTimeoutError: no answer came in time.
            CrowdedOutError: there was no room to ask in that time, which is nobody's answer.
            OSError: the name server says that there are none.
        """
        if host not in self._pending and not self._has_room(host):
            await self._wait_for_room(host, attempt)
        try:
            async with asyncio.timeout(_SECONDS):
                # Shielded: the thread goes on, and whoever asks next may join it. So a name whose
                # servers hang never holds more than one thread.
                return await asyncio.shield(self._pending.get(host) or self._begin(host))
        except TimeoutError:
            raise LookupTimeoutError from None

    async def _wait_for_room(self, host: str, attempt: Attempt | None) -> None:
        if attempt is not None:
            attempt.crowded_out = True
        try:
            async with asyncio.timeout(_SECONDS):
                while host not in self._pending and not self._has_room(host):
                    await self._ended.wait()
        except TimeoutError:
            raise CrowdedOutError from None
        if attempt is not None:
            attempt.crowded_out = False

    def _has_room(self, host: str) -> bool:
        share = host in self._answered
        is_full = self._busy[share] >= _MOST[share]
        return not is_full and self._busy[share, owner_of(host)] < _MOST_PER_OWNER

    def _begin(self, host: str) -> asyncio.Future[Sequence[str]]:
        found: asyncio.Future[Sequence[str]] = self._loop.create_future()
        share = host in self._answered
        # until it is answered again: a name that hangs has that place once
        self._answered.pop(host, None)
        work = threading.Thread(
            target=self._work, args=(host, share, found), name="resolve", daemon=True
        )
        work.start()
        self._pending[host] = found
        self._busy.update((share, (share, owner_of(host))))
        return found

    def _work(self, host: str, share: bool, found: asyncio.Future[Sequence[str]]) -> None:  # noqa: FBT001  a key
        answer: Sequence[str] | Exception
        try:
            answer = self._lookup(host)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the answer
            answer = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any longer
            self._loop.call_soon_threadsafe(self._end, host, share, found, answer)

    def _end(
        self,
        host: str,
        share: bool,  # noqa: FBT001  a key
        found: asyncio.Future[Sequence[str]],
        answer: Sequence[str] | Exception,
    ) -> None:
        self._pending.pop(host)
        self._leave(share, owner_of(host))
        if isinstance(answer, Exception):
            found.set_exception(answer)
            found.exception()  # seen, even when nobody waited that long
        else:
            found.set_result(answer)
            self._remember(host)
        self._ended.set()
        self._ended = asyncio.Event()

    def _leave(self, share: bool, owner: str) -> None:  # noqa: FBT001  a key
        self._busy.subtract((share, (share, owner)))
        if not self._busy[share, owner]:
            del self._busy[share, owner]

    def _remember(self, host: str) -> None:
        self._answered[host] = None
        if len(self._answered) > _REMEMBERED:
            del self._answered[next(iter(self._answered))]
