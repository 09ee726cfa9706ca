"""The console, opened anew for every test."""

from collections.abc import AsyncIterator

import pytest

from tests.api.conftest import api, database_path, migrated
from tests.support.api import Api
from tests.support.console import Visitor, administrator

__all__ = ["api", "database_path", "migrated"]


@pytest.fixture
async def admin(api: Api) -> AsyncIterator[Visitor]:  # noqa: F811  that is how fixtures are asked for
    yield await administrator(api)
