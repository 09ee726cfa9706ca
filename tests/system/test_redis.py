"""Redis may lose everything, hang, die or never come: deliveries go on, the API never notices.

On PostgreSQL: on SQLite the worker is told of events without a message.
"""

import asyncio
import base64
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.support.blackbox import Blackbox, blackbox
from tests.support.postgres import Databases
from tests.support.receiver import Receiver
from tests.support.server import free_port
from tests.support.valkey import FAULTS, Valkey, client
from tests.system.conftest import StartServer

pytestmark = pytest.mark.anyio

#: Seconds in which the sweep brings what no wake brought; it looks every second.
SWEPT = 5.0


@pytest.fixture
def shared(databases: Databases) -> Iterator[dict[str, str]]:
    """Settings of a service on a database of the test's own."""
    with databases.database() as url:
        yield {
            "RINGBACK_DATABASE_URL": url,
            "RINGBACK_TRUST_DATABASE": "true",  # the server of the tests is fast, not safe
            "RINGBACK_ADMIN_KEY": "rb_test_admin_beside_redis",
            "RINGBACK_ENCRYPTION_KEYS": f"k1:{base64.b64encode(b'1' * 32).decode()}",
        }


async def posted(api: Blackbox, names: Sequence[str]) -> list[float]:
    """Post an event for each operation, one after another; how long each answer took."""
    took = []
    for name in names:
        begun = time.monotonic()
        await api.event(name, "note")
        took.append(time.monotonic() - begun)
    return took


def of(receiver: Receiver) -> list[str]:
    return sorted(request.headers["x-operation-id"] for request in receiver.requests)


async def arrived(receiver: Receiver, count: int, within: float = SWEPT) -> None:
    """Wait for so many requests in all."""
    await receiver.wait_for(count, within)


async def test_wakes_go_over_redis(
    start_server: StartServer, receiver: Receiver, valkey: Valkey, shared: dict[str, str]
) -> None:
    server = start_server({**shared, "RINGBACK_REDIS_URL": valkey.url})
    async with blackbox(server) as api:
        await api.subscribe(receiver.url("/"))
        for number in range(20):
            await posted(api, [f"op-{number}"])
            await arrived(receiver, number + 1)
        with client(valkey.url) as seen:
            calls: Any = seen.info("commandstats")
        assert calls["cmdstat_rpush"]["calls"] >= 20
        assert calls["cmdstat_publish"]["calls"] >= 1


@pytest.mark.parametrize("fault", FAULTS)
async def test_deliveries_go_on_without_redis(
    start_server: StartServer,
    receiver: Receiver,
    valkey: Valkey,
    shared: dict[str, str],
    fault: str,
) -> None:
    server = start_server({**shared, "RINGBACK_REDIS_URL": valkey.url})
    names = [f"op-{number}" for number in range(30)]
    async with blackbox(server) as api:
        await api.subscribe(receiver.url("/"))
        await posted(api, names[:10])
        await arrived(receiver, 10)

        valkey.suffer(fault)
        took = await posted(api, names[10:20])
        assert max(took) < 1.0
        await arrived(receiver, 20)
        assert (await api.http.get("/readyz")).status_code == 200

        valkey.recover(fault)
        await posted(api, names[20:])
        await arrived(receiver, 30)
    assert of(receiver) == sorted(names)
    assert "Traceback" not in server.output


async def test_it_starts_stops_and_delivers_where_there_is_no_redis(
    start_server: StartServer, receiver: Receiver, shared: dict[str, str]
) -> None:
    server = start_server({**shared, "RINGBACK_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"})
    async with blackbox(server) as api:
        await api.subscribe(receiver.url("/"))
        await posted(api, ["op-1"])
        await arrived(receiver, 1)
        assert (await api.http.get("/readyz")).status_code == 200
    begun = time.monotonic()
    assert await asyncio.to_thread(server.stop) == 0
    assert time.monotonic() - begun < 10.0
    assert "Traceback" not in server.output


async def test_it_stops_while_redis_hangs(
    start_server: StartServer, receiver: Receiver, valkey: Valkey, shared: dict[str, str]
) -> None:
    server = start_server({**shared, "RINGBACK_REDIS_URL": valkey.url})
    async with blackbox(server) as api:
        await api.subscribe(receiver.url("/"))
        api.made.clear()
        await posted(api, ["op-1"])
        await arrived(receiver, 1)
    valkey.pause()
    begun = time.monotonic()
    assert await asyncio.to_thread(server.stop) == 0
    assert time.monotonic() - begun < 10.0
