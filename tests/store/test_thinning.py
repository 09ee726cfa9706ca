"""An old part with dead letters: their attempts are copied bit by bit, then take its place."""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from service.domain.delivery import Trigger
from service.domain.ids import DeliveryRef, key_floor
from service.ports import StoreUnavailableError
from service.store import schema
from service.store.database import Tx
from service.store.postgres import checkup, excluding, parting, thinning
from service.store.postgres.excluding import Part, Parted, Step
from service.store.postgres.parting import DAY
from tests.store.test_parting import ahead, renewed
from tests.support.databases import Place
from tests.support.world import LEASE, SCHEDULE, World, opened_world

pytestmark = pytest.mark.anyio

#: Dead letters of the old day, all but the last of which have attempts.
LETTERS = 5
WRITE = (
    "INSERT INTO attempts (event_key, subscription_no, number, trigger, started_at, message) "
    "VALUES ($1, $2, $3, 'schedule', 0, $4) "
    "ON CONFLICT (event_key, subscription_no, number) DO UPDATE SET message = excluded.message"
)


@pytest.fixture
def place(url: str) -> Place:
    return url


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is so little that a part takes several."""
    monkeypatch.setattr(thinning, "LETTERS", 2)
    monkeypatch.setattr(thinning, "ATTEMPTS", 3)


class Stopped:
    """Lets so many steps of copies be made; the one after them is stopped for what is done then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
        self.left = steps
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self._thin = thinning.thin
        monkeypatch.setattr(thinning, "thin", self)

    async def __call__(self, tx: Tx, parted: Parted, part: Part) -> Step | None:
        if not self.left:
            self.reached.set()
            await self.go_on.wait()
        self.left -= 1
        return await self._thin(tx, parted, part)


class Crashing(Stopped):
    """The step after them is lost with its process."""

    async def __call__(self, tx: Tx, parted: Parted, part: Part) -> Step | None:
        if not self.left:
            raise asyncpg.QueryCanceledError("the server took away what was under way")
        return await super().__call__(tx, parted, part)


def day_of(world: World) -> str:
    """The part of now."""
    return f"attempts_{datetime.fromtimestamp(world.clock.now() / 1000, UTC):%Y%m%d}"


async def where(world: World) -> dict[str, int]:
    """How many attempts are in which part."""
    return dict(
        await world.sql("SELECT tableoid::regclass::text, count(*) FROM attempts GROUP BY 1")
    )


async def copies(world: World) -> list[str]:
    """What there is of copies under way: tables, functions, triggers."""
    rows = await world.sql(
        r"SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relname LIKE '%keeping' "
        r"UNION ALL SELECT proname::text FROM pg_proc WHERE proname LIKE 'attempts%keep' "
        "UNION ALL SELECT tgname::text FROM pg_trigger WHERE tgname = 'keep'"
    )
    return [row[0] for row in rows]


async def failed(world: World, name: str = "sub") -> list[DeliveryRef]:
    """Deliveries that end as dead letters with two attempts each, one without; others went well."""
    fine = await world.subscribe(f"{name}_fine")
    lane = await world.subscribe(name)
    refs = await world.queued(lane, LETTERS - 1)
    for _ in range(2):
        await world.settle(await world.claim(lane.no), 500)
        world.clock.advance(10_000)
    refs += await world.queued(lane, 1)
    while claimed := await world.claim(fine.no):
        await world.settle(claimed)
    return sorted(refs)


async def forgotten(world: World) -> None:
    world.clock.advance(2 * DAY)
    while await world.sweep.forget(DAY):
        pass
    await ahead(world)


async def dead(world: World) -> tuple[str, list[DeliveryRef]]:
    """A part of long ago, and the dead letters of which there is something in it."""
    await renewed(world)
    day, refs = day_of(world), await failed(world)
    await forgotten(world)
    assert len(await world.rows(schema.dead_letters)) == LETTERS
    assert await where(world) == {day: 2 * (LETTERS - 1) + LETTERS}
    return day, refs


