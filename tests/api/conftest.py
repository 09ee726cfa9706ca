"""The API, opened anew for every test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.store.sqlite.migrating import migrate
from tests.support.api import Api, opened_api


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database without rows: migrating for every test would be most of the tests' time."""
    path = tmp_path_factory.mktemp("migrated") / "ringback.db"
    migrate(path)
    return path.read_bytes()


@pytest.fixture
def database_path(tmp_path: Path, migrated: bytes) -> Path:
    path = tmp_path / "ringback.db"
    path.write_bytes(migrated)
    return path


@pytest.fixture
async def api(database_path: Path) -> AsyncIterator[Api]:
    async with opened_api(database_path) as api:
        yield api
