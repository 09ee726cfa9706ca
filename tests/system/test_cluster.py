"""Several processes of each role over one PostgreSQL and one Redis, started and stopped at will."""

import asyncio
import base64
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.blackbox import Blackbox, blackbox
from tests.support.postgres import Databases
from tests.support.receiver import Receiver, Reply
from tests.support.server import LOCAL, Server, free_port
from tests.support.valkey import FAULTS, Valkey

pytestmark = pytest.mark.anyio

ADMIN = "rb_00000000_" + "A" * 43
#: Seconds in which the sweep brings what no wake brought.
SWEPT = 5.0


@dataclass
class Cluster:
    """Processes that share a database and a Redis, each with a folder of its own."""

    folder: Path
    settings: Mapping[str, str]
    running: ExitStack
    count: int = 0

    def start(self, *roles: str) -> Server:
        """A process of these roles, ready."""
        self.count += 1
        port = free_port()
        apart = () if "api" in roles else ("--status-port", str(port))
        arguments = ("--roles", ",".join(roles), *apart)
        folder = self.folder / f"{self.count}-{'-'.join(roles)}"
        return self.running.enter_context(Server(folder, self.settings, arguments, port))


@contextmanager
def opened(folder: Path, databases: Databases, valkey: Valkey) -> Iterator[Cluster]:
    """A cluster on a database of its own, of which nothing runs yet."""
    with databases.database() as url, ExitStack() as running:
        settings = {
            **LOCAL,
            "RINGBACK_DATABASE_URL": url,
            "RINGBACK_TRUST_DATABASE": "true",
            "RINGBACK_REDIS_URL": valkey.url,
            "RINGBACK_ADMIN_KEY": ADMIN,
            "RINGBACK_ENCRYPTION_KEYS": "k1:" + base64.b64encode(b"1" * 32).decode(),
        }
        yield Cluster(folder, settings, running)


@pytest.fixture
def cluster(tmp_path: Path, databases: Databases, valkey: Valkey) -> Iterator[Cluster]:
    with opened(tmp_path, databases, valkey) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def apis(
    tmp_path_factory: pytest.TempPathFactory, databases: Databases
) -> Iterator[tuple[Server, Server]]:
    """Two processes of an API for all tests that keep to keys of their own."""
    folder = tmp_path_factory.mktemp("apis")
    with Valkey() as valkey, opened(folder, databases, valkey) as cluster:
        yield cluster.start("api"), cluster.start("api")


Start = Callable[..., Any]


@pytest.fixture
def start(cluster: Cluster) -> Start:
    """Starts a process without holding up the test's own loop, on which the receiver is."""

    async def started(*roles: str) -> Server:
        return await asyncio.to_thread(cluster.start, *roles)

    return started


async def post(apis: Sequence[Blackbox], names: Sequence[str]) -> None:
    """An event for each operation, over each API in turn."""
    for number, name in enumerate(names):
        await apis[number % len(apis)].event(name, "note")


def of(receiver: Receiver) -> Counter[str]:
    return Counter(request.headers["x-operation-id"] for request in receiver.requests)


async def test_several_of_each_started_in_any_order_deliver_everything_once(
    start: Start, receiver: Receiver
) -> None:
    names = [f"op-{number}" for number in range(200)]
    await start("worker")
    one = await start("api")
    await start("sweeper")
    other = await start("api", "sweeper")
    await start("worker")
    async with blackbox(one) as first, blackbox(other) as second:
        lane = await first.subscribe(receiver.url("/"))
        await post([first, second], names)
        assert len(await second.deliveries(lane, 200, "delivered")) == 200
    assert of(receiver) == Counter(names)


async def test_a_subscription_and_a_key_work_at_once_in_the_other_process(
    start: Start, receiver: Receiver
) -> None:
    one, other, _ = await start("api"), await start("api"), await start("worker")
    async with blackbox(one) as first, blackbox(other) as second:
        for number in range(5):
            await first.subscribe(receiver.url(f"/{number}"), eventTypes=[f"kind-{number}"])
            await second.event("op", f"kind-{number}")
        await receiver.wait_for(5)
    assert sorted(request.path for request in receiver.requests) == [f"/{n}" for n in range(5)]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/events", {"type": "note", "operationId": "op"}),
        ("/v1/events", [{"type": "note", "operationId": "op"}]),
        ("/v1/events", [{"type": "note", "operationId": "op"}, {"type": 1}]),
        ("/v1/events", [{"type": 1}]),
        ("/v1/events", {"type": 1}),
        ("/v1/operations/op/events", {"type": "note"}),
    ],
)
async def test_a_key_revoked_at_one_api_is_dead_at_once_at_the_other(
    apis: tuple[Server, Server], path: str, body: object
) -> None:
    one, other = apis
    scopes = ["events:write", "operations:read"]
    async with blackbox(one) as first, blackbox(other) as second:
        for number in range(5):
            new = {"tenantId": "default", "name": f"brief-{number}", "scopes": scopes}
            key = await first.post("/v1/api-keys", new, 201)
            own = {"authorization": f"Bearer {key['key']}"}
            before = [await second.http.post(path, json=body, headers=own) for _ in range(3)]
            assert all(answer.status_code in (202, 207, 422) for answer in before)

            assert (await first.http.delete(f"/v1/api-keys/{key['id']}")).status_code == 204
            answer = await second.http.post(path, json=body, headers=own)

            assert answer.status_code == 401
            assert "Send 'Authorization: Bearer <key>'" in answer.json()["detail"]
            assert (await first.get("/readyz"))["status"] == "ok"


