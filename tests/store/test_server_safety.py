"""What a PostgreSQL server lets us promise: commits that are safe, changes that are taken."""

import asyncpg
import pytest
from sqlalchemy import select

from service.ports import StoreUnavailableError
from service.store.database import Tx
from service.store.postgres import PostgresDatabase, connections, migrating
from service.store.reading import ReadStore
from service.store.schema import tenants
from service.store.statements import Statement
from tests.support import postgres
from tests.support.clock import FakeClock
from tests.support.pooling import SPELLED, Spelled

pytestmark = pytest.mark.anyio


@SPELLED
@pytest.mark.parametrize(("theirs", "ours"), [("off", "on"), ("remote_apply", "remote_apply")])
async def test_no_commit_is_answered_before_it_is_safe(
    url: str, clock: FakeClock, spelled: Spelled, theirs: str, ours: str
) -> None:
    ((name,),) = await postgres.run(url, "SELECT current_database()")
    await postgres.run(url, f'ALTER DATABASE "{name}" SET synchronous_commit TO {theirs}')
    database = PostgresDatabase(spelled(url), clock, fixed=True)
    await database.open()

    async def told(tx: Tx) -> str:
        return str((await tx.sql("SHOW synchronous_commit"))[0][0])

    assert await database.write(told) == ours
    await database.close()


async def test_after_a_change_was_not_taken_it_is_tried_whether_others_are(
    url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LIMITS", {**connections.LIMITS, "lock_timeout": "50"})
    database = PostgresDatabase(url, clock, fixed=True)
    await database.open()
    read = ReadStore(database)

    async def fill(_: Tx) -> None:
        raise asyncpg.DiskFullError("No space left on device")

    other = await asyncpg.connect(url)
    async with other.transaction():
        await other.execute("LOCK TABLE nodes")
        await read.check()  # nothing says that it should be tried
        with pytest.raises(StoreUnavailableError, match="No space left"):
            await database.write(fill)
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="lock timeout"):
                await read.check()
    await read.check()
    async with other.transaction():
        await other.execute("LOCK TABLE nodes")
        await read.check()  # once is enough
    await other.close()
    await database.close()


async def test_a_standby_takes_no_change_until_it_is_promoted(clock: FakeClock) -> None:
    with postgres.server() as server:
        await migrating.migrate(server.url())
        database = PostgresDatabase(server.url(), clock, fixed=True)
        await database.open()

        async def touch(tx: Tx) -> None:
            await tx.sql("UPDATE tenants SET name = name")

        async def is_there() -> bool:
            return bool(await database.look(Statement(select(tenants.c.id))))

        server.become_standby()
        with pytest.raises(StoreUnavailableError, match="did not take the change"):
            await database.write(touch)
        assert await is_there()
        ((found,),) = await postgres.run(server.url(), "SELECT pg_promote()")
        assert found
        await database.write(touch)
        await database.close()
