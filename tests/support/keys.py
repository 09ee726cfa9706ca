"""API keys that may do less than everything, put into the file of a service that is stopped."""

import secrets
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from service.domain.api_keys import Scope, hash_key


def add_key(database: Path, scopes: Iterable[Scope], tenant: str = "default") -> str:
    """A new key of a tenant, which is made as well where it is not there."""
    text, now = secrets.token_urlsafe(), time.time_ns() // 1_000_000
    key = (f"key_{text}", tenant, "a test's", hash_key(text), " ".join(scopes), now)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "INSERT OR IGNORE INTO tenants (id, name, created_at, feed_position, config_version) "
            "VALUES (?, ?, ?, 0, 0)",
            (tenant, tenant, now),
        )
        connection.execute(
            "INSERT INTO api_keys (id, tenant_id, name, hash, scopes, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            key,
        )
    return text
