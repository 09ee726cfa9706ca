"""A process of a test's own that says what it knows whenever it is asked: a line for a line.

It prints its first line of JSON once it is ready, one more for every line that it reads, and ends
with its standard input, so that it never outlives who started it.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.server import ROOT, environment

#: Bytes of one line: what was seen since the last question.
_LINE = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Talker:
    """Such a process, seen from who started it."""

    process: asyncio.subprocess.Process
    #: What it said when it was ready.
    first: Any

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    async def ask(self) -> Any:  # noqa: ANN401  any JSON
        """What it says now."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        return await _line(self.process)


@asynccontextmanager
async def talking(module: str, *arguments: str) -> AsyncIterator[Talker]:
    """Run a module of ours as such a process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", module, *arguments),
        cwd=ROOT,
        env=environment({}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        limit=_LINE,
    )
    try:
        yield Talker(process, await _line(process))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _line(process: asyncio.subprocess.Process) -> Any:  # noqa: ANN401  any JSON
    assert process.stdout is not None
    return json.loads(await process.stdout.readline())


async def talk(first: object, more: Callable[[], object]) -> None:
    """The process's own side: say ``first``, then answer every line with what ``more`` gives."""
    _say(first)
    while await asyncio.to_thread(sys.stdin.readline):
        _say(more())


def _say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
