"""Who signs out while a stream of his is being opened is told nothing by that stream either."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import httpx
import pytest

from service.domain.api_keys import Scope
from service.domain.operation import Operation
from tests.support.api import Api
from tests.support.console import OWN, Visitor, consumer

pytestmark = pytest.mark.anyio

#: Seconds: nobody has to wait for anything.
SOON: Final = 5.0
PATH: Final = "/operations/job"


@pytest.fixture(params=["/console", "/portal"])
async def root(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def who(root: str, api: Api, admin: Visitor) -> Visitor:
    await api.post("/v1/events", {"operationId": "job", "type": "STARTED"})
    return admin if root == "/console" else await consumer(api, scopes=[Scope.OPERATIONS_READ])


def after(
    api: Api, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[None]]
) -> None:
    """Let this happen once an operation is read: who asks for it was let in before that."""
    read = api.opened.stores.read.operation

    async def operation(tenant: str, name: str) -> Operation | None:
        found = await read(tenant, name)
        await happens()
        return found

    monkeypatch.setattr(api.opened.stores.read, "operation", operation)


@pytest.mark.parametrize("path", [f"/live?page={{}}{PATH}&seen=older", f"{PATH}/stream"])
async def test_who_signs_out_meanwhile_is_let_go(
    api: Api, who: Visitor, root: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = {"token": (await who.get(root)).token}
    cookies = dict(who.client.cookies)

    async def sign_out() -> None:
        monkeypatch.undo()
        answer = await who.client.post(f"{root}/sign-out", data=out, headers=OWN)
        assert answer.status_code == httpx.codes.SEE_OTHER

    after(api, monkeypatch, sign_out)
    where = root + path.format(root)
    async with asyncio.timeout(SOON):
        answer = await who.client.get(where)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "event: changed" not in answer.text
    assert "event: moved" not in answer.text
    # and so is whoever sends the same cookie once more
    who.client.cookies.update(cookies)
    async with asyncio.timeout(SOON):
        await who.client.get(where)


@pytest.mark.parametrize("path", [f"/live?page={{}}{PATH}", f"{PATH}/stream?after=1"])
async def test_who_signs_in_again_follows_again(
    api: Api, who: Visitor, root: str, path: str
) -> None:
    await who.send(f"{root}/sign-out")
    again = await consumer(api, scopes=[Scope.OPERATIONS_READ])
    if root == "/console":
        await who.sign_in(api.headers["authorization"].removeprefix("Bearer "))
        again = who

    async def end() -> None:
        await asyncio.sleep(0.1)
        await api.post("/v1/operations/job/events", {"type": "COMPLETED"})

    async with asyncio.timeout(SOON):
        answer, _ = await asyncio.gather(again.client.get(root + path.format(root)), end())
    assert "event: ended" in answer.text or "event: changed" in answer.text
