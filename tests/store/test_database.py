"""The writer: jobs share transactions, fail alone, and nothing is acknowledged that is not kept."""

import asyncio
import errno
import fcntl
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import insert, select, text

from service.ports import StoreInUseError, StoreUnavailableError
from service.store.database import Database, Job, Tx, Use
from service.store.schema import tenants
from service.store.sqlite import SqliteDatabase, compiling
from service.store.sqlite.tx import SqliteTx, WritingTx
from service.store.statements import Statement
from tests.support.clock import FakeClock
from tests.support.databases import Place

pytestmark = pytest.mark.anyio

#: Seconds that a test waits for what must come.
PATIENCE = 10.0


@pytest.fixture
def place(path: Path) -> Place:
    """What is shown here is SQLite's own."""
    return path


def tenant(name: str) -> Job[str]:
    """A job that makes a tenant, through SQLAlchemy."""

    async def job(tx: Tx) -> str:
        zeros = {"created_at": 0, "feed_position": 0, "config_version": 0}
        await tx.change(insert(tenants).values(id=name, name=name, **zeros))
        return name

    return job


def failing(name: str, error: Exception) -> Job[str]:
    """A job that makes a tenant and then fails."""

    async def job(tx: Tx) -> str:
        await tenant(name)(tx)
        raise error

    return job


async def names(database: Database) -> set[str]:
    async with database.read() as tx:
        return {row["id"] for row in await tx.query(select(tenants.c.id))} - {"default"}


def kept(path: Path) -> set[str]:
    """What another connection sees."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT id FROM tenants").fetchall()
    connection.close()
    return {row[0] for row in rows} - {"default"}


def begins(statements: list[str]) -> int:
    return statements.count("BEGIN IMMEDIATE")


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement given as text, in order."""
    seen: list[str] = []
    run = SqliteTx.sql

    async def note(self: SqliteTx, text: str, arguments: tuple[object, ...] = ()) -> object:
        seen.append(text)
        return await run(self, text, arguments)

    monkeypatch.setattr(SqliteTx, "sql", note)
    return seen


async def test_jobs_that_wait_together_share_a_transaction(
    database: Database, statements: list[str]
) -> None:
    wanted = [f"t{number}" for number in range(100)]

    made = await asyncio.gather(*(database.write(tenant(name)) for name in wanted))

    assert made == wanted
    assert await names(database) == set(wanted)
    assert begins(statements) <= 3


async def test_a_failing_job_fails_alone(database: Database, statements: list[str]) -> None:
    outcomes = await asyncio.gather(
        database.write(tenant("before")),
        database.write(failing("gone", ValueError("no"))),
        database.write(tenant("before")),  # the same again: refused by the primary key
        database.write(tenant("after")),
        return_exceptions=True,
    )

    assert outcomes[0] == "before"
    assert isinstance(outcomes[1], ValueError)
    assert isinstance(outcomes[2], sqlite3.IntegrityError)
    assert outcomes[3] == "after"
    assert await names(database) == {"before", "after"}
    assert begins(statements) == 1


def asking(name: str, *later: tuple[Database, Job[str]]) -> tuple[Job[str], list[Any]]:
    """A job that makes a tenant, and asks for others while it is at it; these, as they come."""
    asked: list[Any] = []

    async def job(tx: Tx) -> str:
        await tenant(name)(tx)
        tx.stay_open()
        asked.extend(asyncio.ensure_future(database.write(other)) for database, other in later)
        return name

    return job, asked


async def test_what_a_job_asks_for_is_part_of_its_transaction(
    database: Database, statements: list[str]
) -> None:
    job, asked = asking("first", (database, tenant("second")), (database, failing("x", KeyError())))

    assert await database.write(job) == "first"
    async with asyncio.timeout(PATIENCE):
        second, failed = await asyncio.gather(*asked, return_exceptions=True)

    assert second == "second"
    assert isinstance(failed, KeyError)
    assert await names(database) == {"first", "second"}
    assert begins(statements) == 1


async def test_a_transaction_that_expects_nobody_is_committed_at_once(
    database: Database, statements: list[str]
) -> None:
    async def job(_: Tx) -> asyncio.Task[str]:
        return asyncio.create_task(database.write(tenant("second")))

    assert await asyncio.wait_for(await database.write(job), PATIENCE) == "second"
    assert begins(statements) == 2


