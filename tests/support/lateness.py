"""What is late because others have the processor."""

import asyncio
import os
import time
from pathlib import Path
from typing import Self


def stood_in_line(pid: int) -> float:
    """Seconds for which a process could have run, but others had the processors."""
    told = Path(f"/proc/{pid}/schedstat")  # Linux's, in ns; elsewhere it is not known
    return int(told.read_text().split()[1]) / 1e9 if told.exists() else 0.0


def own_time() -> float:
    """Seconds of a clock that stands while others have the processor that this process wants."""
    return time.perf_counter() - stood_in_line(os.getpid())


class Lateness:
    """Watches the loop it was made on until it is stopped.

    Attributes:
        seconds: by how much it woke up late, in all.
        worst: by how much at once.
    """

    EVERY = 0.005

    def __init__(self) -> None:
        self.seconds = 0.0
        self.worst = 0.0
        self._slept_at = time.monotonic()
        self._task = asyncio.create_task(self._watch())

    def stop(self) -> Self:
        self._task.cancel()
        self._count()
        return self

    def _count(self) -> None:
        now = time.monotonic()
        late = max(now - self._slept_at - 2 * self.EVERY, 0.0)
        self.seconds += late
        self.worst = max(self.worst, late)
        self._slept_at = now

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.EVERY)
            self._count()
