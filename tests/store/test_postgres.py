"""What is PostgreSQL's own: lost connections and commits, limits, other writers, migrations."""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, insert, inspect, select
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from service.ports import StoreUnavailableError
from service.store import revisions
from service.store.database import Job, Tx, Use
from service.store.migrations import upgrading
from service.store.postgres import PostgresDatabase, connections, migrating
from service.store.postgres import database as postgres_database
from service.store.postgres.connections import Address
from service.store.schema import events, metadata, tenants
from service.store.statements import Insert, Statement
from tests.support import postgres
from tests.support.clock import FakeClock
from tests.support.databases import Place
from tests.support.messages import Messages
from tests.support.postgres import Databases

pytestmark = pytest.mark.anyio

COLUMNS = ("id", "name", "created_at", "feed_position", "config_version")
CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
)


@pytest.fixture
def place(url: str) -> Place:
    return url


@pytest.fixture
async def server(url: str, clock: FakeClock) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(url, clock, fixed=True)
    await database.open()
    yield database
    await database.close()


def tenant(name: str, tries: list[str] | None = None) -> Job[str]:
    """A job that makes a tenant."""

    async def job(tx: Tx) -> str:
        if tries is not None:
            tries.append(name)
        zeros = {"created_at": 0, "feed_position": 0, "config_version": 0}
        await tx.change(insert(tenants).values(id=name, name=name, **zeros))
        return name

    return job


async def names(database: PostgresDatabase) -> set[str]:
    async with database.read() as tx:
        return {row["id"] for row in await tx.query(select(tenants.c.id))} - {"default"}


# --- lost connections


async def test_connections_that_were_cut_are_made_anew(server: PostgresDatabase, url: str) -> None:
    await asyncio.gather(*(server.write(tenant(f"t{n}")) for n in range(4)), names(server))
    await postgres.run(url, CUT)

    made, seen, found = await asyncio.gather(
        server.write(tenant("late")),
        names(server),
        server.look(Statement(select(tenants.c.id).where(tenants.c.id == "t0"))),
    )

    assert made == "late"
    assert seen >= {"t0", "t1", "t2", "t3"}
    assert found == [("t0",)]


async def test_a_job_whose_connection_is_cut_runs_once_more(
    server: PostgresDatabase, url: str
) -> None:
    tries: list[str] = []

    async def job(tx: Tx) -> str:
        made = await tenant("t", tries)(tx)
        if len(tries) == 1:
            await postgres.run(url, CUT)
        await tx.sql("SELECT 1")
        return made

    assert await server.write(job) == "t"
    assert tries == ["t", "t"]
    assert await names(server) == {"t"}


async def test_once_closed_it_takes_nothing_more(url: str, clock: FakeClock) -> None:
    database = PostgresDatabase(url, clock, fixed=True)
    await database.open()
    waiting = [asyncio.create_task(database.write(tenant(f"t{n}"))) for n in range(20)]
    await asyncio.sleep(0)
    await database.close()

    assert len(await asyncio.gather(*waiting)) == 20
    with pytest.raises(StoreUnavailableError, match="not open"):
        await database.write(tenant("late"))
    with pytest.raises(StoreUnavailableError, match="not open"):
        await names(database)
    with pytest.raises(StoreUnavailableError, match="not open"):
        await database.look(Statement(select(tenants.c.id)))


# --- other writers


async def test_two_that_wait_for_each_other_both_get_through(server: PostgresDatabase) -> None:
    await server.write(tenant("a"))
    await server.write(tenant("b"))
    both = asyncio.Barrier(2)
    met: set[str] = set()

    def crossing(first: str, second: str) -> Job[str]:
        async def job(tx: Tx) -> str:
            touch = "UPDATE tenants SET feed_position = feed_position + 1 WHERE id = ?"
            await tx.sql(touch, (first,))
            if first not in met:  # the first time only: else they would meet again and again
                met.add(first)
                await both.wait()
            await tx.sql(touch, (second,))
            return first

        return job

    done = await asyncio.gather(
        server.write(crossing("a", "b"), Use.ACCEPT), server.write(crossing("b", "a"), Use.CLAIM)
    )

    assert list(done) == ["a", "b"]
    rows = await server.look(Statement(select(tenants.c.feed_position)))
    assert sorted(rows) == [(0,), (2,), (2,)]