async def test_a_commit_that_fails_takes_with_it_who_joined_late(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: WritingTx) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    job, asked = asking("first", (database, tenant("second")))
    with monkeypatch.context() as patch:
        patch.setattr(WritingTx, "commit", fail)
        with pytest.raises(StoreUnavailableError, match="disk I/O error"):
            await database.write(job)
        with pytest.raises(StoreUnavailableError, match="disk I/O error"):
            await asyncio.wait_for(asked[0], PATIENCE)

    assert kept(path) == set()
    assert await database.write(tenant("later")) == "later"


async def test_a_transaction_takes_no_more_however_much_is_asked_for_meanwhile(
    database: Database, statements: list[str]
) -> None:
    job, asked = asking("first", *((database, tenant(f"t{number}")) for number in range(100)))

    await database.write(job)
    async with asyncio.timeout(PATIENCE):
        assert len(await asyncio.gather(*asked)) == 100

    # the second begins when the first is full
    again = statements.index("BEGIN IMMEDIATE", 1)
    assert [part.count("SAVEPOINT job") for part in (statements[:again], statements[again:])] == [
        63,
        37,
    ]


@pytest.mark.parametrize(("stepped", "later"), [(50, 50), (-50, 0)])
async def test_who_joins_late_finds_what_was_due_when_he_asked_and_what_was_there_before(
    database: Database, clock: FakeClock, stepped: int, later: int
) -> None:
    async def time(tx: Tx) -> int:
        return tx.now

    async def job(tx: Tx) -> tuple[int, asyncio.Task[int]]:
        clock.advance(stepped)
        tx.stay_open()
        return tx.now, asyncio.create_task(database.write(time))

    began, late = await database.write(job)

    assert await asyncio.wait_for(late, PATIENCE) == began + later


@pytest.mark.parametrize("way", ["driver", "sqlalchemy"])
async def test_an_error_of_one_statement_is_the_same_either_way(
    database: Database, way: str
) -> None:
    async def job(tx: Tx) -> None:
        if way == "driver":
            await tx.sql("INSERT INTO tenants (id) VALUES ('default')")
        else:
            await tx.change(insert(tenants).values(id="default"))

    neighbour = asyncio.create_task(database.write(tenant("neighbour")))
    with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
        await database.write(job)

    assert await neighbour == "neighbour"


async def test_sqlalchemy_works_inside_the_transaction(database: Database, path: Path) -> None:
    seen: list[set[str]] = []

    async def job(tx: Tx) -> None:
        await tenant("unseen")(tx)
        rows = await tx.query(
            insert(tenants)
            .values(id="r", name="r", created_at=0, feed_position=0, config_version=0)
            .returning(tenants.c.id)
        )
        assert rows == [{"id": "r"}]
        seen.append(kept(path))

    await database.write(job)

    assert seen == [set()]
    assert kept(path) == {"unseen", "r"}


