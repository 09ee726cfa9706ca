"""Operations from outside: begun, raced to their end, timed out, tried once more."""

import asyncio
import time
from datetime import datetime
from typing import Any

import pytest

from tests.support.blackbox import Blackbox, problem, received, verify
from tests.support.receiver import Receiver
from tests.support.server import Server

pytestmark = pytest.mark.anyio

ROUNDS = 25
RETRYABLE = {"type": "about:blank", "title": "Upstream is down", "retryable": True}


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


# --- the beginning


async def test_the_answer_to_a_new_operation_can_be_handed_on(
    server: Server, api: Blackbox, kind: str
) -> None:
    body = {"type": kind, "expectedDurationSeconds": 600, "metadata": {"month": "2025-01"}}
    answer = await api.http.post("/v1/operations", json=body)
    assert answer.status_code == 202
    made = answer.json()
    name = made["operationId"]
    own = f"{server.url}/v1/operations/{name}"
    assert answer.headers["location"] == made["statusUrl"] == own
    assert int(answer.headers["retry-after"]) == made["pollInterval"]["recommended"]
    assert made["pollInterval"]["minimum"] <= made["pollInterval"]["recommended"]
    assert seconds(made["estimatedCompletion"]) == pytest.approx(seconds(made["createdAt"]) + 600)
    assert made["status"] == "PENDING"
    assert made["links"] == {
        "self": own,
        "events": f"{own}/events",
        "stream": f"{own}/stream",
        "websocket": f"{own}/status".replace("http", "ws", 1),
        "cancel": f"{own}/cancel",
    }
    shown = await api.get(f"/v1/operations/{name}")
    assert (shown["sequence"], shown["metadata"]) == (0, {"month": "2025-01"})


async def test_the_clients_own_id_finds_its_operation_again(api: Blackbox, kind: str) -> None:
    body = {"type": kind, "clientJobId": f"job of {kind}"}
    first = await api.post("/v1/operations", body)
    again = await api.post("/v1/operations", body, 200)
    assert again == first
    (found,) = (await api.get("/v1/operations", clientJobId=f"job of {kind}"))["data"]
    assert (found["operationId"], found["clientJobId"]) == (first["operationId"], f"job of {kind}")
    await api.event(first["operationId"], "STARTED")
    (event,) = await api.all(f"/v1/operations/{first['operationId']}/events")
    assert event["clientJobId"] == f"job of {kind}"


