"""What a process does of everything that is built, by its roles.

All of them here are on one SQLite file, one after another: the command line would refuse that.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from service.broker.waker import BrokerWaker
from service.runtime.hosting import Host, Part
from service.runtime.wiring import Opened, open_service
from service.settings import load
from tests.support.receiver import Receiver
from tests.support.server import LOCAL, free_port

pytestmark = pytest.mark.anyio

ADMIN = "rb_00000000_" + "A" * 43
PATIENCE = 10.0


@dataclass
class Process:
    """A host at work."""

    opened: Opened
    api: str
    state: str

    async def status(self, url: str) -> int:
        """With which status it answers; 0: it does not listen."""
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {ADMIN}"}) as client:
            try:
                return (await client.get(url)).status_code
            except httpx.ConnectError:
                return 0

    async def post(self, path: str, body: object) -> None:
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {ADMIN}"}) as client:
            answer = await client.post(f"{self.api}{path}", json=body)
            assert answer.is_success, answer.text


@asynccontextmanager
async def hosted(folder: Path, *roles: str) -> AsyncIterator[Process]:
    """A process of these roles, until the block ends."""
    port, state = free_port(), free_port()
    environ = {
        **LOCAL,
        "RINGBACK_DATABASE_URL": f"sqlite:///{folder}/r.db",
        "RINGBACK_PORT": str(port),
        "RINGBACK_ADMIN_KEY": ADMIN,
    }
    async with open_service(load(environ), frozenset(roles)) as opened:
        host = Host(opened, Part(frozenset(roles), state))
        serving = asyncio.create_task(host.serve())
        made = Process(opened, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{state}")
        async with asyncio.timeout(PATIENCE):
            while await made.status(f"{made.state}/readyz") != 200:  # noqa: ASYNC110  a client can only ask
                await asyncio.sleep(0.01)
        try:
            yield made
        finally:
            host.stop()
            await serving


async def test_the_api_accepts_and_sends_nothing_and_a_worker_sends_and_answers_nothing(
    tmp_path: Path, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    async with hosted(tmp_path, "api") as process:
        assert await process.status(f"{process.api}/v1/operations") == 200
        await process.post("/v1/subscriptions", {"url": receiver.url("/")})
        await process.post("/v1/events", {"operationId": "op", "type": "note"})
        await asyncio.sleep(1.2)  # more than the time in which a worker would find it
        assert receiver.requests == []
        assert f"listens on {process.api} as api\n" in capsys.readouterr().out

    async with hosted(tmp_path, "worker") as process:
        assert await process.status(process.api) == 0
        assert await process.status(f"{process.state}/v1/operations") == 404
        assert await process.status(f"{process.state}/metrics") == 200
        await receiver.wait_for(1)
        said = capsys.readouterr().out
        assert "runs as worker\n" in said
        assert ADMIN not in said


async def test_what_is_accepted_on_sqlite_goes_out_without_a_message(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[int] = []
    monkeypatch.setattr(BrokerWaker, "wake", lambda _, lanes: woken.extend(lanes))
    async with hosted(tmp_path, "api", "worker") as process:
        await process.post("/v1/subscriptions", {"url": receiver.url("/")})
        for number in range(5):
            await process.post("/v1/events", {"operationId": f"op{number}", "type": "note"})
        await receiver.wait_for(5)
    assert woken == []


async def test_a_sweeper_tidies_up_and_sends_nothing(tmp_path: Path, receiver: Receiver) -> None:
    async with hosted(tmp_path, "api") as process:
        await process.post("/v1/subscriptions", {"url": receiver.url("/")})
        described = {"type": "report", "operationId": "silent", "timeoutSeconds": 1}
        await process.post("/v1/operations", described)

    async with hosted(tmp_path, "sweeper") as process:
        assert await process.status(process.api) == 0
        async with asyncio.timeout(PATIENCE):
            while (await process.opened.stores.sweep.backlog()).open == 0:  # noqa: ASYNC110  the store can only be asked
                await asyncio.sleep(0.05)
        found = await process.opened.stores.read.operation("default", "silent")
        assert found is not None
        assert found.status.value == "FAILED"
    assert receiver.requests == []


async def test_no_admin_key_is_shown_where_nobody_asks(tmp_path: Path) -> None:
    settings = load({"RINGBACK_DATABASE_URL": f"sqlite:///{tmp_path}/r.db"})
    async with open_service(settings, frozenset({"worker"})) as opened:
        assert opened.new_admin_key is None


async def test_the_numbers_of_a_process_are_of_what_it_does(tmp_path: Path) -> None:
    told = {}
    for role in ("worker", "sweeper"):
        async with hosted(tmp_path, role) as process, httpx.AsyncClient() as client:
            told[role] = (await client.get(f"{process.state}/metrics")).text

    assert 'ringback_sweep_age_seconds{role="worker"}' in told["worker"]
    assert "ringback_slots_free 768.0" in told["worker"]
    assert "ringback_deliveries_open " not in told["worker"]
    assert 'ringback_sweep_age_seconds{role="sweeper"}' in told["sweeper"]
    assert "ringback_deliveries_open 0.0" in told["sweeper"]
    assert "ringback_slots_free " not in told["sweeper"]
