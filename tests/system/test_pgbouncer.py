"""Behind a real PgBouncer that has fewer connections to the server than there are processes."""

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from typing import Final

import pytest

from service.ports import StoreUnavailableError
from service.store.postgres import asking
from service.store.postgres.connections import LIMITS
from tests.support import postgres
from tests.support.blackbox import Blackbox, blackbox
from tests.support.pgbouncer import PROGRAM, PgBouncer, pgbouncer
from tests.support.receiver import Receiver
from tests.support.server import Server, ringback
from tests.system.test_cluster import Cluster
from tests.system.test_postgres import SHARED, Producer, receiver_ids

if PROGRAM is None:
    pytest.skip("pgbouncer is not on PATH", allow_module_level=True)

pytestmark = pytest.mark.anyio

ROLES: Final = ("api", "api", "worker", "sweeper")
#: What a PgBouncer is told that takes limits and drops them.
DROPPED: Final = ", ".join(
    (*LIMITS, *(f"tcp_keepalives_{n}" for n in ("idle", "interval", "count")))
)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    """A server whose commits last."""
    with postgres.server({"fsync": "on"}) as server:
        yield server


@pytest.fixture(scope="module")
def pooler(server: postgres.Server) -> Iterator[PgBouncer]:
    with pgbouncer(server.url()) as pooler:
        yield pooler


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, pooler: PgBouncer, redis_url: str
) -> Iterator[list[Server]]:
    """Processes of each role, whose schema was made through the pooler too."""
    folder = tmp_path_factory.mktemp("pooled")
    settings = {**SHARED, "RINGBACK_DATABASE_URL": pooler.url(), "RINGBACK_REDIS_URL": redis_url}
    for _ in range(2):
        made = ringback(folder, "migrate", settings=settings)
        assert made.returncode == 0, made
    with ExitStack() as stack:
        cluster = Cluster(folder, settings, stack)
        servers = [cluster.start(role) for role in ROLES]
        yield servers
        for process in servers:
            assert process.stop() == 0
            assert "Traceback" not in process.output


Harm = Callable[[PgBouncer, postgres.Server], Awaitable[None]]


async def kill(pooler: PgBouncer, _: postgres.Server) -> None:
    """All connections are cut, and for a moment there are none to be had."""
    await asyncio.to_thread(pooler.kill)
    await asyncio.sleep(0.2)
    await asyncio.to_thread(pooler.start)


async def crash(_: PgBouncer, server: postgres.Server) -> None:
    """The server behind it crashes, and is started again."""
    await asyncio.to_thread(server.stop, "immediate")
    await asyncio.to_thread(server.start)


async def pause(pooler: PgBouncer, _: postgres.Server) -> None:
    """Nobody may begin a transaction for a while; then its configuration is read anew."""
    pooler.send(signal.SIGUSR1)
    await asyncio.sleep(0.5)
    pooler.send(signal.SIGUSR2)
    pooler.send(signal.SIGHUP)


@pytest.mark.parametrize("harm", [pause, kill, crash])
async def test_what_happens_to_it_loses_nothing(
    running: list[Server],
    server: postgres.Server,
    pooler: PgBouncer,
    receiver: Receiver,
    harm: Harm,
) -> None:
    kind = harm.__name__
    async with AsyncExitStack() as stack:
        apis = [await stack.enter_async_context(blackbox(each)) for each in running[:2]]
        lane = await apis[0].subscribe(receiver.url("/"), eventTypes=[kind])
        producers = [Producer(api, kind) for api in apis for _ in range(3)]
        posting = asyncio.gather(*(each.post(40) for each in producers))
        for _ in range(2):
            await asyncio.sleep(0.3)
            await harm(pooler, server)
        await posting
        sent = sorted(name for each in producers for name in each.kept)
        await apis[1].deliveries(lane, len(sent), "delivered", timeout=90)
        await _is_whole(apis[0], kind, sent)
    assert set(receiver_ids(receiver)) == set(sent)
    if harm is pause:
        assert Counter(receiver_ids(receiver)) == Counter(sent)
    assert {answer for each in producers for answer in each.answers} <= {202, 503}
    assert sum(each.unwaited for each in producers) == 0


async def _is_whole(api: Blackbox, kind: str, sent: Sequence[str]) -> None:
    """Exactly what was accepted is there, once each, and numbered without gaps."""
    found, _ = await api.feed(types=kind)
    assert sorted(each["id"] for each in found) == sent
    for operation in {each["operationId"] for each in found}:
        own = [each["sequence"] for each in found if each["operationId"] == operation]
        assert own == list(range(1, len(own) + 1))


@pytest.mark.parametrize(
    ("settings", "is_told", "said"),
    [
        ({}, False, "add pgbouncer=true to RINGBACK_DATABASE_URL"),
        ({"ignore_startup_parameters": DROPPED}, False, "add pgbouncer=true"),
        ({"pool_mode": "session", "ignore_startup_parameters": DROPPED}, False, "add pgbouncer"),
        ({"pool_mode": "statement"}, True, "pool_mode = transaction"),
    ],
)
async def test_what_the_url_does_not_say_of_it_is_told_with_what_to_do(
    server: postgres.Server, settings: dict[str, str], said: str, *, is_told: bool
) -> None:
    with pgbouncer(server.url(), **settings) as pooler:
        with pytest.raises(StoreUnavailableError, match=said):
            await asking.check(pooler.url(is_told=is_told))
        if not is_told:
            await asking.check(pooler.url())
