"""The benchmark's own processes: a line of JSON asks for something, a line of JSON answers.

Each has an event loop of its own in a process of its own, so that it disturbs what is measured as
little as another machine would, but for the processor time, which is counted.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import uvloop

from service.lab.bench.faults import BenchError
from service.lab.bench.processes import environment

#: What a tool can do: a name, and what is called with the question's members.
Skills = Mapping[str, Callable[..., Awaitable[Mapping[str, Any]]]]

_LONGEST_LINE: Final = 64 * 1024 * 1024
_PATIENCE: Final = 120.0


class Tool:
    """A running tool."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process

    async def ask(self, skill: str, **members: Any) -> dict[str, Any]:  # noqa: ANN401  JSON is what it is
        """Have it do something; what it says then."""
        if self._process.stdin is None or self._process.stdout is None:
            raise BenchError(f"The {self.name} cannot be spoken with.")
        self._process.stdin.write(json.dumps([skill, members]).encode() + b"\n")
        line = await asyncio.wait_for(self._process.stdout.readline(), _PATIENCE)
        if not line:
            raise BenchError(f"The {self.name} has ended; what it said is above.")
        answer: dict[str, Any] = json.loads(line)
        return answer


@asynccontextmanager
async def started(module: str, *arguments: str) -> AsyncIterator[Tool]:
    """The tool that the module of this name in this package is, for as long as it is needed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", f"{__package__}.{module}", *arguments),
        env=environment({}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
        process_group=0,
    )
    try:
        yield Tool(module, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def serve(make: Callable[[Path], Awaitable[Skills]]) -> None:
    """Be a tool: answer questions until there are no more; the board is the first argument."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(make))


async def _serve(make: Callable[[Path], Awaitable[Skills]]) -> None:
    skills = await make(Path(sys.argv[1]))
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    # a copy: the pipe is made non-blocking, and closed in the end
    with os.fdopen(os.dup(sys.stdin.fileno()), "rb") as pipe:
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        while line := await reader.readline():
            skill, members = json.loads(line)
            answer = await skills[skill](**members)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
