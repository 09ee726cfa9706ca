"""What is said to PostgreSQL."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest


class Messages:
    """Counts what is sent to the server: each is a way there and back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sent: list[str] = []
        for name in ("execute", "fetch", "fetchrow", "fetchval"):
            monkeypatch.setattr(asyncpg.Connection, name, self._noting(name))

    def _noting(self, name: str) -> Callable[..., Awaitable[Any]]:
        send: Callable[..., Awaitable[Any]] = getattr(asyncpg.Connection, name)

        async def noting(connection: object, query: str, *args: Any, **kw: Any) -> Any:  # noqa: ANN401  as it is
            self._sent.append(query.split(maxsplit=1)[0])
            return await send(connection, query, *args, **kw)

        return noting

    def take(self) -> list[str]:
        """The first words of the messages since the last take."""
        sent, self._sent = self._sent, []
        return sent
