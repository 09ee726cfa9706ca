"""How many functions of ours a posted event passes on its way in and out: counted, so it is exact.

From the bytes that come to those that leave, but for what takes and keeps the event
(:mod:`tests.usecases.test_calls`). The bound is what it takes now: a change that needs fewer lowers
it, one that needs more says why here. Of the server's own, one is for each part of a body, so that
what comes beside it is bounded, and one sees to it that a connection at rest comes to an end, also
where a body came after its answer.
"""

import asyncio
import time

import pytest

from service.api import create_app
from service.runtime.clock import SystemClock
from service.runtime.doors import Door, listening
from service.runtime.hosting import services
from tests.support.api import ADMIN, Api
from tests.support.counting import Counting, added
from tests.support.http_server import connected, said

pytestmark = pytest.mark.anyio

FEW, MANY = 5, 25
BODY = b'{"type":"report.done","operationId":"op","data":{"rows":7}}'
POST = (
    b"POST /v1/events HTTP/1.1\r\nhost: ringback.test\r\naccept: */*\r\n"
    b"authorization: Bearer %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
) % (ADMIN.encode(), len(BODY), BODY)


async def ready() -> None:
    """As if it were."""


async def test_an_event_that_is_posted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(services(api.opened, ready, lambda: 0))
    with listening("127.0.0.1", 0, "") as listener:
        door = Door(app, listener, api.opened.base.settings)
        door.open()
        async with connected(listener.getsockname()[1]) as (reader, writer):

            async def post(count: int) -> None:
                for _ in range(count):
                    writer.write(POST)
                    async with asyncio.timeout(10):
                        assert (await said(reader))[0] == 202

            await post(FEW)  # what is done once and kept is none of it
            # nor is what each second brings, of which a slow machine sees more
            now = time.monotonic()
            monkeypatch.setattr(SystemClock, "monotonic", lambda _: now)
            few, many = (Counting("web", "api", "runtime") for _ in range(2))
            with few:
                await post(FEW)
            with many:
                await post(MANY)
        await door.close()

    calls, of = added(few, many, MANY - FEW)

    assert calls <= 81, of
