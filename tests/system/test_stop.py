"""The order to stop: readiness turns, claiming stops, what is in flight ends, the rest waits."""

import asyncio
import signal
import sqlite3
import time
from contextlib import closing
from typing import Any

import httpx
import pytest

from tests.support.blackbox import Blackbox, blackbox
from tests.support.receiver import Received, Receiver, Reply
from tests.support.server import Server, free_port
from tests.system.conftest import StartServer

pytestmark = pytest.mark.anyio

#: Seconds that the receiver takes, longer than all else that a stop waits for.
SLOW = 3.0


def slow(_: Received) -> Reply:
    return Reply(delay=SLOW)


async def told(url: str, path: str) -> int:
    """The status with which a process answers; 0 when it answers no more."""
    async with httpx.AsyncClient() as client:
        try:
            return (await client.get(f"{url}{path}", timeout=5.0)).status_code
        except httpx.TransportError:
            return 0


async def until_not_ready(url: str) -> int:
    """The first answer of ``/readyz`` that is not a yes."""
    async with asyncio.timeout(5):
        while (status := await told(url, "/readyz")) == 200:  # noqa: ASYNC110  a client can only ask
            await asyncio.sleep(0.01)
    return status


async def busy(server: Server, api: Blackbox, receiver: Receiver) -> Any:  # noqa: ANN401  any JSON
    """A subscription whose one delivery is on its way when the service is told to stop."""
    receiver.script = slow
    lane = await api.subscribe(receiver.url("/"), maxConcurrency=1)
    api.made.clear()
    await api.event("op-1", "note")
    await receiver.wait_for(1)
    server.send(signal.SIGTERM)
    return lane


async def test_it_is_unready_before_it_is_deaf_and_ends_what_is_in_flight(
    start_server: StartServer, receiver: Receiver
) -> None:
    state = free_port()
    server = start_server({}, "--status-port", str(state))
    urls = (server.url, f"http://127.0.0.1:{state}")
    assert [await told(url, "/readyz") for url in urls] == [200, 200]
    async with blackbox(server) as api:
        lane = await busy(server, api, receiver)
        for url in urls:
            assert await until_not_ready(url) == 503
            assert await told(url, "/livez") == 200
            assert await told(url, "/metrics") == 200
        # what is accepted now is kept, and nothing more is sent
        await api.event("op-2", "note")
        assert await asyncio.to_thread(server.wait) == 0
        assert len(receiver.requests) == 1
    assert [await told(url, "/livez") for url in urls] == [0, 0]

    receiver.script = lambda _: Reply()
    await asyncio.to_thread(server.start)
    async with blackbox(server) as api:
        delivered = await api.deliveries(lane, 2, "delivered")
    assert [each["attempts"] for each in delivered] == [1, 1]
    assert len(receiver.requests) == 2


async def test_the_address_of_the_state_answers_nothing_else(start_server: StartServer) -> None:
    state = free_port()
    start_server({}, "--status-port", str(state))
    for path in ("/v1/operations", "/docs", "/openapi.json"):
        assert await told(f"http://127.0.0.1:{state}", path) == 404


async def test_what_takes_longer_than_the_request_timeout_of_others_ends_too(
    start_server: StartServer, receiver: Receiver
) -> None:
    """A subscription may ask for more time than the service's own setting gives."""
    receiver.script = slow
    server = start_server({"RINGBACK_REQUEST_TIMEOUT": "1"})
    async with blackbox(server) as api:
        lane = await api.subscribe(receiver.url("/"), timeoutSeconds=10)
        api.made.clear()
        await api.event("op-1", "note")
        await receiver.wait_for(1)
    begun = time.monotonic()
    assert await asyncio.to_thread(server.stop) == 0
    assert time.monotonic() - begun > SLOW / 2
    await asyncio.to_thread(server.start)
    async with blackbox(server) as api:
        (delivered,) = await api.deliveries(lane, 1, "delivered")
    assert delivered["attempts"] == 1
    assert len(receiver.requests) == 1


async def test_what_was_only_counted_is_written_before_the_end(
    start_server: StartServer, receiver: Receiver
) -> None:
    server = start_server()
    async with blackbox(server) as api:
        lane = await api.subscribe(receiver.url("/"))
        for number in range(20):
            await api.event(f"op-{number}", "note")
        await api.deliveries(lane, 20, "delivered")
        api.made.clear()
    assert await asyncio.to_thread(server.stop) == 0

    with closing(sqlite3.connect(server.database)) as file:
        over_time = file.execute(
            "SELECT sum(accepted), sum(delivered) FROM traffic WHERE tenant_id = '' GROUP BY length"
        ).fetchall()
        attempts = file.execute(
            "SELECT sum(succeeded) FROM attempt_tallies GROUP BY subscription_no"
        ).fetchall()
        heard_of = file.execute("SELECT last_success_at FROM subscription_health").fetchall()
    assert over_time == [(20, 20)] * 2
    assert attempts == [(20,)] * 2
    assert len(heard_of) == 1