async def test_what_two_insert_at_once_the_second_finds(server: PostgresDatabase) -> None:
    async def unless_there(tx: Tx) -> bool:
        if await tx.query(select(tenants.c.id).where(tenants.c.id == "t")):
            return False
        await tenant("t")(tx)
        return True

    uses = (Use.ACCEPT, Use.CLAIM, Use.SETTLE, Use.REST)
    made = await asyncio.gather(*(server.write(unless_there, use) for use in uses))

    assert sorted(made) == [False, False, False, True]


async def test_an_insert_that_never_succeeds_is_its_own_error(server: PostgresDatabase) -> None:
    await server.write(tenant("t"))
    with pytest.raises(asyncpg.UniqueViolationError):
        await server.write(tenant("t"))
    assert await server.write(tenant("next")) == "next"


@pytest.mark.parametrize(
    "error", [asyncpg.DeadlockDetectedError("deadlock"), asyncpg.SerializationError("conflict")]
)
async def test_a_job_that_others_are_always_in_the_way_of_waits_longer_each_time_and_is_put_off(
    server: PostgresDatabase, error: Exception
) -> None:
    tries: list[float] = []

    async def job(_: Tx) -> None:
        tries.append(asyncio.get_running_loop().time())
        raise error

    with pytest.raises(StoreUnavailableError):
        await server.write(job)

    waits = [after - before for before, after in pairwise(tries)]
    assert len(waits) == 4
    assert all(wait >= 0.009 * 2**number for number, wait in enumerate(waits))


async def test_a_cancelled_caller_breaks_nothing(server: PostgresDatabase) -> None:
    writes = [asyncio.create_task(server.write(tenant(f"t{n}"))) for n in range(4)]
    await asyncio.sleep(0)
    writes[0].cancel()

    done = await asyncio.gather(*writes, return_exceptions=True)
    assert [isinstance(each, asyncio.CancelledError) for each in done] == [True] + [False] * 3
    with anyio.fail_after(10):
        await asyncio.gather(*server._jobs)  # noqa: SLF001  what nobody waits for any more
    assert await names(server) == {"t0", "t1", "t2", "t3"}


async def test_a_cancelled_reader_gives_its_connection_back(server: PostgresDatabase) -> None:
    async def hang() -> None:
        async with server.read() as tx:
            await tx.sql("SELECT pg_sleep(600)")

    for _ in range(3):
        with anyio.move_on_after(0.05):
            async with anyio.create_task_group() as group:
                for _ in range(6):
                    group.start_soon(hang)
    with anyio.fail_after(20):
        assert await asyncio.gather(*(names(server) for _ in range(6))) == [set()] * 6


async def test_a_read_is_one_snapshot_and_changes_nothing(server: PostgresDatabase) -> None:
    async with server.read() as tx:
        before = await tx.query(select(tenants.c.id))
        await server.write(tenant("meanwhile"))
        assert await tx.query(select(tenants.c.id)) == before
    with pytest.raises(StoreUnavailableError, match="read-only"):
        async with server.read() as tx:
            await tenant("x")(tx)

    assert await names(server) == {"meanwhile"}


async def test_a_read_that_others_are_in_the_way_of_may_be_repeated(
    server: PostgresDatabase,
) -> None:
    with pytest.raises(StoreUnavailableError, match="a migration went by"):
        async with server.read():
            raise asyncpg.InvalidCachedStatementError("a migration went by")


# --- limits


def with_flag(url: str) -> str:
    return f"{url}&pgbouncer=true" if "?" in url else f"{url}?pgbouncer=true"


def as_it_is(url: str) -> str:
    return url


@pytest.mark.parametrize("spelled", [as_it_is, with_flag])
async def test_every_transaction_has_its_limits(
    url: str, clock: FakeClock, spelled: Callable[[str], str]
) -> None:
    database = PostgresDatabase(spelled(url), clock, fixed=True)
    await database.open()
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "jit")

    async def limits(tx: Tx) -> list[str]:
        return [(await tx.sql(f"SHOW {name}"))[0][0] for name in names]

    async def prepared(tx: Tx) -> int:
        return int((await tx.sql("SELECT count(*) FROM pg_prepared_statements"))[0][0])

    wanted = ["10s", "5s", "10s", "off"]
    assert await database.write(limits) == wanted
    async with database.read() as tx:
        assert await limits(tx) == wanted
    current = select(*(func.current_setting(name) for name in names))
    assert await database.look(Statement(current)) == [tuple(wanted)]
    assert (await database.write(prepared) > 0) is (spelled is as_it_is)
    await database.close()


