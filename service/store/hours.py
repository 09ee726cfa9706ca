"""Attempts of one subscription by the hour: what of its counts is past their day, summed up.

Whoever forgets counts adds them here in the same transaction, so nothing that is counted while
deliveries go is counted twice for it. An hour may come in parts: one process at a time adds to it.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import bindparam, select

from service.domain.tallies import HOURS_KEPT, Tally, added, slice_of
from service.domain.traffic import HOUR
from service.store.database import Database, Tx
from service.store.schema import Big, subscriptions
from service.store.schema_health import attempt_hours
from service.store.statements import CHUNK, Many, Row, Statement, among, one_of

_own = attempt_hours.c
_KEY: Final = tuple(attempt_hours.primary_key.columns)
_KEYS: Final = tuple(column.name for column in _KEY)
_COLUMNS: Final = tuple(column.name for column in attempt_hours.columns)
_REPLACE: Final = f"ON CONFLICT ({', '.join(_KEYS)}) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in _COLUMNS if name not in _KEYS
)
#: A subscription of one operation is over with that, and there may be as many of them.
_SHOWN: Final = Statement(
    select(subscriptions.c.no).where(
        among(subscriptions.c.no, "lanes"),
        subscriptions.c.deleted_at.is_(None),
        subscriptions.c.operation_id.is_(None),
    )
)
_KNOWN: Final = Many(
    f"SELECT {', '.join(_COLUMNS)} FROM attempt_hours WHERE {one_of(_KEYS)}", *_KEY
)
_SINCE: Final = Statement(
    select(_own.hour_at, _own.succeeded, _own.failed, _own.took).where(
        _own.subscription_no == bindparam("lane"), _own.hour_at >= bindparam("since")
    )
)
_PAST: Final = Statement(
    select(*_KEY)
    .where(_own.hour_at < bindparam("now", type_=Big) - bindparam("kept", type_=Big))
    .limit(CHUNK)
)
_OF_TENANT: Final = Statement(
    select(*_KEY)
    .join(subscriptions, subscriptions.c.no == _own.subscription_no)
    .where(subscriptions.c.tenant_id == bindparam("tenant"))
    .limit(CHUNK)
)
_DELETE: Final = Many(f"DELETE FROM attempt_hours WHERE {one_of(_KEYS)}", *_KEY)


async def add(tx: Tx, counted: Iterable[tuple[int, Tally]]) -> None:
    """Add what was counted of subscriptions, given by their numbers, to their hours.

    No other transaction may do so at the same time.
    """
    of_each: dict[Row, list[Tally]] = {}
    for lane, tally in counted:
        of_each.setdefault((lane, slice_of(tally.at, HOUR)), []).append(tally)
    shown = {no for (no,) in await tx.fetch(_SHOWN, lanes=sorted({key[0] for key in of_each}))}
    keys = sorted(key for key in of_each if key[0] in shown)
    for lane, *row in await tx.each(_KNOWN, keys):
        of_each[lane, row[0]].append(_tally(row))
    rows = [_row(key, added(key[1], of_each[key])) for key in keys]
    await tx.insert(attempt_hours, _COLUMNS, rows, _REPLACE)


async def since(tx: Tx, lane: int, at: int) -> list[Tally]:
    """The hours of a subscription that began at ``at`` (ms) or later."""
    return [_tally(row) for row in await tx.fetch(_SINCE, lane=lane, since=at)]


async def is_due(database: Database) -> bool:
    """Whether anything is past its time."""
    return bool(await database.look(_PAST, kept=HOURS_KEPT))


async def forget(tx: Tx) -> int:
    """Delete a batch of what is past its time; how much."""
    return await _delete(tx, await tx.fetch(_PAST, now=tx.now, kept=HOURS_KEPT))


async def purge(tx: Tx, tenant_id: str) -> int:
    """Delete a batch of what was counted of a tenant's subscriptions; how many rows."""
    return await _delete(tx, await tx.fetch(_OF_TENANT, tenant=tenant_id))


async def _delete(tx: Tx, keys: Sequence[Row]) -> int:
    await tx.each(_DELETE, keys)
    return len(keys)


def _row(key: Row, tally: Tally) -> Row:
    took = json.dumps(sorted(tally.took.items()), separators=(",", ":")).encode()
    return (*key, tally.succeeded, tally.failed, took)


def _tally(row: Sequence[Any]) -> Tally:
    at, succeeded, failed, took = row
    return Tally(at, succeeded, failed, dict(json.loads(took)))