async def stopped_at(world: World, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """A process was lost that had made so many steps."""
    with monkeypatch.context() as patch:
        Crashing(patch, steps)
        await world.sweep.renew_parts(DAY)


async def attempts_of(world: World, refs: list[DeliveryRef]) -> list[list[dict[str, Any]]]:
    return [await world.attempts(ref) for ref in refs]


async def test_what_is_kept_is_copied_in_batches_and_takes_the_place_of_its_part(
    world: World,
) -> None:
    day, refs = await dead(world)
    before = await attempts_of(world, refs)
    assert [len(each) for each in before] == [2] * (LETTERS - 1) + [0]

    await renewed(world)

    assert await where(world) == {f"{day}_kept": 2 * (LETTERS - 1)}
    assert await attempts_of(world, refs) == before
    assert await copies(world) == []


@pytest.mark.parametrize("attempts", [1, 2, 3])
@pytest.mark.parametrize("letters", [1, 2, LETTERS, LETTERS + 1])
async def test_every_batch_begins_behind_the_last_however_little_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch, letters: int, attempts: int
) -> None:
    day, refs = await dead(world)
    before = await attempts_of(world, refs)
    monkeypatch.setattr(thinning, "LETTERS", letters)
    monkeypatch.setattr(thinning, "ATTEMPTS", attempts)

    await renewed(world)

    assert await where(world) == {f"{day}_kept": 2 * (LETTERS - 1)}
    assert await attempts_of(world, refs) == before