@pytest.mark.parametrize("spelled", [as_it_is, with_flag])
async def test_what_is_hot_reads_no_table_whole_by_plans_that_are_kept_and_the_rest_may(
    url: str, clock: FakeClock, spelled: Callable[[str], str]
) -> None:
    database = PostgresDatabase(spelled(url), clock, fixed=True)
    await database.open()

    async def settings(tx: Tx) -> list[str]:
        names = ("enable_seqscan", "enable_bitmapscan", "plan_cache_mode")
        return [(await tx.sql(f"SHOW {name}"))[0][0] for name in names]

    hot, rest = ["off", "off", "force_generic_plan"], ["on", "on", "auto"]
    for use in (Use.ACCEPT, Use.REST, Use.CLAIM, Use.REST, Use.SETTLE):  # by turns
        assert await database.write(settings, use) == (rest if use is Use.REST else hot)
    async with database.read() as tx:
        assert await settings(tx) == rest
    await database.close()


@pytest.mark.parametrize("spelled", [as_it_is, with_flag])
async def test_limits_cost_no_message(
    url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, spelled: Callable[[str], str]
) -> None:
    database = PostgresDatabase(spelled(url), clock, fixed=True)
    await database.open()
    is_pooled = spelled is with_flag
    messages = Messages(monkeypatch)

    async def nothing(_: Tx) -> None:
        """Only what is around it counts."""

    await database.write(nothing)
    assert messages.take() == ["BEGIN", "SELECT", "COMMIT"]
    async with database.read():
        pass
    assert messages.take() == ["BEGIN", "ROLLBACK"]
    await database.look(Statement(select(tenants.c.id)))
    assert messages.take() == (["BEGIN", "SELECT", "ROLLBACK"] if is_pooled else ["SELECT"])
    await database.close()


async def test_a_lock_is_not_waited_for_for_long(
    url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {**connections.LIMITS, "lock_timeout": "50"}
    monkeypatch.setattr(connections, "LIMITS", short)
    database = PostgresDatabase(url, clock, fixed=True)
    await database.open()
    locked, done = asyncio.Event(), asyncio.Event()
    touch = "UPDATE tenants SET name = name"

    async def hold(tx: Tx) -> None:
        await tx.sql(touch)
        locked.set()
        await done.wait()

    async def wait(tx: Tx) -> None:
        await tx.sql(touch)

    holding = asyncio.create_task(database.write(hold))
    await locked.wait()
    with pytest.raises(StoreUnavailableError, match="lock timeout"):
        await database.write(wait, Use.ACCEPT)
    done.set()
    await holding
    await database.close()


async def test_the_time_is_the_servers(url: str) -> None:
    clock = FakeClock(at=5)  # as wrong as can be
    database = PostgresDatabase(url, clock)
    await database.open()

    async def now(tx: Tx) -> tuple[int, int]:
        rows = await tx.sql("SELECT (extract(epoch FROM now()) * 1000)::bigint")
        return tx.now, rows[0][0]

    ours, theirs = await database.write(now)
    async with database.read() as tx:
        read_at = tx.now
    await database.close()

    assert abs(ours - theirs) < 5_000
    assert ours <= read_at < ours + 5_000


class Suspended(FakeClock):
    """A machine's clock that stands still for a while, as when all of it is put to sleep."""

    def monotonic(self) -> float:
        return self.shown

    shown = 1_000.0


async def test_who_slept_through_an_hour_notices_before_it_commits(url: str) -> None:
    clock = Suspended()
    database = PostgresDatabase(url, clock)
    await database.open()
    times: list[int] = []

    async def now(tx: Tx) -> int:
        times.append(tx.now)
        await tx.together(Insert(tenants, COLUMNS, [(f"t{len(times)}", "", 0, 0, 0)]))
        return tx.now

    true = await database.write(now)
    clock.shown += 3_600  # an hour of which the server's clock knows nothing
    await database.write(now)  # asks, after so long
    clock.shown -= 3_600
    told = await database.write(now)

    assert abs(told - true) < 60_000
    assert len(times) > 3  # the third was tried with a time that was an hour off
    async with database.read() as tx:
        kept = await tx.query(select(tenants.c.id).where(tenants.c.id.like("t%")))
    assert len(kept) == 3
    await database.close()


# --- what goes on in the background


async def test_an_unexpected_fault_does_not_end_the_renewal_of_the_number(
    url: str,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    reports: list[tuple[str, BaseException]],
) -> None:
    renewed = asyncio.Event()
    tries: list[int] = []

    async def renew(_: Tx, number: int) -> None:
        tries.append(number)
        if len(tries) == 1:
            raise ValueError("no fault that anybody thought of")
        renewed.set()

    monkeypatch.setattr(postgres_database, "_TEND", 0.01)
    monkeypatch.setattr(postgres_database, "renew_node", renew)
    database = PostgresDatabase(url, clock, fixed=True)
    await database.open()
    with anyio.fail_after(10):
        await renewed.wait()
    await database.close()

    ((said, error),) = reports
    assert "number of this process" in said
    assert isinstance(error, ValueError)


async def test_what_hangs_does_not_keep_it_from_closing(
    url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_database, "_CLOSING", 0.2)
    database = PostgresDatabase(url, clock, fixed=True)
    await database.open()

    async def hang(tx: Tx) -> None:
        await tx.sql("SELECT pg_sleep(600)")

    async def read() -> None:
        async with database.read() as tx:
            await hang(tx)

    hanging = [asyncio.create_task(work) for work in (database.write(hang), read())]
    await asyncio.wait(hanging, timeout=0.2)

    with anyio.fail_after(3):  # each statement alone may take ten
        await database.close()
        ended = await asyncio.gather(*hanging, return_exceptions=True)
    assert all(isinstance(each, BaseException) for each in ended)
    with pytest.raises(StoreUnavailableError, match="not open"):
        await database.write(hang)


# --- migrations


async def test_the_migrated_schema_is_the_one_the_code_works_with(url: str) -> None:
    unique = {str(index.name): list(index.columns.keys()) for index in events.indexes}

    def is_ours(_object: object, name: str | None, *_more: object) -> bool:
        # parts of tables, and what is unique within each part only
        return name not in {"attempts_rest", "events_rest", *unique}

    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"include_object": is_ours})
        there = inspect(connection).get_indexes("events_rest")
        assert sorted(each["column_names"] for each in there) == sorted(unique.values())
        assert all(each["unique"] for each in there)
        return list(compare_metadata(context, metadata))

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=Address.of(url).connect, poolclass=NullPool
    )
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


