"""`ringback prune`: retention, done now, by who asks for it."""

import json

import pytest

from tests.support.blackbox import blackbox
from tests.support.receiver import Receiver
from tests.support.server import Server, ringback
from tests.system.conftest import StartServer

pytestmark = pytest.mark.anyio


def counted(server: Server, *more: str) -> dict[str, tuple[int, int]]:
    done = ringback(server.folder, "prune", "--older-than", "0s", "-o", "jsonl", *more)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["what"]: (row["past"], row["left"]) for row in rows}


async def test_what_is_old_goes_when_it_is_asked_for(
    start_server: StartServer, receiver: Receiver
) -> None:
    server = start_server()
    async with blackbox(server) as api:
        await api.subscribe(receiver.url())
        for kind in ("STARTED", "COMPLETED"):
            await api.event("op-1", kind)
        await receiver.wait_for(2)
        running = ringback(server.folder, "prune", "--yes")
        api.made.clear()
    assert running.returncode == 5
    assert "ringback.db" in running.stderr
    assert server.stop() == 0

    assert ringback(server.folder, "prune", "--yes").stdout.startswith("events\t0\t0\n")
    asked = ringback(server.folder, "prune", "--older-than", "0s")
    assert asked.returncode == 2
    assert "Delete 2 events" in asked.stderr
    before = counted(server, "--dry-run")
    assert (before["events"], before["attempts"]) == ((2, 2), (2, 2))
    after = counted(server, "--yes")
    assert (after["events"], after["finished deliveries"]) == ((2, 0), (2, 0))
    assert counted(server, "--dry-run")["events"] == (0, 0)
