"""Connections that are gone without a word: found out about once, not one by one."""

import asyncio
import ctypes
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import asyncpg
import pytest

from service.domain.ids import KeyMaker
from service.lab.servers import Postgres
from service.lab.torture.proxy import FaultProxy
from service.ports import StoreUnavailableError
from service.store.database import Tx, Use
from service.store.postgres import PostgresDatabase, connections, doubt, migrating
from service.store.postgres import database as postgres_database
from service.store.tenancy import TenantStore
from service.usecases.coalescing import Coalesced
from tests.support.clock import FakeClock
from tests.support.faults import NAME, fault_proxy, postgres_on_a_port

pytestmark = pytest.mark.anyio

#: Seconds that the server has to answer here, in place of twelve.
ANSWER = 2.0
#: Of Linux; Python does not name it.
SO_ATTACH_FILTER = 26
#: One instruction: keep nothing of a packet.
DROP = struct.pack("HBBI", 0x06, 0, 0, 0)


@pytest.fixture(scope="module")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server that a proxy can stand before, with a migrated database."""
    with postgres_on_a_port(tmp_path_factory.mktemp("postgres")) as server:
        asyncio.run(migrating.migrate(server.url(NAME)))
        yield server


@pytest.fixture
async def proxy(lab_server: Postgres) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(lab_server.port) as proxy:
        yield proxy


@pytest.fixture
async def server(
    lab_server: Postgres, proxy: FaultProxy, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PostgresDatabase]:
    """A process with all the connections that it may have, behind the proxy."""
    monkeypatch.setattr(connections, "_ANSWER", ANSWER)
    async with busy(lab_server.url(NAME, proxy.port), clock) as database:
        yield database


@asynccontextmanager
async def busy(url: str, clock: FakeClock) -> AsyncIterator[PostgresDatabase]:
    """A process that used all its connections at once."""
    database = PostgresDatabase(url, clock, fixed=True)
    await database.open()
    everyone = asyncio.Barrier(PostgresDatabase.connections)

    async def write(_: Tx) -> None:
        await everyone.wait()

    async def read() -> None:
        async with database.read():
            await everyone.wait()

    async with asyncio.timeout(10):
        await asyncio.gather(
            *(
                read() if use is Use.READ else database.write(write, use)
                for use, size in postgres_database._SIZES.items()  # noqa: SLF001  all that there are
                for _ in range(size)
            )
        )
    assert len(idle(database)) == PostgresDatabase.connections
    yield database
    await database.close()


def idle(database: PostgresDatabase) -> list[asyncpg.Connection]:
    """Connections that nobody uses."""
    kinds = database._pool._idle.values()  # noqa: SLF001  nothing else tells
    return [connection for kind in kinds for connection, _ in kind]


def tenants_of(database: PostgresDatabase) -> TenantStore:
    return TenantStore(database, KeyMaker())


async def count(tx: Tx) -> int:
    return int((await tx.sql("SELECT count(*) FROM tenants"))[0][0])


async def until_it_works(work: Callable[[], Awaitable[object]]) -> tuple[int, float]:
    """How many tries it took, and how many seconds the longest."""
    longest = 0.0
    for tries in range(1, 20):
        begun = time.monotonic()
        try:
            await work()
        except StoreUnavailableError:
            longest = max(longest, time.monotonic() - begun)
        else:
            return tries, longest
    raise AssertionError("it never works")


async def test_what_many_ask_for_is_found_on_a_new_connection_as_soon_as_one_was_silent(
    server: PostgresDatabase, proxy: FaultProxy
) -> None:
    shared = Coalesced(tenants_of(server).has_tenant)
    waits: list[float] = []

    async def ask() -> None:
        begun = time.monotonic()
        try:
            await shared.ask("default")
        except StoreUnavailableError:
            waits.append(time.monotonic() - begun)
        else:
            found.set()

    proxy.hang()
    found = asyncio.Event()
    asked = []
    begun = time.monotonic()
    async with asyncio.timeout(PostgresDatabase.connections * ANSWER * 1.5):
        while not found.is_set():
            asked.append(asyncio.create_task(ask()))
            with anyio.move_on_after(0.05):
                await found.wait()
    took = time.monotonic() - begun
    await asyncio.gather(*asked)

    assert took < 2.5 * ANSWER  # nine that are tried one by one take nine times as long
    assert waits
    assert max(waits) < 2.5 * ANSWER


@pytest.mark.parametrize("use", [Use.ACCEPT, Use.REST])
async def test_a_change_is_refused_once_at_most(
    server: PostgresDatabase, proxy: FaultProxy, use: Use
) -> None:
    proxy.hang()

    tries, longest = await until_it_works(lambda: server.write(count, use))

    assert tries <= 2
    assert longest < 2.5 * ANSWER


async def test_a_job_that_its_server_falls_silent_in_is_given_up_as_soon_as_that_is_known(
    server: PostgresDatabase, proxy: FaultProxy
) -> None:
    async def job(tx: Tx) -> int:
        if proxy.cuts == 0:
            proxy.cuts = 1  # once
            proxy.hang()
        return await count(tx)

    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        await server.write(job)

    assert time.monotonic() - begun < ANSWER + connections._ROLLBACK  # noqa: SLF001  not that as well
    assert await server.write(job) >= 1


async def test_what_became_of_a_commit_is_not_asked_of_those_as_silent(
    server: PostgresDatabase, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubt, "_LOOKING", ANSWER * 0.75)
    execute = asyncpg.Connection.execute

    async def unanswered(connection: Any, query: str, *args: Any, **kw: Any) -> str:  # noqa: ANN401  as it is
        said = str(await execute(connection, query, *args, **kw))
        if query == "COMMIT":
            monkeypatch.setattr(asyncpg.Connection, "execute", execute)
            proxy.hang()
            await execute(connection, "SELECT 1")
        return said

    async def job(tx: Tx) -> str:
        await tx.sql("UPDATE tenants SET name = 'kept' WHERE id = 'default'")
        return "kept"

    async def is_kept(tx: Tx, name: str) -> bool:
        rows = await tx.sql("SELECT name FROM tenants WHERE id = 'default'")
        return rows == [(name,)]

    monkeypatch.setattr(asyncpg.Connection, "execute", unanswered)
    assert await server.write(job, proof=is_kept) == "kept"


async def test_one_that_is_slow_takes_none_with_it_that_was_heard_of_lately(
    server: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_HEARD", 60.0)  # however busy this machine is
    made = set(idle(server))

    async def hang(tx: Tx) -> None:
        await tx.sql("SELECT pg_sleep(60)")

    with pytest.raises(StoreUnavailableError):
        await server.write(hang)

    left = idle(server)
    assert len(left) == len(made) - 1
    assert set(left) < made
    assert not any(connection.is_closed() for connection in left)


# --- what the kernel finds out


def deafen(connection: asyncpg.Connection) -> None:
    """Let every packet for a connection be dropped before the kernel's TCP sees it."""
    kept = ctypes.create_string_buffer(DROP)
    program = struct.pack("HP", 1, ctypes.addressof(kept))
    own = connection._transport.get_extra_info("socket")  # noqa: SLF001  the driver shows it nowhere else
    try:
        own.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
    except OSError:
        pytest.skip("this system has no socket filters")


async def test_a_connection_on_which_nothing_is_acknowledged_is_lost_before_its_answer_is_late(
    lab_server: Postgres, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_ANSWER", 60.0)
    monkeypatch.setitem(connections._PROBES, "TCP_USER_TIMEOUT", 1_500)  # noqa: SLF001  in place of five seconds
    async with busy(lab_server.url(NAME), clock) as server:
        for connection in idle(server):
            deafen(connection)

        with anyio.fail_after(20):  # and nobody is told of it
            assert await tenants_of(server).has_tenant("default")
            assert await server.write(count) >= 1


async def test_an_idle_connection_that_is_gone_is_noticed_before_anyone_uses_it(
    lab_server: Postgres, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"):
        monkeypatch.setitem(connections._PROBES, name, 1)  # noqa: SLF001  in place of many seconds
    monkeypatch.delitem(connections._PROBES, "TCP_USER_TIMEOUT")  # noqa: SLF001  which counts here too
    async with busy(lab_server.url(NAME), clock) as server:
        made = idle(server)
        for connection in made:
            deafen(connection)

        with anyio.fail_after(30):
            while not all(connection.is_closed() for connection in made):  # noqa: ASYNC110  only asking tells
                await asyncio.sleep(0.05)
