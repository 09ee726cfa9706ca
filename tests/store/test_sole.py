"""One process without Redis on a database, or many with it: who may start, and when again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import pytest

from service.ports import StoreUnavailableError
from service.runtime.clock import SystemClock
from service.store.postgres import PostgresDatabase, database, sole
from service.store.postgres.connections import Address
from tests.support import postgres
from tests.support.clock import FakeClock
from tests.support.pooling import SPELLED, Spelled, with_flag

pytestmark = pytest.mark.anyio

CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
)
HOLDER = (
    "SELECT max(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sole, "PATIENCE", 0.3)
    monkeypatch.setattr(sole, "_LOOK", 0.05)


@asynccontextmanager
async def worked_with(url: str) -> AsyncIterator[None]:
    """By a process that has a Redis."""
    database = PostgresDatabase(url, FakeClock(), roles=("api", "worker"), fixed=True)
    await database.open()
    yield
    await database.close()


async def holder(url: str, *others: int) -> int:
    """The session that has the place, as soon as it is none of these."""
    async with asyncio.timeout(20):
        while (found := (await postgres.run(url, HOLDER))[0][0]) in (None, *others):  # noqa: ASYNC110  a client can only ask
            await asyncio.sleep(0.02)
    return int(found)


@SPELLED
async def test_a_process_without_redis_is_alone(url: str, spelled: Spelled) -> None:
    async with sole.alone(spelled(url)):
        with pytest.raises(StoreUnavailableError, match=r"Another process works with postgresql:"):
            async with sole.alone(spelled(url)):
                pass
        with pytest.raises(StoreUnavailableError, match="Give all processes the same redis:// URL"):
            await sole.meet(spelled(url))
    await sole.meet(spelled(url))
    async with sole.alone(spelled(url)):
        pass


async def test_it_does_not_join_those_that_have_one(url: str) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(worked_with(url))
        await sole.meet(url)
        with pytest.raises(StoreUnavailableError, match="RINGBACK_REDIS_URL is not set"):
            await stack.enter_async_context(sole.alone(url))
    async with sole.alone(url):
        pass


async def test_behind_a_pooler_it_waits_for_signs_of_life(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There nobody sees whose sessions there are."""
    monkeypatch.setattr(database, "_TEND", 0.05)
    living = PostgresDatabase(with_flag(url), SystemClock(), roles=("api", "worker"))
    await living.open()
    with pytest.raises(StoreUnavailableError, match="RINGBACK_REDIS_URL is not set"):
        async with sole.alone(with_flag(url)):
            pass
    await living.close()
    async with sole.alone(with_flag(url)):  # it gave its number back
        pass


async def test_behind_a_pooler_it_does_not_wait_for_the_dead_for_long(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sole, "RENEWAL", 500)
    crashed = PostgresDatabase(with_flag(url), SystemClock(), roles=("api", "worker"))
    await crashed.open()
    async with asyncio.timeout(20), sole.alone(with_flag(url)):
        pass
    await crashed.close()


@SPELLED
async def test_its_place_is_taken_again_at_once_when_the_connection_was_lost(
    url: str, monkeypatch: pytest.MonkeyPatch, spelled: Spelled
) -> None:
    """A pooler may bound how long a transaction is idle: it is soon lost again."""
    monkeypatch.setattr(sole, "_LOOK", 3_600.0)
    async with sole.alone(spelled(url)):
        before = await holder(url)
        for _ in range(3):
            await postgres.run(url, CUT)
            before = await holder(url, before)
        with pytest.raises(StoreUnavailableError):
            await sole.meet(spelled(url))


async def test_a_server_that_was_away_is_looked_for_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sole.alone(url):
        before = await holder(url)
        connect = Address.connect
        tries: list[Address] = []

        async def refused_once(address: Address) -> asyncpg.Connection:
            tries.append(address)
            if len(tries) == 1:
                raise StoreUnavailableError("It is away.")
            return await connect(address)

        monkeypatch.setattr(Address, "connect", refused_once)
        await postgres.run(url, CUT)
        await holder(url, before)


async def test_that_another_was_faster_is_said(url: str, caplog: pytest.LogCaptureFixture) -> None:
    rival = await asyncpg.connect(url)
    async with sole.alone(url):
        lock = "SELECT pg_advisory_lock(hashtextextended('ringback/sole', 0))"
        waiting = asyncio.create_task(rival.execute(lock))
        waiter = HOLDER.replace("granted", "NOT granted")
        async with asyncio.timeout(20):
            while (await postgres.run(url, waiter))[0][0] is None:  # noqa: ASYNC110  a client can only ask
                await asyncio.sleep(0.02)
        await postgres.run(url, f"{CUT} AND application_name = 'ringback'")
        await waiting
        async with asyncio.timeout(20):
            while not caplog.messages:  # noqa: ASYNC110  it is said by a task of its own
                await asyncio.sleep(0.02)
    await rival.close()
    assert "Another process works with" in caplog.messages[0]
