"""A disk that is full, from outside: nothing falsely accepted, and unready until there is room."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.blackbox import blackbox
from tests.support.receiver import Receiver
from tests.system.conftest import StartServer

pytestmark = pytest.mark.anyio

#: Bytes of a page: no file grows beyond its first, and to write behind that is refused.
PAGE = 4096


@contextmanager
def full(pid: int) -> Iterator[None]:
    """The kernel refuses what a process writes, as it does where a disk is full."""
    hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (PAGE, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


async def test_it_is_unready_while_nothing_can_be_written(
    start_server: StartServer, receiver: Receiver
) -> None:
    server = await asyncio.to_thread(start_server)
    async with blackbox(server) as api:
        lane = await api.subscribe(receiver.url("/"))
        await api.event("op", "note", id="before")
        await api.deliveries(lane, 1, "delivered")
        with full(server.pid):
            body = {"id": "meanwhile", "operationId": "op", "type": "note"}
            refused = await api.http.post("/v1/events", json=body)
            ready = [await api.http.get("/readyz") for _ in range(3)]
            assert (await api.http.get("/livez")).status_code == 200
        assert [answer.status_code for answer in (refused, *ready)] == [503] * 4
        assert all(int(each.headers["retry-after"]) > 0 for each in (refused, *ready))

        assert (await api.http.get("/readyz")).status_code == 200
        await api.event("op", "note", id="meanwhile")
        await api.deliveries(lane, 2, "delivered")
    assert [each.headers["webhook-id"] for each in receiver.requests] == ["before", "meanwhile"]
