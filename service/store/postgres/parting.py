"""Events and attempts lie in parts by time, a day each: retention drops a part whole.

Of what is in a part of a day no row is deleted when it is old; what hangs on its events is
(:mod:`service.store.forgetting`). When all events of its time are forgotten, the part is dropped.
Where there are dead letters their attempts are kept: a part with nothing else takes its place
(:mod:`service.store.postgres.thinning`). ``events_past`` and ``attempts_past`` are what there was
before there were parts; in ``events_rest`` and ``attempts_rest`` is what is of no part's time, such
as the attempts of what is replayed after its part is gone. In these, and in what was kept, rows are
deleted one by one.

A delivery never waits long for this: whatever would have to wait for a lock gives up at once, and
is done in the next round. No table and no part is in the way of the next, and nothing that is to be
made in that of what is to be dropped: what is put off, or cannot go as long as somebody's view is
on it, has its next turn after all others, and is told of when they are gone.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import asyncpg

from service.domain import ids
from service.ports import StoreUnavailableError
from service.store.database import Database, Job, Stretch, Tx, alone
from service.store.postgres import excluding, faults, thinning
from service.store.postgres.connections import Address
from service.store.postgres.excluding import DONE, NOTHING, Part, Parted, Step
from service.store.postgres.thinning import ATTACH, DROP, MAKE, do

#: Milliseconds: how much time a part is for, and how far ahead there are parts.
DAY: Final = 86_400_000
AHEAD: Final = 7 * DAY
#: Milliseconds by which transactions of others may be behind.
_MARGIN: Final = DAY // 24
#: Milliseconds that are left at least until the time of a part that is not made at once.
_LEAD: Final = 2 * DAY
#: Milliseconds that results may have to wait behind a lock that is not to be had.
_PATIENCE: Final = "100"
#: What is done in a later round: somebody had the lock, or it took too long.
_PUT_OFF: Final = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)
#: Parts of a table that are put off in a round, each of which others had to wait for in vain.
_TRIES: Final = 3
NOT_ALLOWED: Final = (
    "Events and attempts get no parts by the day, and are deleted one by one when they are old: "
    "%s. Let the sweeper's database user own the tables and create some in their schema."
)

#: Nothing, as it failed or is put off: there may be something to do.
_FAILED: Final = Step(0)

#: A day of event keys.
_KEYS: Final = ids.key_floor(ids.key_time(0) + DAY)

_IMPATIENT: Final = f"SELECT set_config('lock_timeout', '{_PATIENCE}', true)"
_PARTS: Final = (
    "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i "
    "JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = ?::text::regclass"
)
_BOUNDS: Final = re.compile(r"FROM \((?:'(\d+)'|MINVALUE)\) TO \('(\d+)'\)")
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
_HAS_LETTERS: Final = (
    "SELECT EXISTS (SELECT FROM dead_letters WHERE event_key >= ? AND event_key < ?)"
)


#: A dead letter has its own copy of the event, but not of the attempts.
PARTED: Final = (
    Parted("events", "key", is_kept=False),
    Parted("attempts", "event_key", is_kept=True),
)


async def renew(database: Database, address: Address, retention: int, late: list[str]) -> int:
    """Make the next part of each table, or drop one that nobody needs; how many steps.

    It may take long, in nobody's way. Of what could not go before, which is in ``late``, each has
    its turn after all others. What fails by itself is raised when there is nothing else to do.

    Raises:
        StoreUnavailableError: some of it was not done, though what could be was.
        InsufficientPrivilegeError: the database's user may not do that; rows go one by one.
        ExceptionGroup: several things failed, each of which would be raised.
    """
    done, failed = 0, []
    for parted in PARTED:
        renewal = _Renewal(database, address, parted, retention, late)
        done += await renewal.run()
        failed += renewal.failed
    if failed and not (done and all(_is_own(error) for error in failed)):
        raise _of_all(failed)
    return done


def _is_own(error: Exception) -> bool:
    """Whether the store is there, and it would fail once more at once."""
    return not isinstance(error, StoreUnavailableError)


def _of_all(failed: Sequence[Exception]) -> Exception:
    """What is raised where all of this failed."""
    denied = [each for each in failed if isinstance(each, asyncpg.InsufficientPrivilegeError)]
    away = [each for each in failed if not _is_own(each)]
    if len(failed) == len(denied) + len(away):
        return (denied or away)[0]
    return failed[0] if len(failed) == 1 else ExceptionGroup("Parts of tables failed", failed)


class _Renewal:
    """A round of what is to be done about the parts of a table."""

    def __init__(
        self,
        database: Database,
        address: Address,
        parted: Parted,
        retention: int,
        late: list[str],
    ) -> None:
        self._database = database
        self._address = address
        self._parted = parted
        self._retention = retention
        self._late = late
        #: Whether there was no part to be made.
        self._is_idle = False
        #: The part that is tried, and those that have to wait for the next round.
        self._tried: str | None = None
        self._passed: list[str] = []
        #: How often others may have had to wait for what was not done.
        self._waits = 0
        #: All that went wrong.
        self.failed: list[Exception] = []

    async def run(self) -> int:
        """Make a part, or drop one; how many. It raises nothing."""
        return await self._make() or await self._drop()

    async def _make(self) -> int:
        """Make the next part, or what has to be there before it; how many."""
        step = await self._step(self._make_one)
        self._is_idle = step is NOTHING
        return await self._finished(step)

    async def _drop(self) -> int:
        """Drop the oldest part that can be, or what has to be there before that; how many."""
        self._waits = 0
        while self._waits < _TRIES:
            step = await self._step(self._drop_one)
            if self._tried is None:  # there is none, or the store is away
                break
            if step.is_under_way:
                continue
            if self._tried in self._late:
                self._late.remove(self._tried)
            if done := await self._finished(step):
                return done
            self._passed.append(self._tried)
            self._late.append(self._tried)
        return 0

    async def _finished(self, step: Step) -> int:
        """See to it that what a step is only the beginning of comes to its end; how many."""
        if not step.unproved:
            return step.done
        try:
            done = await excluding.prove(self._address, self._parted.table, step.unproved)
        except Exception as error:  # noqa: BLE001  raised at the end: the next part may go
            self.failed.append(error)
            done = False
        self._waits += not done
        return int(done)

    async def _step(self, job: Job[Step]) -> Step:
        """What a job did: nothing as well where it failed, or is put off."""
        self._tried = None
        try:
            return await self._database.write(alone(job, NOTHING, "parts"))
        except StoreUnavailableError as error:
            self._waits += 1
            if not isinstance(error.__cause__, _PUT_OFF):
                self.failed.append(error)
        except Exception as error:  # noqa: BLE001  raised at the end: the next part may go
            self.failed.append(error)
        return _FAILED

    async def _make_one(self, tx: Tx) -> Step:
        await tx.sql(_IMPATIENT)
        return await _make_next(tx, self._parted, await _parts(tx, self._parted.table))

    async def _drop_one(self, tx: Tx) -> Step:
        self._tried = None  # it may run more than once
        await tx.sql(_IMPATIENT)
        floor = ids.key_floor(tx.now - max(self._retention, _MARGIN))
        for part in sorted(await _parts(tx, self._parted.table), key=self._turn):
            if part.high <= floor and part.name not in self._passed:
                has_letters = await _has_letters(tx, self._parted, part)
                if _is_over(part, has_letters=has_letters):
                    self._tried = part.name
                    return await (_thin if has_letters else _drop)(tx, self._parted, part)
        await self._tidy(tx)
        return NOTHING

    def _turn(self, part: Part) -> int:
        """Whose turn it is first: oldest first, and then who waits for the longest time."""
        return self._late.index(part.name) if part.name in self._late else -1

    async def _tidy(self, tx: Tx) -> None:
        await thinning.tidy(tx, self._parted.table, self._passed)
        if self._is_idle:
            wanted = [faults.PROOF + each for each in self._passed]
            await excluding.clear(tx, self._parted.table, but=wanted)


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
        if part.high <= floor and _is_over(part, has_letters=await _has_letters(tx, parted, part))
    ]
    return min(found).name if found else None


async def refusing(tx: Tx) -> str | None:
    """What a process left behind that was to make today's part: it refuses what is of today."""
    low = _day_of(ids.key_floor(tx.now))
    for parted in PARTED:
        left = faults.PROOF + _name_of(parted, low)
        has_part = any(each.low <= low < each.high for each in await _parts(tx, parted.table))
        if not has_part and left in await excluding.there(tx, parted.table):
            return left
    return None


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
    made = Part(low, low + _KEYS, _name_of(parted, low))
    return await excluding.proved(tx, parted, made) or await _made(tx, parted, made)