def test_of_processes_that_migrate_at_once_one_does(databases: Databases) -> None:
    async def all_at_once(url: str) -> list[str]:
        return await asyncio.gather(*(migrating.migrate(url) for _ in range(4)))

    with databases.database(migrated=False) as url:
        assert asyncio.run(all_at_once(url)) == [revisions.head()] * 4
        rows = asyncio.run(postgres.run(url, "SELECT id FROM tenants"))
        assert [row[0] for row in rows] == ["default"]


def test_a_failing_migration_leaves_the_database_as_it_was(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = upgrading._run  # noqa: SLF001  the real one, up to its end

    def fail(connection: Connection, wanted: str) -> None:
        run(connection, wanted)
        connection.exec_driver_sql("SELECT * FROM nowhere")

    with databases.database(migrated=False) as url:
        monkeypatch.setattr(upgrading, "_run", fail)
        with pytest.raises(StoreUnavailableError, match=r"(?s)is as it was.*nowhere"):
            asyncio.run(migrating.migrate(url))
        assert asyncio.run(migrating.revision(Address.of(url))) is None
        monkeypatch.undo()
        assert asyncio.run(migrating.migrate(url)) == revisions.head()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE alembic_version SET version_num = '0001'", "older schema 0001.*ringback migrate"),
        ("DROP TABLE alembic_version", "another program"),
    ],
)
async def test_a_database_that_is_not_ready_is_told(url: str, statement: str, said: str) -> None:
    await postgres.run(url, statement)
    with pytest.raises(StoreUnavailableError, match=f"(?s){said}"):
        await migrating.check(url)


async def test_a_newer_schema_is_worked_with_but_not_migrated(url: str) -> None:
    await postgres.run(url, "UPDATE alembic_version SET version_num = '9999'")
    await migrating.check(url)
    with pytest.raises(StoreUnavailableError, match=r"another version of Ringback \(9999\)"):
        await migrating.migrate(url)


async def test_a_server_that_is_gone_is_told_without_its_password(
    tmp_path: Path, clock: FakeClock
) -> None:
    url = f"postgresql://u:hunter2@/ringback?host={tmp_path}"
    database = PostgresDatabase(url, clock)
    with pytest.raises(StoreUnavailableError, match="cannot be reached") as told:
        await database.open()
    assert "hunter2" not in str(told.value)
    await database.close()