@pytest.mark.parametrize("way", ["driver", "sqlalchemy"])
async def test_a_full_disk_refuses_the_whole_group_and_keeps_nothing(
    database: Database, path: Path, way: str
) -> None:
    async def limit(tx: Tx) -> None:
        pages = (await tx.sql("PRAGMA page_count"))[0][0]
        await tx.sql(f"PRAGMA max_page_count = {pages}")

    async def fill(tx: Tx) -> None:
        if way == "driver":
            columns = "id, name, created_at, feed_position, config_version"
            text = f"INSERT INTO tenants ({columns}) VALUES ('big', ?, 0, 0, 0)"  # noqa: S608  names of columns
            await tx.sql(text, ("x" * 200_000,))
        else:
            await tenant("x" * 200_000)(tx)

    async def free(tx: Tx) -> None:
        await tx.sql("PRAGMA max_page_count = 1000000")

    await database.write(limit)
    outcomes = await asyncio.gather(
        database.write(tenant("neighbour")), database.write(fill), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * 2
    assert "full" in str(outcomes[0])
    assert kept(path) == set()

    await database.write(free)
    assert await database.write(tenant("later")) == "later"


async def test_a_cancelled_caller_does_not_break_the_others(database: Database) -> None:
    first = asyncio.create_task(database.write(tenant("first")))
    second = asyncio.create_task(database.write(tenant("second")))
    third = asyncio.create_task(database.write(tenant("third")))
    await asyncio.sleep(0)

    second.cancel()

    assert await first == "first"
    assert await third == "third"
    with pytest.raises(asyncio.CancelledError):
        await second
    assert await database.write(tenant("fourth")) == "fourth"


async def test_close_finishes_what_waits_and_takes_nothing_more(
    path: Path, clock: FakeClock
) -> None:
    database = SqliteDatabase(path, clock)
    await database.open()
    waiting = [asyncio.create_task(database.write(tenant(f"t{n}"))) for n in range(200)]
    await asyncio.sleep(0)

    await database.close()

    assert len(await asyncio.gather(*waiting)) == 200
    assert len(kept(path)) == 200
    with pytest.raises(StoreUnavailableError, match="not open"):
        await database.write(tenant("late"))
    with pytest.raises(StoreUnavailableError, match="not open"):
        await names(database)


async def test_a_read_is_one_snapshot_and_changes_nothing(database: Database) -> None:
    async with database.read() as tx:
        before = await tx.query(select(tenants.c.id))
        await database.write(tenant("meanwhile"))
        assert await tx.query(select(tenants.c.id)) == before
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await tx.change(insert(tenants).values(id="x"))

    assert await names(database) == {"meanwhile"}


@pytest.mark.parametrize("way", ["driver", "sqlalchemy", "look"])
async def test_a_cancelled_reader_gives_its_connection_back(database: Database, way: str) -> None:
    endless = (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) "
        "SELECT count(*) FROM n"
    )

    async def hang() -> None:
        if way == "look":
            await database.look(Statement(text(endless)))
            return
        async with database.read() as tx:
            await (tx.sql(endless) if way == "driver" else tx.query(text(endless)))
            await anyio.sleep_forever()

    for _ in range(3):  # more readers than there are connections
        with anyio.move_on_after(0.01):
            async with anyio.create_task_group() as group:
                for _ in range(6):
                    group.start_soon(hang)

    with anyio.fail_after(10):
        for _ in range(6):
            assert await names(database) == set()


@pytest.mark.parametrize("use", list(Use))
async def test_every_commit_is_synced_to_a_write_ahead_log(database: Database, use: Use) -> None:
    async def settings(tx: Tx) -> list[object]:
        pragmas = ("journal_mode", "synchronous", "mmap_size")
        return [(await tx.sql(f"PRAGMA {name}"))[0][0] for name in pragmas]

    assert await database.write(settings, use) == ["wal", 2, 0]


async def test_a_second_process_is_refused(database: Database, path: Path) -> None:
    assert await database.write(tenant("first")) == "first"
    program = (
        "import sys; from pathlib import Path\n"
        "from service.store.sqlite import SqliteDatabase\n"
        "from tests.support.clock import FakeClock\n"
        "SqliteDatabase(Path(sys.argv[1]), FakeClock())\n"
    )
    second = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )

    assert second.returncode == 1
    assert f"Another Ringback process has {path} open" in second.stderr
    assert "RINGBACK_DATABASE_URL" in second.stderr


async def test_a_file_that_cannot_be_locked_is_not_said_to_be_in_use(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreUnavailableError, match=r"cannot be locked: .*No locks") as told:
        SqliteDatabase(path, clock)
    assert not isinstance(told.value, StoreInUseError)


async def test_the_file_is_given_back(path: Path, clock: FakeClock) -> None:
    for _ in range(2):
        database = SqliteDatabase(path, clock)
        await database.open()
        await database.close()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (sqlite3.SQLITE_IOERR, StoreUnavailableError),
        (sqlite3.SQLITE_ERROR, sqlite3.OperationalError),
    ],
)
async def test_a_reader_is_told_when_the_database_cannot_be_read(
    database: Database, monkeypatch: pytest.MonkeyPatch, code: int, told: type[Exception]
) -> None:
    async def fail(*_: object, **__: object) -> list[object]:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = code
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(SqliteTx, "fetch", fail)
        with pytest.raises(told, match="disk I/O error"):
            await database.look(Statement(select(tenants.c.id)))
        with pytest.raises(told, match="disk I/O error"):
            async with database.read() as tx:
                await tx.fetch(Statement(select(tenants.c.id)))
    assert await database.look(Statement(select(tenants.c.id))) == [("default",)]


async def test_rows_go_in_few_sizes_so_that_all_statements_stay_prepared() -> None:
    sizes = [[len(chunk) for chunk in compiling.chunks(range(count))] for count in range(1_200)]

    assert [sum(each) for each in sizes] == list(range(1_200))
    assert max(map(len, sizes)) == 4  # 500, 500, 150, 49
    assert len({size for each in sizes for size in each}) < 60
