"""Programs and proxies of the lab."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from service.lab.processes import Program, free_port
from service.lab.torture.proxy import FaultProxy
from tests.support.receiver import Receiver


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
async def proxy(receiver: Receiver) -> AsyncIterator[FaultProxy]:
    """A proxy before the receiver."""
    dice = random.Random(1)  # noqa: S311  repeatable, and guards nothing
    async with FaultProxy(free_port(), receiver.port, dice) as proxy:
        yield proxy
        await asyncio.sleep(0)  # what was aborted is told so


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Program]:
    """A program that does nothing for long."""
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    program = Program(command, tmp_path, tmp_path / "log")
    yield program
    program.kill()
