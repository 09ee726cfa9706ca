"""``Idempotency-Key``: what was done is not done twice, and its answer comes again."""

import asyncio

import pytest

from service.domain.api_keys import Scope
from tests.support.api import Api, problem

EVENTS = "/v1/events"
KEY = {"idempotency-key": "5b0c8a0e-7b2d-4c4e-9a55-1d9f3f1e2a10"}
EVENT = {"type": "a", "operationId": "op_1"}


async def count(api: Api, name: str = "op_1") -> int:
    return len((await api.get(f"/v1/operations/{name}/events"))["data"])


async def test_an_event_is_taken_once(api: Api) -> None:
    first = await api.call("POST", EVENTS, EVENT, headers=KEY)
    again = await api.call("POST", EVENTS, EVENT, headers=KEY)
    assert first.status_code == again.status_code == 202
    assert first.content == again.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == first.headers["content-type"]
    assert await count(api) == 1


async def test_the_key_may_be_quoted(api: Api) -> None:
    await api.call("POST", EVENTS, EVENT, headers={"idempotency-key": "one"})
    again = await api.call("POST", EVENTS, EVENT, headers={"idempotency-key": '"one"'})
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("key", ["", "   ", "x" * 256, "a b", '"a', "a\tb", "k\xe9y", '""'])
async def test_a_key_is_printable_and_short(api: Api, key: str) -> None:
    sent = [*api.headers.items(), ("idempotency-key", key)]
    headers = [(name.encode(), value.encode("latin-1")) for name, value in sent]
    problem(await api.client.post(EVENTS, json=EVENT, headers=headers), 400, "malformed")
    assert not (await api.get("/v1/operations"))["data"]


async def test_another_body_with_the_key_is_refused(api: Api) -> None:
    await api.call("POST", EVENTS, EVENT, headers=KEY)
    other = await api.call("POST", EVENTS, {**EVENT, "message": "x"}, headers=KEY)
    problem(other, 422, "idempotency-key-reused")
    elsewhere = await api.call("POST", "/v1/operations/op_1/events", EVENT, headers=KEY)
    problem(elsewhere, 422, "idempotency-key-reused")
    assert await count(api) == 1


async def test_a_refused_request_keeps_no_answer(api: Api) -> None:
    await api.post("/v1/operations/op_1/events", {"type": "COMPLETED"})
    problem(await api.call("POST", EVENTS, EVENT, headers=KEY), 409, "conflict")
    other = {"type": "a", "operationId": "op_2"}
    assert (await api.call("POST", EVENTS, other, headers=KEY)).status_code == 202


async def test_a_batch_with_refused_events_is_answered_as_before(api: Api) -> None:
    batch = [EVENT, {"type": "a b"}, {"type": "COMPLETED", "operationId": "op_1"}]
    first = await api.call("POST", EVENTS, batch, headers=KEY)
    again = await api.call("POST", EVENTS, batch, headers=KEY)
    assert first.status_code == again.status_code == 207
    assert first.content == again.content
    assert again.headers["idempotency-replayed"] == "true"
    assert await count(api) == 2


async def test_two_at_once_do_it_once(api: Api) -> None:
    proceed = asyncio.Event()
    held = asyncio.create_task(api.opened.base.database.write(lambda _: proceed.wait()))
    asked = [asyncio.create_task(api.call("POST", EVENTS, EVENT, headers=KEY)) for _ in range(2)]
    done, running = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    waiting = done.pop().result()
    assert "still running" in problem(waiting, 409, "conflict")["detail"]
    assert int(waiting.headers["retry-after"]) > 0
    proceed.set()
    await held
    first = await running.pop()
    again = await api.call("POST", EVENTS, EVENT, headers=KEY)
    assert (first.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert first.content == again.content
    assert await count(api) == 1


async def test_a_new_operation_is_made_once(api: Api) -> None:
    first = await api.call("POST", "/v1/operations", {"type": "r"}, headers=KEY)
    again = await api.call("POST", "/v1/operations", {"type": "r"}, headers=KEY)
    assert first.content == again.content
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["retry-after"] == first.headers["retry-after"]
    assert len((await api.get("/v1/operations"))["data"]) == 1


async def test_a_new_subscription_shows_its_secret_again(api: Api) -> None:
    body = {"url": "https://example.com/hook"}
    first = await api.call("POST", "/v1/subscriptions", body, headers=KEY)
    again = await api.call("POST", "/v1/subscriptions", body, headers=KEY)
    assert first.status_code == again.status_code == 201
    assert first.json()["secret"].startswith("whsec_")
    assert first.content == again.content
    assert len((await api.get("/v1/subscriptions"))["data"]) == 1


async def test_a_key_without_the_scope_gets_no_kept_answer(api: Api) -> None:
    await api.call("POST", EVENTS, EVENT, headers=KEY)
    reader = await api.key(Scope.OPERATIONS_READ)
    refused = await api.call("POST", EVENTS, EVENT, headers={**KEY, **reader})
    problem(refused, 403, "forbidden")