@pytest.mark.parametrize("steps", range(6))
async def test_a_crash_between_two_batches_costs_nothing(
    world: World, other: World, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    day, refs = await dead(world)
    before = await attempts_of(world, refs)
    await stopped_at(world, monkeypatch, steps)
    assert day in await where(world)
    assert bool(await copies(world)) == bool(steps)
    assert await attempts_of(world, refs) == before

    copied = await world.sql(f"SELECT count(*) FROM {day}_keeping") if steps else [(0,)]  # noqa: S608  a part's name
    await renewed(other)

    assert copied[0][0] <= 2 * (LETTERS - 1)
    assert await where(world) == {f"{day}_kept": 2 * (LETTERS - 1)}
    assert await attempts_of(world, refs) == before
    assert await copies(world) == []


@pytest.mark.parametrize("steps", range(1, 6))
async def test_what_is_written_while_it_is_copied_is_kept_as_it_was_written(
    world: World, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    day, refs = await dead(world)
    first, second, third, *_ = refs
    await stopped_at(world, monkeypatch, steps)

    # one fails again, of one the result comes late, one is discarded
    for ref in (first, second):
        assert await world.replay.replay_one("default", ref, Trigger.REPLAY, "key_test") == ref
    again, late = sorted(await world.claim(), key=lambda each: each.ref)
    assert (again.ref, late.ref) == (first, second)
    await world.settle([again], 503)
    world.clock.advance(LEASE)
    await world.sweep.reclaim(SCHEDULE)
    assert [row["error_class"] for row in await world.attempts(second)][-1] == "unknown"
    await world.settle([late], 418)
    assert await world.replay.discard("default", third, "key_test") is None
    before = await attempts_of(world, refs)
    assert [len(each) for each in before] == [3, 3, 0, 2, 0]
    assert before[1][-1]["status_code"] == 418

    await renewed(world)

    assert await where(world) == {f"{day}_kept": 8}
    assert await attempts_of(world, refs) == before


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
async def test_what_somebody_is_deleting_is_copied_only_if_he_does_not(
    world: World, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    day, refs = await dead(world)
    before = await attempts_of(world, refs)
    await stopped_at(world, monkeypatch, 1)
    deleter = await asyncpg.connect(str(world.place))
    await deleter.execute("BEGIN")
    await deleter.execute("DELETE FROM attempts WHERE event_key = $1", refs[0].event_key)

    await world.sweep.renew_parts(DAY)
    await deleter.execute(end)
    await deleter.close()
    await renewed(world)

    gone = 2 if end == "COMMIT" else 0
    assert await where(world) == {f"{day}_kept": 2 * (LETTERS - 1) - gone}
    assert (await attempts_of(world, refs))[1:] == before[1:]


@pytest.mark.parametrize("steps", range(1, 6))
async def test_nobody_waits_for_a_batch(
    world: World, other: World, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    day, refs = await dead(world)
    stopped = Stopped(monkeypatch, steps)
    renewing = asyncio.create_task(world.sweep.renew_parts(DAY))
    await stopped.reached.wait()  # in the middle of a transaction

    assert await other.replay.replay_one("default", refs[0], Trigger.REPLAY, "key_test") == refs[0]
    began = time.monotonic()
    await other.deliver_due(503)
    assert time.monotonic() - began < 4  # less than anybody waits for a lock
    stopped.go_on.set()

    assert await renewing
    assert (await where(world))[f"{day}_kept"] == 2 * (LETTERS - 1) + 1
    assert [row["number"] for row in await world.attempts(refs[0])] == [1, 2, 3]


async def test_whoever_writes_all_the_time_loses_nothing(world: World, other: World) -> None:
    _, refs = await dead(world)
    done = asyncio.Event()
    written: dict[tuple[int, int, int], str] = {}

    async def writes(connection: asyncpg.Connection, number: int) -> None:
        turn = 0
        while not done.is_set():
            for ref in refs:
                await connection.execute(WRITE, *ref, number, f"said {turn}")
                written[(*ref, number)] = f"said {turn}"
            turn += 1

    async def sweeps(world: World) -> None:
        while not await copied(world):
            await world.sweep.renew_parts(DAY)

    async def copied(world: World) -> bool:
        return bool(
            await world.sql(
                r"SELECT FROM pg_inherits WHERE inhrelid::regclass::text LIKE 'attempts%\_kept'"
            )
        )

    connections = [await asyncpg.connect(str(world.place)) for _ in range(3)]
    # the first of them is changed, the others are new
    writing = [asyncio.create_task(writes(each, n)) for n, each in enumerate(connections, 2)]
    async with asyncio.timeout(30):
        await asyncio.gather(sweeps(world), sweeps(other))
    done.set()
    await asyncio.gather(*writing)
    for each in connections:
        await each.close()

    rows = await world.rows(schema.attempts)
    found = {(row["event_key"], row["subscription_no"], row["number"]): row for row in rows}
    assert {key: found[key]["message"] for key in written} == written
    # the first attempts are those from before
    assert len(found) == len(written) + LETTERS - 1


async def test_a_part_that_is_put_off_does_not_stop_the_next(world: World) -> None:
    await renewed(world)
    first = day_of(world)
    refs = await failed(world)
    world.clock.advance(DAY)
    await ahead(world)
    second = day_of(world)
    refs += await failed(world, "later")
    await forgotten(world)
    before = await attempts_of(world, refs)

    blocker = await asyncpg.connect(str(world.place))
    await blocker.execute(f"BEGIN; LOCK TABLE {first} IN ROW EXCLUSIVE MODE")
    await renewed(world)
    assert {*await where(world)} == {first, f"{second}_kept"}
    await blocker.close()
    await renewed(world)

    assert {*await where(world)} == {f"{first}_kept", f"{second}_kept"}
    assert await attempts_of(world, refs) == before
    assert await copies(world) == []


async def test_what_an_earlier_version_thinned_meanwhile_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    day, refs = await dead(world)
    before = await attempts_of(world, refs)
    await stopped_at(world, monkeypatch, 2)
    assert len(await copies(world)) == 3
    (row,) = await world.sql(
        "SELECT substring(pg_get_expr(relpartbound, oid), 'FROM.*') FROM pg_class "
        "WHERE relname = ?::text",
        day,
    )
    letters = "JOIN dead_letters USING (event_key, subscription_no)"
    for statement in (
        f"CREATE TABLE {day}_kept (LIKE attempts_rest INCLUDING INDEXES)",
        f"INSERT INTO {day}_kept SELECT a.* FROM {day} a {letters}",  # noqa: S608  a part's name
        f"ALTER TABLE attempts DETACH PARTITION {day}",
        f"ALTER TABLE attempts ATTACH PARTITION {day}_kept FOR VALUES {row[0]}",
        f"DROP TABLE {day}",
    ):
        await world.sql(statement)

    await renewed(world)

    assert await copies(world) == []
    assert await attempts_of(world, refs) == before


async def test_a_copy_that_a_migration_passed_over_is_begun_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    day, refs = await dead(world)
    await stopped_at(world, monkeypatch, 3)
    await world.sql("ALTER TABLE attempts ADD COLUMN later text")

    # and who writes meanwhile is not disturbed
    assert await world.replay.replay_one("default", refs[0], Trigger.REPLAY, "key_test") == refs[0]
    await world.deliver_due(500)
    await renewed(world)

    assert await where(world) == {f"{day}_kept": 2 * (LETTERS - 1) + 1}


@pytest.mark.parametrize("how", ["DROP TRIGGER keep ON {}", "ALTER TABLE {} DISABLE TRIGGER USER"])
async def test_a_copy_without_its_trigger_is_begun_anew(
    world: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    day, refs = await dead(world)
    await stopped_at(world, monkeypatch, 5)
    await world.sql(how.format(day))
    assert await world.replay.replay_one("default", refs[0], Trigger.REPLAY, "key_test") == refs[0]
    await world.deliver_due(500)
    if "DISABLE" in how:  # for a while
        await world.sql(f"ALTER TABLE {day} ENABLE TRIGGER USER")

    await renewed(world)

    assert await where(world) == {f"{day}_kept": 2 * (LETTERS - 1) + 1}
    assert await copies(world) == []


async def test_who_has_the_triggers_of_his_session_switched_off_is_mirrored_as_well(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    day, (ref, *_) = await dead(world)
    await stopped_at(world, monkeypatch, 5)

    async def copied_by_replication(tx: Tx) -> None:
        await tx.sql("SET LOCAL session_replication_role = replica")
        await tx.sql(
            f"INSERT INTO {day} (event_key, subscription_no, number, trigger, started_at) "  # noqa: S608  a part's name
            "VALUES (?, ?, 77, 'manual', 1)",
            tuple(ref),
        )

    await world.database.write(copied_by_replication)
    await renewed(world)

    assert await where(world) == {f"{day}_kept": 2 * (LETTERS - 1) + 1}
    assert 77 in [row["number"] for row in await world.rows(schema.attempts)]


async def test_a_part_whose_letters_are_gone_meanwhile_is_dropped_with_its_copy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, refs = await dead(world)
    await stopped_at(world, monkeypatch, 3)
    for ref in refs:
        assert await world.replay.discard("default", ref, "key_test") is None

    await renewed(world)

    assert await where(world) == {}
    assert await copies(world) == []


async def test_a_copy_under_way_is_no_table_that_anybody_needs_rights_to(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    day, refs = await dead(world)
    await stopped_at(world, monkeypatch, 3)
    role = f"plain_{world.place}".rpartition("/")[2].partition("?")[0]
    await world.sql(f"CREATE ROLE {role}")
    try:
        for kind in ("TABLES", "SEQUENCES"):
            await world.sql(f"GRANT ALL ON ALL {kind} IN SCHEMA public TO {role}")
        await world.sql(f"REVOKE ALL ON {day}_keeping FROM {role}")
        mark = "&" if "?" in str(world.place) else "?"
        url = f"{world.place}{mark}role={role}"
        server = (await checkup.look(url, world.clock)).server
        assert server is not None
        assert server.denied == ()
        async with opened_world(url, world.clock) as plain:
            ref = refs[0]
            assert await plain.replay.replay_one("default", ref, Trigger.REPLAY, "key_test") == ref
            await plain.deliver_due(500)
            assert len(await plain.attempts(ref)) == 3
        await renewed(world)
        assert len(await world.attempts(refs[0])) == 3
    finally:
        await world.sql(f"DROP OWNED BY {role}")
        await world.sql(f"DROP ROLE {role}")


@pytest.mark.parametrize("table", ["light", "heavy"])
async def test_a_copy_goes_with_a_proof_where_one_is_needed(
    world: World, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    day, _ = await dead(world)
    if table == "heavy":
        monkeypatch.setattr(excluding, "LIGHT", -1)

    await renewed(world)

    assert await where(world) == {f"{day}_kept": 2 * (LETTERS - 1)}
    rows = await world.sql("SELECT conname FROM pg_constraint WHERE conname LIKE 'without%'")
    assert rows == []


@pytest.mark.parametrize("error", [None, StoreUnavailableError("the server was lost")])
async def test_a_part_that_waits_for_a_proof_does_not_stop_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    await renewed(world)
    first = day_of(world)
    await failed(world)
    world.clock.advance(DAY)
    await ahead(world)
    second = day_of(world)
    fine = await world.subscribe("fine")
    (ref,) = await world.queued(fine, 1)
    await world.settle(await world.claim(fine.no))
    # so that no letter is of this day
    await world.sql("DELETE FROM delivery_queue WHERE event_key = ?", ref.event_key)
    await forgotten(world)
    assert {first, second} <= {*await where(world)}
    monkeypatch.setattr(excluding, "LIGHT", -1)

    async def unproved(*_: object) -> bool:
        if error is not None:
            raise error
        return False

    monkeypatch.setattr(excluding, "prove", unproved)
    for _ in range(3):
        with suppress(StoreUnavailableError):
            await world.sweep.renew_parts(DAY)

    assert {*await where(world)} == {first}


@pytest.mark.parametrize(
    "change", ["message TYPE varchar(9000)", "number TYPE bigint", "started_at SET NOT NULL"]
)
async def test_a_column_that_is_changed_meanwhile_begins_the_copy_anew(
    world: World, other: World, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    day, refs = await dead(world)
    before = await attempts_of(world, refs)
    await stopped_at(world, monkeypatch, 2)
    await world.sql(f"ALTER TABLE attempts ALTER COLUMN {change}")

    await renewed(other)

    assert await where(other) == {f"{day}_kept": 2 * (LETTERS - 1)}
    assert await attempts_of(other, refs) == before


async def test_a_part_whose_columns_are_stricter_than_those_of_others_is_copied_as_it_is(
    world: World,
) -> None:
    day, refs = await dead(world)
    await world.sql("UPDATE attempts SET message = 'fine' WHERE message IS NULL")
    await world.sql(f"ALTER TABLE {day} ALTER COLUMN message SET NOT NULL")
    before = await attempts_of(world, refs)

    await renewed(world)

    assert await where(world) == {f"{day}_kept": 2 * (LETTERS - 1)}
    assert await attempts_of(world, refs) == before


@pytest.mark.parametrize(
    ("change", "back"),
    [
        ("RENAME later TO last", None),
        ("RENAME later TO last", "RENAME last TO later"),
        ("DROP later", None),
        ("ALTER later DROP NOT NULL, ALTER later DROP DEFAULT", None),
        ("ALTER later TYPE text, ALTER later SET DEFAULT 'more than there was room for'", None),
    ],
)
async def test_who_writes_after_the_columns_were_changed_is_not_disturbed(
    world: World, other: World, monkeypatch: pytest.MonkeyPatch, change: str, back: str | None
) -> None:
    day, refs = await dead(world)
    await world.sql("ALTER TABLE attempts ADD later varchar(9) NOT NULL DEFAULT 'is new'")
    await stopped_at(world, monkeypatch, 5)
    await world.sql(f"ALTER TABLE attempts {change}")

    assert await world.replay.replay_one("default", refs[0], Trigger.REPLAY, "key_test") == refs[0]
    await world.deliver_due(500)
    await world.sql("DELETE FROM attempts WHERE event_key = ?", refs[1].event_key)
    if back:
        await world.sql(f"ALTER TABLE attempts {back}")
    await renewed(other)

    assert await where(other) == {f"{day}_kept": 2 * (LETTERS - 1) + 1 - 2}
    assert [each["number"] for each in await other.attempts(refs[0])] == [1, 2, 3]
    assert await other.attempts(refs[1]) == []
    assert await copies(other) == []


async def test_what_is_changed_just_before_a_part_is_locked_is_seen(
    world: World, other: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    day, refs = await dead(world)
    await world.sql("ALTER TABLE attempts ADD later text NOT NULL DEFAULT ''")
    lock = thinning.lock

    async def late(tx: Tx, parted: Parted, part: Part) -> None:
        monkeypatch.setattr(thinning, "lock", lock)
        await other.sql("ALTER TABLE attempts ALTER later DROP NOT NULL, ALTER later DROP DEFAULT")
        assert await other.replay.replay_one("default", refs[0], Trigger.REPLAY, "key_test")
        await other.deliver_due(500)
        await lock(tx, parted, part)

    monkeypatch.setattr(parting, "PARTED", parting.PARTED[1:])
    monkeypatch.setattr(thinning, "lock", late)
    await renewed(world)

    assert await where(world) == {f"{day}_kept": 2 * (LETTERS - 1) + 1}
    assert [each["number"] for each in await world.attempts(refs[0])] == [1, 2, 3]


async def test_what_a_copy_does_not_take_is_not_written_at_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    day, refs = await dead(world)
    await stopped_at(world, monkeypatch, 5)
    await world.sql(f"ALTER TABLE {day}_keeping ADD CHECK (number < 9)")

    with pytest.raises(asyncpg.CheckViolationError):
        await world.sql(
            "INSERT INTO attempts (event_key, subscription_no, number, trigger, started_at) "
            "VALUES (?, ?, 9, 'schedule', 0)",
            *refs[0],
        )


async def test_a_copy_that_somebody_took_away_disturbs_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    day, refs = await dead(world)
    await stopped_at(world, monkeypatch, 3)
    await world.sql(f"DROP TABLE {day}_keeping")

    assert await world.replay.replay_one("default", refs[0], Trigger.REPLAY, "key_test") == refs[0]
    await world.deliver_due(500)
    await renewed(world)

    assert await where(world) == {f"{day}_kept": 2 * (LETTERS - 1) + 1}
    assert await copies(world) == []


async def test_a_part_that_cannot_be_thinned_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await renewed(world)
    first = day_of(world)
    await failed(world)
    world.clock.advance(DAY)
    second = day_of(world)
    await world.sql(
        "INSERT INTO attempts (event_key, subscription_no, number, trigger, started_at) "
        "VALUES (?, 1, 1, 'schedule', 0)",
        key_floor(world.clock.now()),
    )
    world.clock.advance(DAY)
    await forgotten(world)
    assert set(await where(world)) == {first, second}

    async def refused(*_: object) -> None:
        raise asyncpg.DatatypeMismatchError("there is another type")

    monkeypatch.setattr(thinning, "thin", refused)
    with pytest.raises(asyncpg.DatatypeMismatchError):
        await renewed(world)

    assert set(await where(world)) == {first}


class Somebody:
    """A user of the same database who may do next to nothing in it."""

    def __init__(self, world: World, name: str) -> None:
        self._place = str(world.place)
        self._name = f"{name}_{uuid4().hex}"

    async def __aenter__(self) -> asyncpg.Connection:
        self._owner = await asyncpg.connect(self._place)
        await self._owner.execute(f"CREATE ROLE {self._name}")
        await self._owner.execute(f"GRANT SELECT, INSERT, UPDATE ON attempts TO {self._name}")
        self._own = await asyncpg.connect(self._place)
        await self._own.execute(f"SET ROLE {self._name}")
        return self._own

    async def __aexit__(self, *_: object) -> None:
        await self._own.close()
        await self._owner.execute(f"DROP OWNED BY {self._name}")
        await self._owner.execute(f"DROP ROLE {self._name}")
        await self._owner.close()


#: A table of one's own like that of attempts, gone with the session.
MINE = "CREATE TEMP TABLE {} AS SELECT * FROM attempts LIMIT 0"


async def test_who_may_write_attempts_gets_no_rights_of_the_sweepers_by_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody puts a table or a function of his own into the place of what the trigger means."""
    day, refs = await dead(world)
    await stopped_at(world, monkeypatch, 2)
    async with Somebody(world, "writer") as somebody:
        await somebody.execute(MINE.format(f"{day}_keeping"))
        await somebody.execute("CREATE TEMP TABLE seen (who text)")
        await somebody.execute("GRANT ALL ON seen TO PUBLIC")
        await somebody.execute(
            "CREATE FUNCTION pg_temp.look() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN INSERT INTO pg_temp.seen VALUES (current_user); RETURN NULL; END $$"
        )
        await somebody.execute(
            f"CREATE TRIGGER look AFTER INSERT ON {day}_keeping "
            "FOR EACH ROW EXECUTE FUNCTION pg_temp.look()"
        )
        await somebody.execute(WRITE, *refs[0], 9, "late")
        assert await somebody.fetch("SELECT who FROM pg_temp.seen") == []
    await renewed(world)

    assert [each["number"] for each in await world.attempts(refs[0])] == [1, 2, 9]


async def test_nobody_else_makes_a_trigger_of_what_mirrors_the_part(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    day, _ = await dead(world)
    await stopped_at(world, monkeypatch, 2)
    async with Somebody(world, "forger") as somebody:
        await somebody.execute(MINE.format("mine"))
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await somebody.execute(
                "CREATE TRIGGER forge AFTER INSERT ON mine "
                f"FOR EACH ROW EXECUTE FUNCTION {day}_keep()"
            )
