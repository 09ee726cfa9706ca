"""Answers that wait: soon after the event, in time without one, and without a body for no news."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median

import httpx
import pytest

from tests.support.blackbox import Blackbox
from tests.support.http_server import connected, said
from tests.support.server import Server
from tests.support.watching import followed_by

pytestmark = pytest.mark.anyio

ROUNDS = 9
#: Seconds after the event that half of the answers may take, and any on a machine that is busy.
SOON, SURELY = 0.1, 2.0

#: Asks for what comes after what is known.
Ask = Callable[[Blackbox, str, int], Awaitable[httpx.Response]]


async def log(api: Blackbox, name: str, after: int) -> httpx.Response:
    return await api.http.get(f"/v1/operations/{name}/events?after={after}&wait=30")


async def status(api: Blackbox, name: str, _: int) -> httpx.Response:
    return await api.http.get(f"/v1/operations/{name}?wait=30")


async def preferred(api: Blackbox, name: str, _: int) -> httpx.Response:
    path = f"/v1/operations/{name}"
    known = {"if-none-match": (await api.http.get(path)).headers["etag"]}
    return await api.http.get(path, headers={"prefer": "wait=30", **known})


async def feed(api: Blackbox, name: str, _: int) -> httpx.Response:
    cursor = (await api.feed(operationType=name))[1]
    return await api.http.get(f"/v1/events?operationType={name}&after={cursor}&wait=30")


@pytest.mark.parametrize("ask", [log, status, preferred, feed])
async def test_the_answer_comes_with_the_event(api: Blackbox, kind: str, ask: Ask) -> None:
    await api.event(kind, "STARTED", operationType=kind)
    late = []
    await followed_by(api.http, 0)
    for number in range(1, ROUNDS + 1):
        asked = asyncio.create_task(timed(ask(api, kind, number)))
        await followed_by(api.http, 1)
        await api.event(kind, "step")
        posted = time.monotonic()
        answer, at = await asked
        late.append(at - posted)
        assert shown(answer) == number + 1
        assert answer.headers.get("preference-applied") == ("wait=30" if ask is preferred else None)
    assert median(late) < SOON, late
    assert max(late) < SURELY, late


async def timed(asking: Awaitable[httpx.Response]) -> tuple[httpx.Response, float]:
    return await asking, time.monotonic()


def shown(answer: httpx.Response) -> int:
    """The sequence of the operation, or of the only event."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    (event,) = body.get("data", [body])
    sequence: int = event["sequence"]
    return sequence


async def test_without_news_the_answer_comes_in_time(api: Blackbox, kind: str) -> None:
    await api.event(kind, "STARTED", operationType=kind)
    path = f"/v1/operations/{kind}"
    tag = (await api.http.get(path)).headers["etag"]
    _, end = await api.feed(operationType=kind)
    begun = time.monotonic()
    answers = await asyncio.gather(
        *(
            timed(each)
            for each in (
                api.http.get(f"{path}/events?after=1&wait=1"),
                api.http.get(f"{path}?wait=1"),
                api.http.get(path, headers={"prefer": "wait=1", "if-none-match": tag}),
                api.http.get(f"/v1/events?operationType={kind}&after={end}&wait=1"),
            )
        )
    )

    assert all(0.99 <= at - begun < 1 + SURELY for _, at in answers)
    events, whole, unchanged, page = (answer for answer, _ in answers)
    assert (events.json()["data"], page.json()["data"]) == ([], [])
    assert page.json()["pagination"]["nextCursor"]
    assert (whole.status_code, whole.json()["sequence"]) == (200, 1)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers.get("content-length", "0") == "0"
    assert unchanged.headers["preference-applied"] == "wait=1"


async def test_what_is_there_already_is_not_waited_for(api: Blackbox, kind: str) -> None:
    await api.event(kind, "STARTED", operationType=kind)
    path = f"/v1/operations/{kind}"
    tag = (await api.http.get(path)).headers["etag"]
    await api.event(kind, "COMPLETED")
    async with asyncio.timeout(10):
        assert len((await api.get(f"{path}/events", after=0, wait=60))["data"]) == 2
        assert (await api.get("/v1/events", operationType=kind, wait=60))["data"]
        known = {"if-none-match": tag}
        assert (await api.http.get(f"{path}?wait=60", headers=known)).status_code == 200
        # and nothing comes after the end
        assert (await api.get(f"{path}/events", after=2, wait=60))["data"] == []
        assert (await api.get(path, wait=60))["status"] == "COMPLETED"


async def test_who_hangs_up_is_followed_no_more(api: Blackbox, kind: str) -> None:
    await api.event(kind, "STARTED", operationType=kind)
    await followed_by(api.http, 0)
    asked = [asyncio.create_task(log(api, kind, 1)) for _ in range(10)]
    await followed_by(api.http, 10)
    for each in asked:
        each.cancel()
    await asyncio.wait(asked)
    await followed_by(api.http, 0)


async def test_a_connection_may_idle_for_longer_than_clients_keep_theirs(server: Server) -> None:
    """For 5 s, by default: who asks is to let go first, else a request meets what just closed."""
    async with connected(server.port) as (reader, writer):
        for seconds in (0, 6):
            await asyncio.sleep(seconds)
            writer.write(b"GET /livez HTTP/1.1\r\nhost: ringback.test\r\n\r\n")
            assert (await said(reader))[0] == 200