@pytest.mark.parametrize(
    ("scope", "named"), [("events:write", {"Ringback-Tenant": "nobody"}), ("operations:read", {})]
)
async def test_a_key_revoked_at_one_api_is_not_told_by_the_other_what_it_may_not_do(
    apis: tuple[Server, Server], scope: str, named: Mapping[str, str]
) -> None:
    one, other = apis
    async with blackbox(one) as first, blackbox(other) as second:
        new = {"tenantId": "default", "name": "brief", "scopes": [scope]}
        key = await first.post("/v1/api-keys", new, 201)
        own = {"authorization": f"Bearer {key['key']}", **named}
        before = [await second.http.post("/v1/events", json={}, headers=own) for _ in range(2)]
        assert [answer.status_code for answer in before] == [403, 403]

        assert (await first.http.delete(f"/v1/api-keys/{key['id']}")).status_code == 204

        answer = await second.http.post("/v1/events", json={}, headers=own)
        assert answer.status_code == 401


async def test_a_batch_of_which_all_is_refused_is_answered_alike_whether_the_key_is_remembered(
    start: Start,
) -> None:
    async with blackbox(await start("api")) as box:
        once = {"Idempotency-Key": "same"}
        good = [{"type": "note", "operationId": "op"}]
        assert (await box.http.post("/v1/events", json=good, headers=once)).status_code == 202
        await asyncio.sleep(1.1)  # till the key is looked up again

        answers = [
            await box.http.post("/v1/events", json=[{"type": 1}], headers=once) for _ in range(3)
        ]

        assert [answer.status_code for answer in answers] == [207, 207, 207]


async def test_who_follows_at_one_api_hears_at_once_of_what_is_posted_at_the_other(
    start: Start,
) -> None:
    one, other = await start("api"), await start("api")
    async with blackbox(one) as first, blackbox(other) as second:
        await second.event("op", "STARTED")
        took = []
        for number in range(5):
            path = f"/v1/operations/op/events?after={number + 1}&wait=20"
            waiting = asyncio.create_task(first.get(path))
            await asyncio.sleep(0.3)  # by then it waits
            begun = time.monotonic()
            await second.event("op", "note")
            assert [each["sequence"] for each in (await waiting)["data"]] == [number + 2]
            took.append(time.monotonic() - begun)
    # without the note it would be the look every two seconds
    assert sorted(took)[2] < 0.5


async def test_what_was_accepted_without_a_worker_is_sent_by_the_first_that_comes(
    start: Start, receiver: Receiver
) -> None:
    api = await start("api")
    async with blackbox(api) as box:
        await box.subscribe(receiver.url("/"))
        await post([box], ["op-1", "op-2"])
        assert (await box.get("/readyz"))["status"] == "ok"
        assert receiver.requests == []
        await start("worker")
        await receiver.wait_for(2, SWEPT)


async def test_workers_come_and_go_and_nothing_is_doubled(start: Start, receiver: Receiver) -> None:
    receiver.script = lambda _: Reply(delay=0.05)
    names = [f"op-{number}" for number in range(300)]
    api, leaving, _ = await start("api"), await start("worker"), await start("sweeper")
    async with blackbox(api) as box:
        lane = await box.subscribe(receiver.url("/"), maxConcurrency=16)
        posting = asyncio.create_task(post([box], names))
        await receiver.wait_for(20)
        staying = await start("worker")
        assert await asyncio.to_thread(leaving.stop) == 0
        await start("worker")
        staying.send(signal.SIGTERM)
        await posting
        await box.deliveries(lane, 300, "delivered", 30.0)
    assert of(receiver) == Counter(names)


@pytest.mark.parametrize("fault", FAULTS)
async def test_deliveries_go_on_without_redis(
    start: Start, receiver: Receiver, valkey: Valkey, fault: str
) -> None:
    names = [f"op-{number}" for number in range(60)]
    processes = [await start(role) for role in ("api", "api", "worker", "worker", "sweeper")]
    async with blackbox(processes[0]) as first, blackbox(processes[1]) as second:
        await first.subscribe(receiver.url("/"))
        await post([first, second], names[:20])
        await receiver.wait_for(20, SWEPT)
        valkey.suffer(fault)
        begun = time.monotonic()
        await post([first, second], names[20:40])
        assert time.monotonic() - begun < 10.0
        await receiver.wait_for(40, SWEPT)
        valkey.recover(fault)
        await post([first, second], names[40:])
        await receiver.wait_for(60, SWEPT)
    assert of(receiver) == Counter(names)
    for process in processes:
        assert await asyncio.to_thread(process.stop) == 0
        assert "Traceback" not in process.output


async def test_roles_apart_without_redis_are_refused(cluster: Cluster) -> None:
    cluster.settings = {**cluster.settings, "RINGBACK_REDIS_URL": ""}
    with pytest.raises(AssertionError, match="RINGBACK_REDIS_URL"):
        await asyncio.to_thread(cluster.start, "worker")
