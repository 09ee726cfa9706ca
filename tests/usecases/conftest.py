"""A real store for the use cases, in a temporary file."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.clock import FakeClock
from tests.support.world import World, migrated_file, opened_world


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def world(tmp_path: Path, clock: FakeClock) -> AsyncIterator[World]:
    path = tmp_path / "ringback.db"
    path.write_bytes(migrated_file())
    async with opened_world(path, clock) as world:
        yield world
