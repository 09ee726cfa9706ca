"""Rows for a store that has seen much, or has much to do, written by bulk SQL beside the service.

The service is stopped meanwhile. The rows are what it would have written: of the same shape, with
keys of the past, four events to an operation.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from service.domain.ids import key_floor
from service.lab.bench.stamps import EVENT_BYTES, EVENT_TYPE, PER_OPERATION

_MOMENT: Final = 1_700_000_000_000
#: Events of one millisecond: as many as keys of one operation, and well within a key's counter.
_A_MILLISECOND: Final = PER_OPERATION
#: By how much a key grows in a millisecond.
_MILLISECOND: Final = key_floor(_MOMENT + 1) - key_floor(_MOMENT)
#: Rows in one transaction.
_CHUNK: Final = 100_000
#: Bytes of the bodies of history: their number is what counts, and disks have an end.
_SHORT: Final = 100

_NUMBERS: Final = (
    "WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :end) "
)
_KEY: Final = f":base + i / {_A_MILLISECOND} * {_MILLISECOND} + i % {_A_MILLISECOND}"
_OPERATION_KEY: Final = f":base + i / {PER_OPERATION} * {_MILLISECOND} + {PER_OPERATION}"
_BODY: Final = (
    'CAST(printf(\'{"id":"evt_past%012d","type":"' + EVENT_TYPE + '","data":{"stamp":'
    '"%010d0000000000000000","rest":"%s"}}\', i, i, :rest) AS BLOB)'
)

_OPERATIONS: Final = (
    "INSERT INTO operations (key, tenant_id, id, status, sequence, created_at, updated_at, "
    f"described) {_NUMBERS} SELECT {_OPERATION_KEY}, 'default', printf('past-%012d', "
    f"i / {PER_OPERATION}), 'PROCESSING', {PER_OPERATION}, :now, :now, 0 FROM n "
    f"WHERE i % {PER_OPERATION} = 0"
)
_EVENTS: Final = (
    "INSERT INTO events (key, tenant_id, id, type, operation_key, operation_id, sequence, status, "
    f"created_at, feed_position, body) {_NUMBERS} SELECT {_KEY}, 'default', "
    f"printf('evt_past%012d', i), '{EVENT_TYPE}', {_OPERATION_KEY}, printf('past-%012d', "
    f"i / {PER_OPERATION}), i % {PER_OPERATION} + 1, 'PROCESSING', :now, :feed + i + 1, {_BODY} "
    "FROM n"
)
_EVENT_IDS: Final = (
    f"INSERT INTO event_ids (tenant_id, id, event_key) {_NUMBERS} SELECT 'default', "
    f"printf('evt_past%012d', i), {_KEY} FROM n"
)
_FEED: Final = "UPDATE tenants SET feed_position = feed_position + :count WHERE id = 'default'"
_DELIVERIES: Final = (
    "INSERT INTO deliveries (event_key, subscription_no, status, attempts, finished_at) "
    f"{_NUMBERS} SELECT {_KEY}, :subscription, 'delivered', 1, :now FROM n"
)
_ATTEMPTS: Final = (
    "INSERT INTO attempts (event_key, subscription_no, number, trigger, started_at, duration_ms, "
    f"status_code, detail) {_NUMBERS} SELECT {_KEY}, :subscription, 1, 'schedule', :now, 1.5, 200, "
    'CAST(printf(\'{"url":"%s"}\', :rest) AS BLOB) FROM n'
)
_QUEUE: Final = (
    "INSERT INTO delivery_queue (event_key, subscription_no, due_at, attempts, step, trigger) "
    f"{_NUMBERS} SELECT {_KEY}, :subscription, :now, 0, 0, 'schedule' FROM n"
)
_ACCEPTED: Final = (_OPERATIONS, _EVENTS, _EVENT_IDS)
#: Checks that cost time and that a store made for an hour does not need.
_PRAGMAS: Final = ("journal_mode=WAL", "synchronous=OFF", "cache_size=-200000")


def fill_history(path: Path, count: int, since: int) -> None:
    """Events that were accepted from ``since`` (ms) on, delivered and recorded."""
    _fill(path, count, since, (*_ACCEPTED, _DELIVERIES, _ATTEMPTS), _SHORT)


def fill_backlog(path: Path, count: int, since: int) -> None:
    """Events that were accepted from ``since`` (ms) on, and are due."""
    _fill(path, count, since, (*_ACCEPTED, _QUEUE), EVENT_BYTES)


def _fill(path: Path, count: int, since: int, statements: tuple[str, ...], size: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        for pragma in _PRAGMAS:
            file.execute(f"PRAGMA {pragma}")
        given = {
            "base": key_floor(since),
            "now": since,
            "feed": _one(file, "SELECT feed_position FROM tenants WHERE id = 'default'"),
            "subscription": _one(file, "SELECT max(no) FROM subscriptions"),
            "rest": "x" * size,
            "count": count,
        }
        for first in range(0, count, _CHUNK):
            chunk = {**given, "first": first, "end": min(first + _CHUNK, count)}
            _change(file, statements, chunk)
        _change(file, (_FEED,), given)
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _change(file: sqlite3.Connection, statements: tuple[str, ...], given: dict[str, Any]) -> None:
    file.execute("BEGIN IMMEDIATE")
    for text in statements:
        file.execute(text, given)
    file.execute("COMMIT")


def _one(file: sqlite3.Connection, text: str) -> Any:  # noqa: ANN401  whatever the column holds
    return file.execute(text).fetchone()[0]
