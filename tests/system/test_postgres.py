"""The main job on PostgreSQL, from outside: events in, deliveries out, crash, restart, replay."""

import asyncio
import base64
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.lab.processes import stopped
from tests.support import postgres
from tests.support.blackbox import Blackbox, blackbox, verify
from tests.support.postgres import Databases
from tests.support.receiver import Receiver, Reply
from tests.support.server import LOCAL, Server, ringback

#: What all processes of one service are given.
SHARED = {
    **LOCAL,
    "RINGBACK_ADMIN_KEY": "rb_test_admin_of_all_processes",
    "RINGBACK_ENCRYPTION_KEYS": f"k1:{base64.b64encode(bytes(range(32))).decode()}",
    "RINGBACK_TRUST_DATABASE": "true",  # the server of the tests is fast, not safe
}


@pytest.fixture
def settings(databases: Databases) -> Iterator[dict[str, str]]:
    """For processes that share a database of the test's own."""
    with databases.database() as url:
        yield {**SHARED, "RINGBACK_DATABASE_URL": url}


@asynccontextmanager
async def processes(
    folder: Path, settings: Mapping[str, str], count: int
) -> AsyncIterator[list[tuple[Server, Blackbox]]]:
    """So many processes of one service."""
    async with AsyncExitStack() as stack:
        running = []
        for number in range(count):
            server = stack.enter_context(Server(folder / str(number), settings))
            running.append((server, await stack.enter_async_context(blackbox(server))))
        yield running


def test_the_schema_is_made_by_its_own_command(tmp_path: Path, databases: Databases) -> None:
    with databases.database(migrated=False) as url:
        settings = {**SHARED, "RINGBACK_DATABASE_URL": url}
        early = ringback(tmp_path, "serve", settings=settings)
        assert early.returncode == 1
        assert "Run `ringback migrate` first" in early.stderr

        made = [ringback(tmp_path, "migrate", settings=settings) for _ in range(2)]
        assert [done.returncode for done in made] == [0, 0], made
        assert "is at schema revision" in made[0].stdout
        with Server(tmp_path, settings) as server:
            assert server.stop() == 0


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
async def test_a_server_that_may_lose_commits_is_refused(tmp_path: Path, name: str) -> None:
    with postgres.server({name: "off"}) as server:
        trusting = {**SHARED, "RINGBACK_DATABASE_URL": server.url()}
        settings = {**trusting, "RINGBACK_TRUST_DATABASE": "false"}
        await asyncio.to_thread(ringback, tmp_path, "migrate", settings=settings)

        refused = await asyncio.to_thread(ringback, tmp_path, "serve", settings=settings)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert f" has {name} off" in refused.stderr
        assert "set RINGBACK_TRUST_DATABASE=true" in refused.stderr
        for wanted, level in ((settings, "fault"), (trusting, "warning")):
            (found,) = await asyncio.to_thread(_careless, tmp_path, wanted)
            assert found["level"] == level
            assert f" has {name} off" in found["found"]

        def start_and_stop() -> int:
            with Server(tmp_path, trusting) as trusted:
                return trusted.stop()

        assert await asyncio.to_thread(start_and_stop) == 0


def _careless(folder: Path, settings: Mapping[str, str]) -> list[dict[str, str]]:
    done = ringback(folder, "doctor", "-o", "json", settings=settings)
    found = json.loads(done.stdout)
    return [each for each in found if "RINGBACK_TRUST_DATABASE" in each["remedy"]]


