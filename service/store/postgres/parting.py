"""Events and attempts lie in parts by time, a day each: retention drops a part whole.

Of what is in a part of a day no row is deleted when it is old; what hangs on its events is
(:mod:`service.store.forgetting`). When all events of its time are forgotten, the part is dropped.
Where there are dead letters their attempts are kept: a part with nothing else takes its place.
``events_past`` and ``attempts_past`` are what there was before there were parts; in ``events_rest``
and ``attempts_rest`` is what is of no part's time, such as the attempts of what is replayed after
its part is gone. In these, and in what was kept, rows are deleted one by one.

A delivery never waits long for this: whatever would have to wait for a lock gives up at once, and
is done in the next round.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import asyncpg

from service.domain import ids
from service.ports import StoreUnavailableError
from service.store.database import Database, Stretch, Tx, alone
from service.store.postgres import excluding
from service.store.postgres.connections import Address
from service.store.postgres.excluding import DONE, NOTHING, Part, Parted, Step

#: Milliseconds: how much time a part is for, and how far ahead there are parts.
DAY: Final = 86_400_000
AHEAD: Final = 7 * DAY
#: Milliseconds by which transactions of others may be behind.
_MARGIN: Final = DAY // 24
#: Milliseconds that are left at least until the time of a part that is not made at once.
_LEAD: Final = 2 * DAY
#: Of a part with more dead letters nothing is dropped: to copy what is kept would take too long.
MOST_LETTERS: Final = 50_000
#: Milliseconds that results may have to wait behind a lock that is not to be had.
_PATIENCE: Final = "100"
#: What is done in a later round: somebody had the lock, or it took too long.
_PUT_OFF: Final = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)
_KEPT: Final = "_kept"
NOT_ALLOWED: Final = (
    "Events and attempts get no parts by the day, and are deleted one by one when they are old: "
    "%s. Let the sweeper's database user own the tables and create some in their schema."
)

#: A day of event keys.
_KEYS: Final = ids.key_floor(ids.key_time(0) + DAY)

_IMPATIENT: Final = f"SELECT set_config('lock_timeout', '{_PATIENCE}', true)"
_PARTS: Final = (
    "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i "
    "JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = ?::text::regclass"
)
_BOUNDS: Final = re.compile(r"FROM \((?:'(\d+)'|MINVALUE)\) TO \('(\d+)'\)")
_STORAGE: Final = (
    "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, "
    "autovacuum_analyze_scale_factor = 0.02"
)
#: Like the rest, which has the indexes that all parts together cannot have.
_MAKE: Final = "CREATE TABLE {name} (LIKE {table}_rest INCLUDING INDEXES) WITH (" + _STORAGE + ")"
_ATTACH: Final = "ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})"
_DETACH: Final = "ALTER TABLE {table} DETACH PARTITION {name}"
_DROP: Final = "DROP TABLE {name}"
_CLOSE: Final = "LOCK TABLE {name} IN SHARE MODE"
#: In the order in which whoever works with the table has them locked.
_SEIZE: Final = "LOCK TABLE ONLY {table}, {name} IN ACCESS EXCLUSIVE MODE"
#: Known of the rows before the part is attached: they are not read once more then.
_WITHIN: Final = "ALTER TABLE {name} ADD CHECK ({key} >= {low} AND {key} < {high})"
#: Few of very many: by the letters, each of which is one pair.
_KEEP: Final = (
    "INSERT INTO {name}" + _KEPT + " SELECT a.* FROM dead_letters d JOIN {name} a "
    "USING (event_key, subscription_no) WHERE d.event_key >= {low} AND d.event_key < {high}"
)
_NEWEST_OF_REST: Final = "SELECT max({key}) FROM {table}_rest"
_FORGOTTEN: Final = "SELECT forgotten_before FROM retention WHERE no = 1"
#: An event that is not forgotten; besides, a delivery that nothing else is left of.
_IS_NEEDED: Final = (
    "SELECT EXISTS (SELECT FROM events WHERE key >= ? AND key < ? "
    f"AND key >= ({_FORGOTTEN})) "
    "OR EXISTS (SELECT FROM delivery_queue q WHERE event_key >= ? AND event_key < ? "
    "AND NOT EXISTS (SELECT FROM dead_letters d "
    "WHERE d.event_key = q.event_key AND d.subscription_no = q.subscription_no))"
)
_LETTERS: Final = (
    "SELECT count(*) FROM (SELECT FROM dead_letters WHERE event_key >= ? AND event_key < ? "
    "LIMIT ?) AS found"
)


#: A dead letter has its own copy of the event, but not of the attempts.
PARTED: Final = (
    Parted("events", "key", is_kept=False),
    Parted("attempts", "event_key", is_kept=True),
)


async def renew(database: Database, address: Address, retention: int) -> int:
    """Make the next part of each table, or drop the oldest that nobody needs; how many steps.

    Raises:
        InsufficientPrivilegeError: the database's user may not do that; rows go one by one.
    """
    return sum([await _renew(database, address, each, retention) for each in PARTED])


async def _renew(database: Database, address: Address, parted: Parted, retention: int) -> int:
    async def job(tx: Tx) -> Step:
        await tx.sql(_IMPATIENT)
        parts = await _parts(tx, parted.table)
        floor = ids.key_floor(tx.now - max(retention, _MARGIN))
        done = await _make_next(tx, parted, parts)
        if done is NOTHING:
            done = await _drop_one(tx, parted, parts, floor)
        if done is NOTHING:
            await excluding.clear(tx, parted.table)
        return done

    try:
        step = await database.write(alone(job, NOTHING, "parts"))
    except StoreUnavailableError as error:
        if isinstance(error.__cause__, _PUT_OFF):
            return 0
        raise
    if step.unproved:
        return int(await excluding.prove(address, parted.table, step.unproved))
    return step.done


async def stretches(tx: Tx, table: str) -> list[Stretch]:
    """All keys there can be, oldest first, by how rows of the table are deleted.

    What is so young that others may still write rows before it goes one by one.
    """
    settled = ids.key_floor(tx.now - _MARGIN)
    found: list[Stretch] = []
    low = 0
    for part in await _parts(tx, table):
        high = min(part.high, settled)
        if part.is_whole and part.low < high:
            if low < part.low:
                found.append(Stretch(low, part.low, is_whole=False))
            found.append(Stretch(part.low, high, is_whole=True))
            low = high
    return [*found, Stretch(low, ids.MAX_KEY, is_whole=False)]


async def overdue(tx: Tx) -> str | None:
    """The oldest part that should have been dropped for more than a day; ``None``: there is none.

    What is of its time was all forgotten, as was what came within a day of it.
    """
    floor = (await tx.sql(_FORGOTTEN))[0][0] - _KEYS
    found = [
        part
        for parted in PARTED
        for part in await _parts(tx, parted.table)
        if part.high <= floor and _is_over(part, await _letters(tx, parted, part))
    ]
    return min(found).name if found else None


async def _parts(tx: Tx, table: str) -> list[Part]:
    """The parts that are for a time, oldest first."""
    # of one that is dropped meanwhile there are none
    rows = await tx.sql(_PARTS, (table,))
    found = [(name, _BOUNDS.search(bounds or "")) for name, bounds in rows]
    return sorted(
        Part(int(bounds[1] or 0), int(bounds[2]), name)
        for name, bounds in found
        if bounds is not None
    )


async def _make_next(tx: Tx, parted: Parted, parts: Sequence[Part]) -> Step:
    """Make the next part that is missing, if it is time for it.

    The first is today's, if there is nothing of today yet. A job whose row the server had found a
    place for in the rest just before runs once more. Where it has to be proved first that the rest
    has nothing of the part's time, nobody may write of that time until the part is there: so it
    does not begin soon.
    """
    is_light = await excluding.is_light(tx, parted.table)
    soonest = ids.key_floor(tx.now if is_light else tx.now + _LEAD)
    # a day of which there are rows elsewhere gets no part any more
    newest = (await tx.sql(_NEWEST_OF_REST.format(**parted._asdict())))[0][0]
    low = _day_of(max(soonest, 0 if newest is None else newest + _KEYS))
    for part in parts:
        if part.low < low + _KEYS and low < part.high:
            low = part.high
    if low >= ids.key_floor(tx.now + AHEAD):
        return NOTHING
    at = datetime.fromtimestamp(ids.key_time(low) / 1000, UTC)
    made = Part(low, low + _KEYS, f"{parted.table}_{at:%Y%m%d}")
    return await excluding.proved(tx, parted, made) or await _made(tx, parted, made)


async def _made(tx: Tx, parted: Parted, made: Part) -> Step:
    await _do(tx, parted, made, _MAKE, _ATTACH)
    await excluding.clear(tx, parted.table)
    return DONE


async def _drop_one(tx: Tx, parted: Parted, parts: Iterable[Part], floor: int) -> Step:
    """Drop the oldest part of which nothing is needed, or all that is not."""
    for part in parts:
        letters = None if part.high > floor else await _letters(tx, parted, part)
        if letters == 0:
            return await _drop(tx, parted, part)
        if _is_over(part, letters):
            return await excluding.proved(tx, parted, part) or await _thin(tx, parted, part)
    return NOTHING


def _is_over(part: Part, letters: int | None) -> bool:
    """Whether a part is dropped, or what is kept of it takes its place."""
    if letters is None:
        return False
    return letters == 0 or (part.is_whole and letters <= MOST_LETTERS)


async def _letters(tx: Tx, parted: Parted, part: Part) -> int | None:
    """For how many dead letters rows of a part are kept; ``None``: the whole part is needed."""
    if (await tx.sql(_IS_NEEDED, part[:2] * 2))[0][0]:
        return None
    if not parted.is_kept:
        return 0
    return int((await tx.sql(_LETTERS, (*part[:2], MOST_LETTERS + 1)))[0][0])


async def _drop(tx: Tx, parted: Parted, part: Part) -> Step:
    """Drop a part, unless somebody had just written what it is needed for."""
    await _do(tx, parted, part, _SEIZE)
    if await _letters(tx, parted, part) != 0:
        return NOTHING
    await _do(tx, parted, part, _DROP)
    return DONE


async def _thin(tx: Tx, parted: Parted, part: Part) -> Step:
    """Put the rows that are kept for dead letters into the place of a part.

    Nothing waits meanwhile but what would write into this part; the last steps take no time.
    """
    await _do(tx, parted, part, _CLOSE)
    if await _letters(tx, parted, part) is None:
        return NOTHING
    kept = part._replace(name=part.name + _KEPT)
    await _do(tx, parted, kept, _MAKE, _WITHIN)
    await _do(tx, parted, part, _KEEP, _DETACH)
    await _do(tx, parted, kept, _ATTACH)
    await _do(tx, parted, part, _DROP)
    await excluding.clear(tx, parted.table)
    return DONE


async def _do(tx: Tx, parted: Parted, part: Part, *statements: str) -> None:
    for statement in statements:
        await tx.sql(statement.format(**parted._asdict(), **part._asdict()))


def _day_of(key: int) -> int:
    """The first key of the same day."""
    return key - key % _KEYS
