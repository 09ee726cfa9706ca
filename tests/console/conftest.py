"""The console, opened anew for every test."""

from tests.api.conftest import api, database_path, migrated

__all__ = ["api", "database_path", "migrated"]