async def _made(tx: Tx, parted: Parted, made: Part) -> Step:
    await do(tx, parted, made, MAKE, ATTACH)
    await excluding.clear(tx, parted.table)
    return DONE


def _is_over(part: Part, *, has_letters: bool | None) -> bool:
    """Whether a part is dropped, or what is kept of it takes its place."""
    return has_letters is not None and (part.is_whole or not has_letters)


async def _has_letters(tx: Tx, parted: Parted, part: Part) -> bool | None:
    """Whether rows of a part are kept for dead letters; ``None``: the whole part is needed."""
    if (await tx.sql(_IS_NEEDED, part[:2] * 2))[0][0]:
        return None
    return parted.is_kept and bool((await tx.sql(_HAS_LETTERS, part[:2]))[0][0])


async def _drop(tx: Tx, parted: Parted, part: Part) -> Step:
    """Drop a part, unless somebody had just written what it is needed for."""
    await thinning.lock(tx, parted, part)
    if await _has_letters(tx, parted, part) is not False:
        return NOTHING
    await do(tx, parted, part, DROP)
    await thinning.abandon(tx, part.name)
    return DONE


async def _thin(tx: Tx, parted: Parted, part: Part) -> Step:
    """Put the rows that are kept for dead letters into the place of a part, step by step."""
    step = await thinning.thin(tx, parted, part) or await excluding.proved(tx, parted, part)
    if step is None:
        await thinning.lock(tx, parted, part)
        step = await thinning.thin(tx, parted, part)  # somebody may just have been let go
    if await _has_letters(tx, parted, part) is None:
        await thinning.abandon(tx, part.name)
        return NOTHING
    if step is None:
        step = await thinning.swap(tx, parted, part)
        await excluding.clear(tx, parted.table)
    return step


def _name_of(parted: Parted, low: int) -> str:
    """What the part of a day is called."""
    return f"{parted.table}_{datetime.fromtimestamp(ids.key_time(low) / 1000, UTC):%Y%m%d}"


def _day_of(key: int) -> int:
    """The first key of the same day."""
    return key - key % _KEYS
