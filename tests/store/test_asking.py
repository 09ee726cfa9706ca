"""Those who ask the server a few things: what is made sure of first, and what they are told."""

import asyncio

import anyio
import asyncpg
import pytest

from service.ports import StoreUnavailableError
from service.store.postgres import connections, migrating
from service.store.postgres.asking import asked, check
from service.store.postgres.connections import Address
from tests.support import postgres
from tests.support.pooling import SPELLED, Spelled
from tests.support.postgres import Databases

pytestmark = pytest.mark.anyio

CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
)
#: What others who migrate wait for.
HOLD = "SELECT pg_advisory_xact_lock(7242255225)"


@SPELLED
async def test_a_server_that_is_lost_meanwhile_is_not_available(url: str, spelled: Spelled) -> None:
    async def ask() -> None:
        async with asked(Address.of(spelled(url))) as connection:
            await postgres.run(url, CUT)
            await connection.fetch("SELECT 1")

    with pytest.raises(StoreUnavailableError, match=r"The database postgresql:.* cannot be read"):
        await ask()


async def test_a_wrong_question_is_its_own_error(url: str) -> None:
    with pytest.raises(asyncpg.UndefinedColumnError):
        async with asked(Address.of(url)) as connection:
            await connection.fetch("SELECT nothing")


async def test_limits_that_do_not_hold_are_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await check(url)
    # another spelling of the same: what the server says is not what was given
    monkeypatch.setattr(connections, "LIMITS", {**connections.LIMITS, "lock_timeout": "5s"})
    with pytest.raises(StoreUnavailableError, match=r"keep the limits .* add pgbouncer=true"):
        await check(url)


async def test_who_tells_of_another_process_than_there_is_stands_between(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncpg.Connection, "get_server_pid", lambda _: 1)
    with pytest.raises(StoreUnavailableError, match=r"another process .* add pgbouncer=true"):
        await check(url)


@SPELLED
def test_a_migration_does_not_wait_long_for_a_lock(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, spelled: Spelled
) -> None:
    monkeypatch.setattr(migrating, "_LIMITS", {"lock_timeout": "50"})

    async def beside_another(url: str) -> None:
        rival = await asyncpg.connect(url)
        async with rival.transaction():
            await rival.execute(HOLD)
            with anyio.fail_after(20), pytest.raises(StoreUnavailableError, match="lock timeout"):
                await migrating.migrate(spelled(url))
        await rival.close()

    with databases.database(migrated=False) as url:
        asyncio.run(beside_another(url))
