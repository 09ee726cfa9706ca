"""The order to stop while the database hangs: it ends in the time that deployments give it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from service.lab.servers import Postgres
from service.lab.torture.proxy import FaultProxy, Harm
from service.runtime import doors
from service.runtime.wiring import LONGEST_TIMEOUT
from service.store.postgres import connections, database, migrating
from service.usecases import deliver, sweep
from tests.support.blackbox import Blackbox, blackbox
from tests.support.faults import NAME, fault_proxy, postgres_on_a_port
from tests.support.receiver import Receiver
from tests.support.server import Server
from tests.system.test_postgres import SHARED

pytestmark = pytest.mark.anyio

#: Seconds until supervisors kill it; see ``deploy``.
DEADLINE = 60.0
#: Seconds in which one ends that has nothing in flight: about half of them on a busy machine.
_IDLE = 30.0
#: Seconds in which nobody is kept from a database that is there: one time-out, not two, and some
#: for a busy machine. And so many for each of all connections, one after the other.
_SILENCE = connections._ANSWER * 1.75  # noqa: SLF001  as below
_LONG = connections._ANSWER * 10  # noqa: SLF001  as below


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    """A server that a proxy can stand before, with a migrated database."""
    with postgres_on_a_port(tmp_path) as server:
        asyncio.run(migrating.migrate(server.url(NAME)))
        yield server


@asynccontextmanager
async def behind_a_proxy(
    folder: Path, postgres: Postgres, receiver: Receiver
) -> AsyncIterator[tuple[FaultProxy, Server, Blackbox]]:
    """The service at work with what stands between it and its database; a lane has had twenty."""
    async with fault_proxy(postgres.port) as proxy:
        settings = {**SHARED, "RINGBACK_DATABASE_URL": postgres.url(NAME, proxy.port)}
        server = Server(folder, settings)
        try:
            await asyncio.to_thread(server.start)  # the proxy is at work in this thread
            async with blackbox(server) as api:
                lane = await api.subscribe(receiver.url("/"))
                await asyncio.gather(*(api.event(f"op-{n}", "note") for n in range(20)))
                await api.deliveries(lane, 20, "delivered")
                yield proxy, server, api
        finally:
            server.kill()


def test_all_that_a_stop_waits_for_one_after_the_other_fits_into_the_deadline() -> None:
    waits = (
        LONGEST_TIMEOUT,  # sends
        deliver._LAST,  # noqa: SLF001  what is added up here, nobody else needs
        2 * sweep._LAST,  # noqa: SLF001  as above: of a worker and of an API
        2 * doors._GRACE,  # noqa: SLF001  as above: of the API and of the state
        database._CLOSING,  # noqa: SLF001  as above
    )
    assert sum(waits) < DEADLINE - 2


async def test_it_stops_while_the_database_hangs(
    tmp_path: Path, postgres: Postgres, receiver: Receiver
) -> None:
    event = {"operationId": "op", "type": "note"}
    async with behind_a_proxy(tmp_path / "service", postgres, receiver) as (proxy, server, api):
        api.made.clear()
        proxy.suffer(Harm(delay=3_600.0))
        asked = (api.http.post("/v1/events", json=event), api.http.get("/v1/operations"))
        asking = [asyncio.ensure_future(each) for each in asked]
        await asyncio.wait(asking, timeout=1.0)
        begun = time.monotonic()
        assert await asyncio.to_thread(server.stop, timeout=DEADLINE) == 0
        took = time.monotonic() - begun
        answers = await asyncio.gather(*asking, return_exceptions=True)

    assert took < _IDLE
    told = [each.status_code for each in answers if isinstance(each, httpx.Response)]
    assert set(told) <= {503}


async def test_it_is_back_as_soon_as_one_connection_was_silent_for_too_long(
    tmp_path: Path, postgres: Postgres, receiver: Receiver
) -> None:
    told: list[tuple[int, float]] = []

    async def ask(http: httpx.AsyncClient) -> None:
        begun = time.monotonic()
        answer = await http.get("/v1/operations", timeout=_LONG)
        told.append((answer.status_code, time.monotonic() - begun))

    async with behind_a_proxy(tmp_path / "service", postgres, receiver) as (proxy, _, api):
        lane = {"id": api.made[0]}
        proxy.hang()  # as after a firewall forgot them
        begun = time.monotonic()
        asked = []
        while not any(status == httpx.codes.OK for status, _ in told):
            assert time.monotonic() - begun < _LONG
            asked.append(asyncio.create_task(ask(api.http)))
            await asyncio.wait(asked[-1:], timeout=0.2)
        took = time.monotonic() - begun
        await asyncio.gather(*asked)
        await api.event("late", "note")
        await api.deliveries(lane, 21, "delivered")

    assert took < _SILENCE
    assert {status for status, _ in told} <= {200, 503}
    assert max(took for _, took in told) < _SILENCE
