"""Threads for work whose cost a receiver decides: the loop does none of it, and owners take turns.

TLS lets the far end choose what a handshake costs: seconds, with many large keys. OpenSSL works
outside the interpreter's lock, so a thread keeps the loop free; but threads that one receiver could
hold all of would keep everybody else's handshakes waiting.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import thread_time
from typing import Any, Final, NamedTuple, TypeVar

_THREADS: Final = 2
#: Seconds of processor time; an ordinary handshake takes 0.001.
_HEAVY_SECONDS: Final = 0.1
_HEAVY_FOR_SECONDS: Final = 60.0
_REMEMBERED: Final = 16_384

T = TypeVar("T")


class _Job(NamedTuple):
    work: Callable[[], Any]
    done: asyncio.Future[Any]


class FairThreads:
    """Runs work for owners, in turn; made on the loop that uses it.

    1. An owner has at most one piece of work in the threads.
    2. Who is known to be quick comes first; whose work was heavy within a minute comes last.
    3. All who are not known to be quick have one of the threads together.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(_THREADS, "tls")
        #: Owners in the order of their turns.
        self._waiting: dict[str, deque[_Job]] = {}
        self._running: set[str] = set()
        #: Owners whose work was quick, and until when others count as heavy; the oldest first.
        self._quick: dict[str, None] = {}
        self._heavy: dict[str, float] = {}

    def run(self, owner: str, work: Callable[[], T]) -> asyncio.Future[T]:
        """What ``work`` returns or raises; if nobody waits for it any more, it is not begun."""
        job = _Job(work, self._loop.create_future())
        self._waiting.setdefault(owner, deque()).append(job)
        self._begin()
        return job.done

    def close(self) -> None:
        """Begin nothing more."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _begin(self) -> None:
        while len(self._running) < _THREADS and (owner := self._next()) is not None:
            jobs = self._waiting.pop(owner)
            job = jobs.popleft()
            if jobs:
                self._waiting[owner] = jobs  # behind the others
            if not job.done.done():
                self._running.add(owner)
                self._executor.submit(self._work, owner, job)

    def _next(self) -> str | None:
        able = [owner for owner in self._waiting if owner not in self._running]
        for owner in able:
            if owner in self._quick:
                return owner
        if not self._running <= self._quick.keys():
            return None
        return next(
            (owner for owner in able if owner not in self._heavy), able[0] if able else None
        )

    def _work(self, owner: str, job: _Job) -> None:
        begun = thread_time()
        result, error = None, None
        try:
            result = job.work()
        except Exception as raised:  # noqa: BLE001 - handed to whoever waits for the result
            error = raised
        took = thread_time() - begun
        with suppress(RuntimeError):  # the loop is closed: nobody waits any longer
            self._loop.call_soon_threadsafe(self._end, owner, took)
            self._loop.call_soon_threadsafe(_tell, job.done, result, error)

    def _end(self, owner: str, took: float) -> None:
        self._running.discard(owner)
        self._judge(owner, took)
        self._begin()

    def _judge(self, owner: str, took: float) -> None:
        now = self._loop.time()
        if took > _HEAVY_SECONDS:
            self._quick.pop(owner, None)
            self._heavy.pop(owner, None)
            self._heavy[owner] = now + _HEAVY_FOR_SECONDS
        # not at once: of a costly handshake all steps but one are quick
        elif self._heavy.get(owner, 0.0) <= now:
            self._heavy.pop(owner, None)
            self._quick.pop(owner, None)
            self._quick[owner] = None
        for known in (self._quick, self._heavy):
            if len(known) > _REMEMBERED:
                del known[next(iter(known))]


def _tell(done: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
