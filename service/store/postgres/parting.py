"""Attempts lie in parts by time, a day each: retention drops a part whole.

Attempts go with their events, but of what is in a part of a day no row is deleted. When no event of
its time is left, and no dead letter, the part is dropped. Where there are dead letters their
attempts are kept: a part with nothing else takes its place. ``attempts_past`` is what there was
before there were parts; in ``attempts_rest`` is what is of no part's time, such as the attempts
of what is replayed after its part is gone. In both, and in what was kept, rows are deleted one by
one.

A delivery never waits long for this: whatever would have to wait for a lock gives up at once, and
is done in the next round.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import asyncpg

from service.domain import ids
from service.ports import StoreUnavailableError
from service.store.database import Database, Tx, alone

#: Milliseconds: how much time a part is for, and how far ahead there are parts.
DAY: Final = 86_400_000
AHEAD: Final = 7 * DAY
#: Milliseconds by which the clocks of others may be ahead.
_MARGIN: Final = DAY // 24
#: Of a part with more dead letters nothing is dropped: to copy what is kept would take too long.
MOST_LETTERS: Final = 50_000
#: Milliseconds that results may have to wait behind a lock that is not to be had.
_PATIENCE: Final = "100"
#: What is done in a later round: somebody had the lock, or it took too long.
_PUT_OFF: Final = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)
_KEPT: Final = "_kept"
NOT_ALLOWED: Final = (
    "Attempts get no parts by the day, and are deleted one by one when they are old: %s. Let the "
    "sweeper's database user own the tables and create some in their schema."
)

#: A day of event keys.
_KEYS: Final = ids.key_floor(ids.key_time(0) + DAY)

_IMPATIENT: Final = f"SELECT set_config('lock_timeout', '{_PATIENCE}', true)"
_PARTS: Final = (
    "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i "
    "JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'attempts'::regclass"
)
_BOUNDS: Final = re.compile(r"FROM \((?:'(\d+)'|MINVALUE)\) TO \('(\d+)'\)")
_STORAGE: Final = (
    "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, "
    "autovacuum_analyze_scale_factor = 0.02"
)
_MAKE: Final = "CREATE TABLE {name} (LIKE attempts INCLUDING INDEXES) WITH (" + _STORAGE + ")"
_ATTACH: Final = "ALTER TABLE attempts ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})"
_DETACH: Final = "ALTER TABLE attempts DETACH PARTITION {name}"
_DROP: Final = "DROP TABLE {name}"
_CLOSE: Final = "LOCK TABLE {name} IN SHARE MODE"
#: Known of the rows before the part is attached: they are not read once more then.
_WITHIN: Final = "ALTER TABLE {name} ADD CHECK (event_key >= {low} AND event_key < {high})"
#: Few of very many: by the letters, each of which is one pair.
_KEEP: Final = (
    "INSERT INTO {name}" + _KEPT + " SELECT a.* FROM dead_letters d JOIN {name} a "
    "USING (event_key, subscription_no) WHERE d.event_key >= {low} AND d.event_key < {high}"
)
_NEWEST_OF_REST: Final = "SELECT max(event_key) FROM attempts_rest"
_HAS_EVENTS: Final = "SELECT EXISTS (SELECT FROM events WHERE key >= ? AND key < ?)"
_LETTERS: Final = (
    "SELECT count(*) FROM (SELECT FROM dead_letters WHERE event_key >= ? AND event_key < ? "
    "LIMIT ?) AS found"
)


class Part(NamedTuple):
    """A part of the table: event keys from ``low`` to before ``high``."""

    low: int
    high: int
    name: str

    @property
    def is_whole(self) -> bool:
        """Whether it is dropped as a whole, and no row of it deleted."""
        return self.name[-1].isdigit()


async def renew(database: Database, retention: int) -> int:
    """Make the next part for the days to come, or drop the oldest that nobody needs; how many.

    Raises:
        InsufficientPrivilegeError: the database's user may not do that; rows go one by one.
    """

    async def job(tx: Tx) -> int:
        await tx.sql(_IMPATIENT)
        parts = await _parts(tx)
        floor = ids.key_floor(tx.now - retention)
        return await _make_next(tx, parts) or await _drop_one(tx, parts, floor)

    try:
        return await database.write(alone(job, 0, "parts"))
    except StoreUnavailableError as error:
        if isinstance(error.__cause__, _PUT_OFF):
            return 0
        raise


async def loose(tx: Tx, keys: Sequence[int]) -> list[int]:
    """Of these events those whose attempts are deleted one by one."""
    whole = [part for part in await _parts(tx) if part.is_whole]
    return [key for key in keys if not any(part.low <= key < part.high for part in whole)]


async def _parts(tx: Tx) -> list[Part]:
    """The parts that are for a time, oldest first."""
    # of one that is dropped meanwhile there are none
    found = [(name, _BOUNDS.search(bounds or "")) for name, bounds in await tx.sql(_PARTS)]
    return sorted(
        Part(int(bounds[1] or 0), int(bounds[2]), name)
        for name, bounds in found
        if bounds is not None
    )


async def _make_next(tx: Tx, parts: Sequence[Part]) -> int:
    """Make the part after the last one, if it is time for it; how many.

    One at a time: while it is attached nobody may write into the rest. Nor of a day that has begun:
    a result would go to the rest that the server had found a place for there just before.
    """
    low = max(_day_of(ids.key_floor(tx.now + _MARGIN)) + _KEYS, parts[-1].high if parts else 0)
    # a day of which there are rows elsewhere gets no part any more
    newest = (await tx.sql(_NEWEST_OF_REST))[0][0]
    if newest is not None and newest >= low:
        low = _day_of(newest) + _KEYS
    if low >= ids.key_floor(tx.now + AHEAD):
        return 0
    at = datetime.fromtimestamp(ids.key_time(low) / 1000, UTC)
    await _do(tx, Part(low, low + _KEYS, f"attempts_{at:%Y%m%d}"), _MAKE, _ATTACH)
    return 1


async def _drop_one(tx: Tx, parts: Iterable[Part], floor: int) -> int:
    """Drop the oldest part of which nothing is needed, or all that is not; how many."""
    for part in parts:
        if part.high > floor or (await tx.sql(_HAS_EVENTS, part[:2]))[0][0]:
            continue
        letters = (await tx.sql(_LETTERS, (*part[:2], MOST_LETTERS + 1)))[0][0]
        if not letters:
            await _do(tx, part, _DROP)
            return 1
        if part.is_whole and letters <= MOST_LETTERS:
            await _thin(tx, part)
            return 1
    return 0


async def _thin(tx: Tx, part: Part) -> None:
    """Put the attempts of dead letters into the place of a part.

    Nothing waits meanwhile but what would write into this part; the last steps take no time.
    """
    kept = part._replace(name=part.name + _KEPT)
    await _do(tx, kept, _MAKE, _WITHIN)
    await _do(tx, part, _CLOSE, _KEEP, _DETACH)
    await _do(tx, kept, _ATTACH)
    await _do(tx, part, _DROP)


async def _do(tx: Tx, part: Part, *statements: str) -> None:
    for statement in statements:
        await tx.sql(statement.format(**part._asdict()))


def _day_of(key: int) -> int:
    """The first key of the same day."""
    return key - key % _KEYS