async def test_the_doctor_does_not_mind_what_our_own_sessions_make_up_for(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    url = settings["RINGBACK_DATABASE_URL"]
    ((name,),) = await postgres.run(url, "SELECT current_database()")
    await postgres.run(url, f'ALTER DATABASE "{name}" SET synchronous_commit TO off')

    done = await asyncio.to_thread(ringback, tmp_path, "doctor", settings=settings)

    assert "synchronous_commit" not in done.stdout


def test_one_process_without_redis_is_alone_and_starts_again_at_once(
    tmp_path: Path, settings: dict[str, str], redis_url: str
) -> None:
    with Server(tmp_path / "first", settings) as first:
        second = ringback(tmp_path, "serve", settings={**settings, "RINGBACK_PORT": "1"})
        assert (second.returncode, second.stdout) == (5, "")
        assert "RINGBACK_REDIS_URL is not set" in second.stderr
        with_redis = {**settings, "RINGBACK_REDIS_URL": redis_url}
        second = ringback(tmp_path, "serve", settings=with_redis)
        assert second.returncode == 5
        assert "A process without RINGBACK_REDIS_URL works with" in second.stderr

        for _ in range(3):
            first.restart()
        assert max(first.start_seconds[1:]) < first.start_seconds[0] + 4.0  # it waits 5 for others


def test_a_server_that_is_not_there_is_told_without_its_password(tmp_path: Path) -> None:
    settings = {**SHARED, "RINGBACK_DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/ringback"}
    done = ringback(tmp_path, "serve", settings=settings)

    assert done.returncode == 1
    assert "postgresql://127.0.0.1:1/ringback cannot be reached" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


async def test_events_in_deliveries_out_crash_restart_replay(
    tmp_path: Path, settings: dict[str, str], receiver: Receiver
) -> None:
    receiver.script = lambda request: Reply(500 if request.path == "/dead" else 200)
    with Server(tmp_path, settings) as server:
        async with blackbox(server) as api:
            good = await api.subscribe(receiver.url("/good"))
            dead = await api.subscribe(
                receiver.url("/dead"), retrySchedule=[0], eventTypes=["COMPLETED"]
            )
            made = await api.post("/v1/operations", {"type": "report"})
            name = made["operationId"]
            for kind in ("STARTED", "STATUS_UPDATE", "COMPLETED"):
                await api.event(name, kind)
            await api.deliveries(good, 3, "delivered")
            letter = await api.dead_letter(dead)
            server.restart()
            log = await api.get(f"/v1/operations/{name}/events")
            assert [each["sequence"] for each in log["data"]] == [1, 2, 3]
            receiver.script = lambda _: Reply()
            await api.post(f"/v1/dead-letters/{letter['id']}/replay")
            await api.deliveries(dead, 1, "delivered")
    for request in receiver.requests:
        verify((good if request.path == "/good" else dead)["secret"], request)
    assert sum(request.path == "/good" for request in receiver.requests) == 3


async def test_what_is_done_through_one_process_holds_in_the_others(
    tmp_path: Path, settings: dict[str, str], receiver: Receiver, redis_url: str
) -> None:
    settings["RINGBACK_REDIS_URL"] = redis_url
    async with processes(tmp_path, settings, 2) as ((_, first), (_, second)):
        subscription = await first.subscribe(receiver.url("/"))
        await asyncio.gather(*(api.event("op", "note") for api in (first, second) * 20))
        await first.deliveries(subscription, 40, "delivered")
        log = await second.get("/v1/operations/op/events", limit=100)
        assert [each["sequence"] for each in log["data"]] == list(range(1, 41))
        assert len(receiver.requests) == 40

        key = await first.post(
            "/v1/api-keys", {"tenantId": "default", "name": "x", "scopes": ["operations:read"]}, 201
        )
        mine = {"authorization": f"Bearer {key['key']}"}
        assert (await second.http.get("/v1/operations", headers=mine)).status_code == 200
        assert (await first.http.delete(f"/v1/api-keys/{key['id']}")).is_success
        assert (await second.http.get("/v1/operations", headers=mine)).status_code == 401


class Producer:
    """Posts events with ids of its own, again and again until it is told that they are kept."""

    def __init__(self, api: Blackbox, kind: str = "note") -> None:
        self._api = api
        self._kind = kind
        self.kept: list[str] = []
        self.answers: set[int] = set()
        self.unwaited = 0

    async def post(self, count: int) -> None:
        for number in range(count):
            name = uuid.uuid4().hex
            operation = f"{self._kind}-{number % 7}"
            body = {"id": name, "operationId": operation, "type": self._kind}
            while not await self._is_kept(body):  # noqa: ASYNC110  what is waited for is another process
                await asyncio.sleep(0.02)
            self.kept.append(name)

    async def _is_kept(self, body: dict[str, Any]) -> bool:
        try:
            answer = await self._api.http.post("/v1/events", json=body)
        except httpx.TransportError:
            return False
        self.answers.add(answer.status_code)
        if answer.status_code == 503 and "retry-after" not in answer.headers:
            self.unwaited += 1
        return answer.status_code == 202


async def test_restarts_and_cut_connections_lose_and_double_nothing(
    tmp_path: Path, receiver: Receiver, redis_url: str
) -> None:
    with postgres.server({"fsync": "on"}) as server:
        url = server.url()
        settings = {**SHARED, "RINGBACK_DATABASE_URL": url, "RINGBACK_REDIS_URL": redis_url}
        done = await asyncio.to_thread(ringback, tmp_path, "migrate", settings=settings)
        assert done.returncode == 0, done
        async with processes(tmp_path, settings, 2) as running:
            subscription = await running[0][1].subscribe(receiver.url("/"))
            producers = [Producer(api) for _, api in running for _ in range(3)]
            posting = asyncio.gather(*(each.post(60) for each in producers))
            for number in range(6):
                await asyncio.sleep(0.3)
                if number % 2:
                    await asyncio.to_thread(server.stop, "immediate")
                    await asyncio.to_thread(server.start)
                else:
                    await postgres.run(url, CUT)
            await posting
            api = running[1][1]
            sent = sorted(name for each in producers for name in each.kept)
            await api.deliveries(subscription, len(sent), "delivered", timeout=90)
            found, _ = await api.feed(types="note")

    assert sorted(each["id"] for each in found) == sent
    for operation in {each["operationId"] for each in found}:
        own = [each["sequence"] for each in found if each["operationId"] == operation]
        assert own == list(range(1, len(own) + 1))
    assert set(receiver_ids(receiver)) == set(sent)
    assert {answer for each in producers for answer in each.answers} <= {202, 503}
    assert sum(each.unwaited for each in producers) == 0


async def test_while_the_server_is_paused_producers_are_told_to_wait_and_nothing_doubles(
    tmp_path: Path, receiver: Receiver
) -> None:
    with postgres.server({"fsync": "on"}) as database:
        settings = {**SHARED, "RINGBACK_DATABASE_URL": database.url()}
        await asyncio.to_thread(ringback, tmp_path, "migrate", settings=settings)
        async with processes(tmp_path, settings, 1) as ((_, api),):
            subscription = await api.subscribe(receiver.url("/"))
            await api.event("op", "note", id="before")
            bodies = [{"id": f"e{n}", "operationId": "op", "type": "note"} for n in range(4)]
            with stopped(database.pid):
                told = await asyncio.gather(*(patient(api, body) for body in bodies))
                ready = await api.http.get("/readyz", timeout=60.0)
            assert {answer.status_code for answer in (*told, ready)} == {503}
            assert all(int(answer.headers["retry-after"]) > 0 for answer in (*told, ready))

            async with asyncio.timeout(60):
                for body in bodies:
                    while (await patient(api, body)).status_code != 202:  # noqa: ASYNC110  a client can only ask
                        await asyncio.sleep(0.1)
            await api.deliveries(subscription, 5, "delivered", timeout=60)
            log = await api.get("/v1/operations/op/events")
            assert [each["sequence"] for each in log["data"]] == [1, 2, 3, 4, 5]
    assert Counter(receiver_ids(receiver)) == Counter(["before", "e0", "e1", "e2", "e3"])


async def patient(api: Blackbox, body: dict[str, str]) -> httpx.Response:
    """What is answered in the end."""
    return await api.http.post("/v1/events", json=body, timeout=60.0)


CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


def receiver_ids(receiver: Receiver) -> list[str]:
    return [request.headers["webhook-id"] for request in receiver.requests]
