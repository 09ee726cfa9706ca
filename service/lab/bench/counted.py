"""The service, with its statements counted on a board, and if so wanted a slow disk.

    python -m service.lab.bench.counted BOARD SYNC_MS serve [--roles ...]

What is counted is what the database is given: the driver's connections are of a class that counts,
which costs about a microsecond a statement. A disk whose fsync takes SYNC_MS longer is had by
letting each commit of SQLite take that much longer, in the driver's own thread: with
``synchronous=FULL`` a commit is one fsync. (Those of a checkpoint, two for about a thousand pages,
are as fast as the disk is.) PostgreSQL is told to be slow itself.
"""

import re
import sqlite3
import sys
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Self

import asyncpg
from sqlalchemy import Engine, event

from service import cli
from service.lab.bench.board import Board, Slot

#: What a statement is: its text and its parameters.
Seen = Callable[[str, Any], None]

_FRAME = re.compile(r"(?:BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)\b")
_COMMIT = "COMMIT"
_WRITES = re.compile(r"\b(?:INSERT INTO|DELETE FROM|(?<!FOR )UPDATE)\b")


def watch(seen: Seen, alone: Callable[[], None] = lambda: None) -> Callable[[], None]:
    """Have ``seen`` told of each statement, once it is done, on connections made from now on.

    ``alone`` is told of each that writes and is a transaction by itself, in PostgreSQL: no COMMIT
    comes after it. Call what is returned to have no further connections watched.
    """
    ends = (_watch_sqlite(seen), _watch_postgres(seen, alone))

    def end() -> None:
        for each in ends:
            each()

    return end


def _watch_sqlite(seen: Seen) -> Callable[[], None]:
    class Cursor(sqlite3.Cursor):
        def execute(self, sql: str, parameters: Any = (), /) -> Self:  # noqa: ANN401  whatever the driver takes
            super().execute(sql, parameters)
            seen(sql, parameters)
            return self

    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = Cursor) -> Any:  # noqa: ANN401  as the driver's stub has it
            return super().cursor(factory)

        def execute(self, sql: str, parameters: Any = (), /) -> Cursor:  # noqa: ANN401  whatever the driver takes
            return Cursor(self).execute(sql, parameters)

    def prepare(_dialect: Any, _record: Any, _arguments: Any, named: dict[str, Any]) -> None:  # noqa: ANN401  SQLAlchemy's own signature
        named["factory"] = Connection

    event.listen(Engine, "do_connect", prepare)
    return lambda: event.remove(Engine, "do_connect", prepare)


def _watch_postgres(seen: Seen, alone: Callable[[], None]) -> Callable[[], None]:
    class Connection(asyncpg.Connection):  # type: ignore[misc]  # the library has no types
        async def execute(self, query: str, *args: Any, timeout: Any = None) -> Any:  # noqa: ANN401, ASYNC109  the driver's own signature
            answer = await super().execute(query, *args, timeout=timeout)
            if not args:
                seen(query, args)
            return answer

        async def _execute(self, query: str, args: Any, *rest: Any, **named: Any) -> Any:  # noqa: ANN401  as above; all that has arguments or fetches comes here
            rows = await super()._execute(query, args, *rest, **named)
            seen(query, args)
            if not self.is_in_transaction() and _writes(query):
                alone()
            return rows

    plain = asyncpg.connect
    asyncpg.connect = partial(plain, connection_class=Connection)

    def end() -> None:
        asyncpg.connect = plain

    return end


def is_frame(sql: str) -> bool:
    """Whether a statement only begins or ends a transaction or a savepoint."""
    return _FRAME.match(sql) is not None


@lru_cache
def _writes(sql: str) -> bool:
    return _WRITES.search(sql) is not None


def counting(board: Board, sync_seconds: float) -> Seen:
    """Counts on ``board``; makes every commit so much slower."""

    def seen(sql: str, _parameters: Any) -> None:  # noqa: ANN401  as in Seen
        board.add(Slot.STATEMENTS)
        if not is_frame(sql):
            board.add(Slot.WORK)
        elif sql == _COMMIT:
            board.add(Slot.COMMITS)
            if sync_seconds:
                time.sleep(sync_seconds)

    return seen


if __name__ == "__main__":
    _, board_path, sync_ms, *rest = sys.argv
    board = Board(Path(board_path))
    watch(counting(board, float(sync_ms) / 1000), partial(board.add, Slot.COMMITS))
    sys.argv = ["ringback", *rest]
    cli.main()
