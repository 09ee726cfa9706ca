"""Behind a real PgBouncer that has fewer connections to the server than there are processes."""

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest

from tests.support import postgres
from tests.support.blackbox import Blackbox, blackbox
from tests.support.pgbouncer import PROGRAM, PgBouncer, pgbouncer
from tests.support.receiver import Receiver
from tests.support.server import ringback
from tests.support.valkey import Valkey
from tests.system.test_cluster import Cluster
from tests.system.test_postgres import SHARED, Producer, receiver_ids

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not on PATH"),
    pytest.mark.timeout(180),
]

ROLES = (("api",), ("api",), ("worker",), ("worker",), ("sweeper",))


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    """A server whose commits last, with a database for each test."""
    with postgres.server({"fsync": "on"}) as server:
        yield server


@pytest.fixture
def pooler(server: postgres.Server) -> Iterator[PgBouncer]:
    with pgbouncer(server.url()) as pooler:
        yield pooler


@pytest.fixture
async def url(server: postgres.Server, pooler: PgBouncer, tmp_path: Path) -> str:
    """An empty database through the pooler."""
    name = f"ringback_{tmp_path.name}"
    await postgres.run(server.url(), f'CREATE DATABASE "{name}"')
    return pooler.url(name)


@pytest.fixture
def cluster(tmp_path: Path, url: str, valkey: Valkey) -> Iterator[Cluster]:
    settings = {**SHARED, "RINGBACK_DATABASE_URL": url, "RINGBACK_REDIS_URL": valkey.url}
    made = ringback(tmp_path, "migrate", settings=settings)
    assert made.returncode == 0, made
    with ExitStack() as running:
        yield Cluster(tmp_path, settings, running)


async def kill(pooler: PgBouncer, _: postgres.Server) -> None:
    """It is killed, and a new one started."""
    await asyncio.to_thread(pooler.kill)
    await asyncio.sleep(0.2)
    await asyncio.to_thread(pooler.start)


async def reload(pooler: PgBouncer, _: postgres.Server) -> None:
    """RELOAD."""
    pooler.send(signal.SIGHUP)


async def pause(pooler: PgBouncer, _: postgres.Server) -> None:
    """PAUSE, which lets nobody begin a transaction, and RESUME."""
    pooler.send(signal.SIGUSR1)
    await asyncio.sleep(0.5)
    pooler.send(signal.SIGUSR2)


async def restart(_: PgBouncer, server: postgres.Server) -> None:
    """The server behind it crashes."""
    await asyncio.to_thread(server.stop, "immediate")
    await asyncio.to_thread(server.start)


@pytest.mark.parametrize("harm", [kill, reload, pause, restart])
async def test_what_happens_to_it_loses_and_doubles_nothing(
    cluster: Cluster,
    server: postgres.Server,
    pooler: PgBouncer,
    receiver: Receiver,
    harm: Callable[[PgBouncer, postgres.Server], Awaitable[None]],
) -> None:
    async with AsyncExitStack() as stack:
        running = [await asyncio.to_thread(cluster.start, *roles) for roles in ROLES]
        apis = [await stack.enter_async_context(blackbox(each)) for each in running[:2]]
        lane = await apis[0].subscribe(receiver.url("/"))
        producers = [Producer(api) for api in apis for _ in range(3)]
        posting = asyncio.gather(*(each.post(60) for each in producers))
        for _ in range(3):
            await asyncio.sleep(0.3)
            await harm(pooler, server)
        await posting
        sent = sorted(name for each in producers for name in each.kept)
        await apis[1].deliveries(lane, len(sent), "delivered", timeout=90)
        await _is_whole(apis[0], sent)
    assert set(receiver_ids(receiver)) == set(sent)
    assert {answer for each in producers for answer in each.answers} <= {202, 503}
    assert sum(each.unwaited for each in producers) == 0
    if harm in (reload, pause):
        assert Counter(receiver_ids(receiver)) == Counter(sent)
    for process in running:
        assert await asyncio.to_thread(process.stop) == 0
        assert "Traceback" not in process.output


async def _is_whole(api: Blackbox, sent: list[str]) -> None:
    """Exactly what was accepted is there, once each, and numbered without gaps."""
    found, _ = await api.feed(types="note")
    assert sorted(each["id"] for each in found) == sent
    for operation in {each["operationId"] for each in found}:
        own = [each["sequence"] for each in found if each["operationId"] == operation]
        assert own == list(range(1, len(own) + 1))
