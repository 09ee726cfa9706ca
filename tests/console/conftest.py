"""The console, opened anew for every test."""

import pytest

from tests.api.conftest import api, database_path, migrated
from tests.support.api import Api
from tests.support.browsing import browser, chromium, strict_browser, strict_chromium
from tests.support.console import Visitor, administrator

__all__ = [
    "api",
    "browser",
    "chromium",
    "database_path",
    "migrated",
    "strict_browser",
    "strict_chromium",
]


@pytest.fixture
async def admin(api: Api) -> Visitor:
    return await administrator(api)
