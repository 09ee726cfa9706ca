"""The console, opened anew for every test."""

import pytest

from tests.api.conftest import api, database_path, migrated
from tests.support.api import Api
from tests.support.console import Visitor, administrator

__all__ = ["api", "database_path", "migrated"]


@pytest.fixture
async def admin(api: Api) -> Visitor:
    return await administrator(api)