async def test_many_at_once_with_one_id_of_the_client_make_one(api: Blackbox, kind: str) -> None:
    body = {"type": kind, "clientJobId": kind}
    answers = await asyncio.gather(*(api.http.post("/v1/operations", json=body) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [202]
    assert len({answer.json()["operationId"] for answer in answers}) == 1
    assert len((await api.get("/v1/operations", type=kind))["data"]) == 1


async def test_a_key_of_idempotency_makes_one(api: Blackbox, kind: str) -> None:
    headers = {"idempotency-key": kind}
    first = await api.post("/v1/operations", {"type": kind}, headers=headers)
    again = await api.http.post("/v1/operations", json={"type": kind}, headers=headers)
    assert (again.status_code, again.json()) == (202, first)
    assert again.headers["idempotency-replayed"] == "true"
    other = await api.http.post("/v1/operations", json={"type": "other"}, headers=headers)
    assert other.status_code == 422


async def test_an_operation_is_described_once(api: Blackbox, kind: str) -> None:
    await api.event(kind, "STARTED")
    body = {"type": "report", "operationId": kind, "metadata": {"a": 1}}
    made = await api.post("/v1/operations", body)
    assert (made["operationId"], made["status"]) == (kind, "PROCESSING")
    shown = await api.get(f"/v1/operations/{kind}")
    assert (shown["type"], shown["metadata"], shown["sequence"]) == ("report", {"a": 1}, 1)
    problem(await api.http.post("/v1/operations", json=body), 409, "conflict")


async def test_its_own_webhook_gets_its_end_and_nothing_else(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    webhook = {"url": receiver.url("/own")}
    made = await api.post("/v1/operations", {"type": kind, "webhook": webhook})
    name, registered = made["operationId"], made["webhook"]
    assert registered["registered"] is True
    ends = {"COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED"}
    assert set(registered["events"]) == ends
    assert registered["secret"].startswith("whsec_")
    all_of_type = await api.subscribe(receiver.url("/all"), operationTypes=[kind])
    assert all_of_type["secret"] != registered["secret"]

    for event in ("STARTED", "STATUS_UPDATE", "step", "COMPLETED"):
        await api.event(name, event)
    await api.event(f"{kind}-2", "COMPLETED", operationType=kind)  # not its own
    assert len(await received(receiver, "/all", 5)) == 5
    (request,) = await received(receiver, "/own", 1)
    assert request.headers["x-webhook-event"] == "COMPLETED"
    assert request.headers["x-operation-id"] == name
    verify(registered["secret"], request)
    delivery = await api.delivery({"id": registered["subscriptionId"]}, "delivered")
    assert delivery["id"] == request.headers["x-webhook-delivery"]


async def test_its_own_webhook_takes_a_secret_and_types(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    secret = "whsec_" + "c2VjcmV0" * 5
    webhook = {"url": receiver.url("/own"), "events": ["step", "FAILED"], "secret": secret}
    made = await api.post("/v1/operations", {"type": kind, "webhook": webhook})
    assert made["webhook"]["events"] == ["step", "FAILED"]
    assert "secret" not in made["webhook"]
    for event in ("STARTED", "step", "COMPLETED"):
        await api.event(made["operationId"], event)
    (request,) = await received(receiver, "/own", 1)
    assert request.headers["x-webhook-event"] == "step"
    verify(secret, request)


# --- the way


async def test_progress_refines_when_it_will_end(api: Blackbox, kind: str) -> None:
    body = {"type": kind, "operationId": kind, "expectedDurationSeconds": 36_000}
    made = await api.post("/v1/operations", body)
    await api.event(kind, "STARTED")
    progress = {
        "current": 1,
        "total": 4,
        "phase": "render",
        "phases": [
            {"name": "load", "status": "COMPLETED", "percentage": 100, "duration": 1.5},
            {"name": "render", "status": "PROCESSING"},
        ],
    }
    started = seconds((await api.get(f"/v1/operations/{kind}"))["startedAt"])
    while time.time() < started + 0.002:  # noqa: ASYNC110  a pace needs time that has passed
        await asyncio.sleep(0)
    await api.event(kind, "STATUS_UPDATE", progress=progress)
    shown = await api.get(f"/v1/operations/{kind}")
    assert shown["progress"] == {**progress, "percentage": 25}
    assert seconds(shown["estimatedCompletion"]) < seconds(made["estimatedCompletion"]) - 3600
    assert seconds(shown["startedAt"]) <= seconds(shown["updatedAt"])


async def test_the_history_tells_how_long_each_took(api: Blackbox, kind: str) -> None:
    before = time.time()
    for number, end in enumerate(("COMPLETED", "FAILED", "STARTED")):
        await api.event(f"{kind}-{number}", end, operationType=kind)
    page = await api.get("/v1/operations", type=kind)
    assert [each["operationId"][-1] for each in page["data"]] == ["2", "1", "0"]
    assert ["duration" in each for each in page["data"]] == [False, True, True]
    failed = await api.get("/v1/operations", type=kind, status="FAILED")
    assert [each["operationId"] for each in failed["data"]] == [f"{kind}-1"]
    moment = datetime.fromtimestamp(before - 60).astimezone().isoformat()
    assert (await api.get("/v1/operations", type=kind, createdBefore=moment))["data"] == []
    recent = await api.get("/v1/operations", type=kind, createdAfter=moment, limit=2)
    assert len(recent["data"]) == 2
    assert recent["pagination"]["nextCursor"]


# --- the end


async def test_of_two_who_finish_at_once_one_wins(
    server: Server, receiver: Receiver, api: Blackbox, kind: str
) -> None:
    await api.subscribe(receiver.url("/"), operationTypes=[kind])
    async with server.client() as other:
        for number in range(ROUNDS):
            name = f"{kind}-{number}"
            body = {"operationId": name, "operationType": kind}
            answers = await asyncio.gather(
                *(
                    client.post("/v1/events", json={**body, "type": end})
                    for client, end in ((api.http, "COMPLETED"), (other, "FAILED"))
                )
            )
            assert sorted(answer.status_code for answer in answers) == [202, 409]
            won = next(answer for answer in answers if answer.status_code == 202).json()["data"][0]
            lost = next(answer for answer in answers if answer.status_code == 409)
            assert problem(lost, 409, "conflict")["currentStatus"] == won["status"]
            log = await api.all(f"/v1/operations/{name}/events")
            assert [(event["id"], event["status"]) for event in log] == [(won["id"], won["status"])]
            assert (await api.get(f"/v1/operations/{name}"))["status"] == won["status"]
    assert len(await receiver.wait_for(ROUNDS)) == ROUNDS


async def test_of_a_cancel_and_a_finish_at_once_one_wins(
    server: Server, api: Blackbox, kind: str
) -> None:
    async with server.client() as other:
        for number in range(ROUNDS):
            name = f"{kind}-{number}"
            await api.event(name, "STARTED")
            cancel, finish = await asyncio.gather(
                other.post(f"/v1/operations/{name}/cancel"),
                api.http.post("/v1/events", json={"operationId": name, "type": "COMPLETED"}),
            )
            assert (cancel.status_code, finish.status_code) in ((200, 409), (409, 202))
            end = "CANCELLED" if cancel.status_code == 200 else "COMPLETED"
            log = await api.all(f"/v1/operations/{name}/events")
            assert [event["type"] for event in log] == ["STARTED", end]


async def test_one_that_is_silent_for_too_long_fails(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    webhook = {"url": receiver.url("/own")}
    for name, patience in ((kind, 0.2), (f"{kind}-2", 3600)):
        body = {"type": kind, "operationId": name, "timeoutSeconds": patience, "webhook": webhook}
        await api.post("/v1/operations", body)
    shown = await api.operation_ended(kind)
    assert shown["status"] == "FAILED"
    assert shown["error"]["type"].endswith("operation-timeout")
    assert seconds(shown["failedAt"]) >= seconds(shown["createdAt"]) + 0.2
    (event,) = await api.all(f"/v1/operations/{kind}/events")
    assert (event["type"], event["error"]) == ("FAILED", shown["error"])
    (request,) = await received(receiver, "/own", 1)
    assert request.headers["webhook-id"] == event["id"]
    late = await api.http.post("/v1/events", json={"operationId": kind, "type": "COMPLETED"})
    problem(late, 409, "conflict")
    assert (await api.get(f"/v1/operations/{kind}-2"))["status"] == "PENDING"


# --- once more


async def failed(api: Blackbox, kind: str, **members: Any) -> str:  # noqa: ANN401  any JSON
    """An operation that FAILED and can be tried once more; its id."""
    made = await api.post("/v1/operations", {"type": kind, **members})
    await api.event(made["operationId"], "STARTED")
    await api.event(made["operationId"], "FAILED", error=RETRYABLE)
    return str(made["operationId"])


async def test_a_retry_is_a_new_operation_that_the_producer_learns_of(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    await api.subscribe(receiver.url("/producer"), eventTypes=["RETRY_REQUESTED"])
    name = await failed(api, kind, metadata={"month": 1.10}, webhook={"url": receiver.url("/own")})
    assert "retry" in (await api.get(f"/v1/operations/{name}"))["links"]
    made = await api.post(f"/v1/operations/{name}/retry")
    new = made["operationId"]
    assert new != name
    assert (made["status"], made["type"], made["retryOf"]) == ("PENDING", kind, name)

    shown = await api.get(f"/v1/operations/{new}")
    assert (shown["retryOf"], shown["metadata"], shown["status"]) == (
        name,
        {"month": 1.10},
        "PENDING",
    )
    (event,) = await api.all(f"/v1/operations/{new}/events")
    assert (event["type"], event["sequence"], event["status"]) == ("RETRY_REQUESTED", 1, "PENDING")
    assert event["data"] == {"retryOf": name}
    (told,) = await received(receiver, "/producer", 1)
    assert told.headers["webhook-id"] == event["id"]

    await api.event(new, "COMPLETED")
    ends = await received(receiver, "/own", 2)
    assert {request.headers["x-operation-id"] for request in ends} == {name, new}
    # the failed one stays as it was
    assert (await api.get(f"/v1/operations/{name}"))["status"] == "FAILED"


async def test_a_retry_asked_for_again_is_the_same(
    server: Server, api: Blackbox, kind: str
) -> None:
    name = await failed(api, kind)
    async with server.client() as other:
        answers = await asyncio.gather(
            *(client.post(f"/v1/operations/{name}/retry") for client in (api.http, other) * 5)
        )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["operationId"] for answer in answers}) == 1
    await api.event(answers[0].json()["operationId"], "COMPLETED")
    last = await api.post(f"/v1/operations/{name}/retry")
    assert last["operationId"] == answers[0].json()["operationId"]
    assert len((await api.get("/v1/operations", type=kind))["data"]) == 2


async def test_retry_after_is_waited_for(api: Blackbox, kind: str) -> None:
    await api.event(kind, "FAILED", error={**RETRYABLE, "retryAfter": 2})
    begun = time.monotonic()
    refused = await api.http.post(f"/v1/operations/{kind}/retry")
    problem(refused, 409, "conflict")
    assert refused.headers["retry-after"] in ("1", "2")
    async with asyncio.timeout(15):
        while (await api.http.post(f"/v1/operations/{kind}/retry")).status_code == 409:  # noqa: ASYNC110  time has to pass
            await asyncio.sleep(0.05)
    assert time.monotonic() - begun > 1
