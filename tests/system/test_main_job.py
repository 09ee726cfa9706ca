"""The main job from outside: events in, signed requests out, retried and dead-lettered."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from service import __version__
from tests.support.blackbox import Blackbox, blackbox, received, verify
from tests.support.receiver import Received, Receiver, Reply
from tests.system.conftest import StartServer

#: Seconds that a busy machine may add to a retry's wait; the wait itself is never shortened.
SLACK = 2.5
#: What a receiver finds besides the subscription's own headers (contract, section 5).
HEADERS = {
    "host",
    "content-type",
    "content-length",
    "accept-encoding",
    "user-agent",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "x-webhook-signature",
    "x-webhook-event",
    "x-operation-id",
    "x-operation-sequence",
    "x-webhook-delivery",
    "x-webhook-attempt",
    "traceparent",
}
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def dead_at(path: str, request: Received) -> Reply:
    return Reply(500) if request.path == path else Reply()


@asynccontextmanager
async def four_subscriptions(
    api: Blackbox, receiver: Receiver, kind: str
) -> AsyncIterator[dict[str, Any]]:
    """All events, one type, a glob, and all events to a receiver that is broken."""
    receiver.script = lambda request: dead_at("/dead", request)
    wanted: dict[str, dict[str, object]] = {
        "/all": {},
        "/one": {"eventTypes": ["COMPLETED"]},
        "/glob": {"eventTypes": ["payment.*"]},
        "/dead": {},
    }
    yield {
        path: await api.subscribe(receiver.url(path), operationTypes=[kind], **members)
        for path, members in wanted.items()
    }


async def post_operation(api: Blackbox, kind: str) -> str:
    made = await api.post("/v1/operations", {"type": kind})
    name = str(made["operationId"])
    await api.event(name, "STARTED")
    await api.event(name, "payment.fraud_check.started", data={"score": 1})
    await api.event(name, "STATUS_UPDATE", progress={"current": 1, "total": 4})
    await api.event(name, "COMPLETED", result={"rows": 10})
    return name


async def test_each_subscription_gets_what_it_asked_for(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    async with four_subscriptions(api, receiver, kind) as subscriptions:
        operation = await post_operation(api, kind)
        expected = {
            "/all": {"STARTED", "payment.fraud_check.started", "STATUS_UPDATE", "COMPLETED"},
            "/one": {"COMPLETED"},
            "/glob": {"payment.fraud_check.started"},
        }
        for path, types in expected.items():
            requests = await received(receiver, path, len(types))
            assert {r.headers["x-webhook-event"] for r in requests} == types
            for request in requests:
                verify(subscriptions[path]["secret"], request)
        dead = await api.until(
            "/v1/dead-letters",
            lambda page: len(page["data"]) == 4,
            subscriptionId=subscriptions["/dead"]["id"],
        )
        log = await api.all(f"/v1/operations/{operation}/events")
        assert sorted((d["event"] for d in dead["data"]), key=lambda e: e["sequence"]) == log
        assert {d["reason"] for d in dead["data"]} == {"attempts_exhausted"}
        assert len(await received(receiver, "/dead", 12)) == 12
        # and nobody got anything else, or anything twice
        assert len(await received(receiver, "/all", 4)) == 4
        assert len(receiver.requests) == 4 + 1 + 1 + 12


async def test_the_request_is_as_the_contract_says(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    subscription = await api.subscribe(receiver.url("/hook?a=b"), operationTypes=[kind])
    verdict = await api.event("op-" + kind, "STARTED", operationType=kind, message="Grüße")
    (request,) = await receiver.wait_for(1)

    names = [name.lower() for name, _ in request.raw_headers]
    assert len(names) == len(set(names))
    assert set(names) == HEADERS
    headers = request.headers
    log = (await api.all(f"/v1/operations/op-{kind}/events"))[0]
    assert (request.method, request.path) == ("POST", "/hook?a=b")
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(request.body))
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"] == f"Ringback/{__version__}"
    assert headers["webhook-id"] == verdict["id"] == log["id"]
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 30
    assert headers["x-webhook-event"] == "STARTED"
    assert headers["x-operation-id"] == f"op-{kind}"
    assert headers["x-operation-sequence"] == "1"
    assert headers["x-webhook-attempt"] == "1"
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", headers["traceparent"])
    delivery = await api.delivery(subscription, "delivered")
    assert headers["x-webhook-delivery"] == delivery["id"]
    assert json.loads(request.body) == log
    verify(subscription["secret"], request)


async def test_the_event_is_the_object_of_the_contract(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    await api.subscribe(receiver.url("/"), operationTypes=[kind])
    progress = {"current": 1, "total": 4}
    await api.event("op-" + kind, "STATUS_UPDATE", operationType=kind, progress=progress)
    (request,) = await receiver.wait_for(1)

    event = json.loads(request.body)
    assert RFC_3339.fullmatch(event.pop("timestamp"))
    assert event.pop("id").startswith("evt_")
    assert event == {
        "type": "STATUS_UPDATE",
        "operationId": f"op-{kind}",
        "operationType": kind,
        "sequence": 1,
        "status": "PROCESSING",
        "progress": {"current": 1, "total": 4, "percentage": 25.0},
    }


async def test_retries_keep_to_the_schedule_and_then_it_is_a_dead_letter(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    receiver.script = lambda _: Reply(500, body=b"broken")
    subscription = await api.subscribe(receiver.url("/"), operationTypes=[kind])
    verdict = await api.event("op-" + kind, "FAILED", operationType=kind, error={"title": "No"})
    requests = await receiver.wait_for(3)

    for earlier, later in pairwise(requests):
        assert 0.8 <= later.at - earlier.at <= 1.2 + SLACK
    moments = [int(request.headers["webhook-timestamp"]) for request in requests]
    assert all(-1 <= r.wall - at <= 1 + SLACK for r, at in zip(requests, moments, strict=True))
    assert moments[0] <= moments[1] <= moments[2]
    assert moments[0] < moments[2]
    assert requests[0].headers["webhook-signature"] != requests[2].headers["webhook-signature"]
    assert {r.headers["webhook-id"] for r in requests} == {verdict["id"]}
    assert [r.headers["x-webhook-attempt"] for r in requests] == ["1", "2", "3"]
    assert len({r.body for r in requests}) == 1
    for request in requests:
        verify(subscription["secret"], request)

    dead = await api.dead_letter(subscription)
    assert dead["reason"] == "attempts_exhausted"
    assert dead["attempts"] == 3
    assert dead["state"] == "open"
    assert dead["lastOutcome"]["statusCode"] == 500
    assert dead["event"] == json.loads(requests[0].body)
    assert await api.get(f"/v1/dead-letters/{dead['id']}") == dead
    check_attempts(await api.delivery(subscription, "dead"))


def check_attempts(delivery: Mapping[str, Any]) -> None:
    attempts = delivery["attempts"]
    assert [a["number"] for a in attempts] == [1, 2, 3]
    assert {a["trigger"] for a in attempts} == {"schedule"}
    assert {a["errorClass"] for a in attempts} == {"http_status"}
    assert {a["statusCode"] for a in attempts} == {500}
    assert {a["response"]["body"] for a in attempts} == {"broken"}
    assert ["nextAttemptAt" in a for a in attempts] == [True, True, False]


async def test_one_that_recovers_is_delivered(api: Blackbox, receiver: Receiver, kind: str) -> None:
    receiver.script = lambda r: Reply(200 if r.headers["x-webhook-attempt"] == "3" else 503)
    subscription = await api.subscribe(receiver.url("/"), operationTypes=[kind])
    await api.event("op-" + kind, "STARTED", operationType=kind)

    delivery = await api.delivery(subscription, "delivered")
    assert [a["statusCode"] for a in delivery["attempts"]] == [503, 503, 200]


async def test_a_redirect_is_a_failure_and_never_followed(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    location = ("location", receiver.url("/elsewhere"))
    receiver.script = lambda _: Reply(307, (location,))
    subscription = await api.subscribe(
        receiver.url("/here"), operationTypes=[kind], retrySchedule=[0]
    )
    await api.event("op-" + kind, "STARTED", operationType=kind)

    assert (await api.dead_letter(subscription))["lastOutcome"]["statusCode"] == 307
    assert [r.path for r in receiver.requests] == ["/here"]


async def test_a_slow_receiver_times_out_and_delays_nobody(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    receiver.script = lambda r: Reply(delay=30.0 if r.path == "/slow" else 0.0)
    slow = await api.subscribe(
        receiver.url("/slow"), operationTypes=[kind], retrySchedule=[0], timeoutSeconds=1
    )
    await api.subscribe(receiver.url("/fast"), operationTypes=[kind])
    begun = time.monotonic()
    events = [{"operationId": "op-" + kind, "type": "step"} for _ in range(50)]
    await api.post("/v1/events", [{**each, "operationType": kind} for each in events])

    fast = await received(receiver, "/fast", 50)
    assert max(r.at for r in fast) - begun < 10
    # fewer and fewer at a time, since it answers none
    dead = await api.deliveries(slow, 10, "dead", timeout=30.0)
    one = await api.get(f"/v1/deliveries/{dead[0]['id']}")
    assert one["attempts"][0]["errorClass"] == "timeout"


async def test_a_host_that_is_not_there_is_a_connect_error(api: Blackbox, kind: str) -> None:
    async with Receiver() as gone:
        url = gone.url("/")
    subscription = await api.subscribe(url, operationTypes=[kind], retrySchedule=[0])
    await api.event("op-" + kind, "STARTED", operationType=kind)

    assert (await api.dead_letter(subscription))["lastOutcome"]["errorClass"] == "connect"


async def test_two_batches_at_once_into_one_operation(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    subscription = await api.subscribe(receiver.url("/"), operationTypes=[kind])
    operation = "op-" + kind
    batch = [{"operationId": operation, "type": "step", "operationType": kind}] * 200

    answers = await asyncio.gather(*(api.post("/v1/events", batch) for _ in range(2)))
    verdicts = [verdict for answer in answers for verdict in answer["data"]]
    assert sorted(verdict["sequence"] for verdict in verdicts) == list(range(1, 401))
    for answer in answers:
        sequences = [verdict["sequence"] for verdict in answer["data"]]
        assert sequences == sorted(sequences)

    requests = await receiver.wait_for(400, timeout=30)
    assert len({r.headers["webhook-id"] for r in requests}) == 400
    await api.deliveries(subscription, 400, "delivered")
    log = await api.all(f"/v1/operations/{operation}/events")
    assert [event["sequence"] for event in log] == list(range(1, 401))
    assert len(receiver.requests) == 400


async def test_lines_of_json(api: Blackbox, receiver: Receiver, kind: str) -> None:
    await api.subscribe(receiver.url("/"), operationTypes=[kind])
    lines = [
        json.dumps({"operationId": f"{kind[:50]}-{n}", "type": "STARTED", "operationType": kind})
        for n in range(3)
    ]
    content = "\r\n\n".join(lines).encode()

    verdicts = await api.send("/v1/events", content, "application/x-ndjson")
    assert [verdict["sequence"] for verdict in verdicts] == [1, 1, 1]
    requests = await receiver.wait_for(3)
    assert {r.headers["x-operation-id"] for r in requests} == {v["operationId"] for v in verdicts}


async def test_in_a_batch_each_event_gets_its_own_verdict(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    await api.subscribe(receiver.url("/"), operationTypes=[kind])
    operation = "op-" + kind
    batch: list[object] = [
        {"operationId": operation, "operationType": kind, "type": "STARTED", "id": f"a-{kind}"},
        {"operationId": operation, "type": "STARTED", "id": f"b-{kind}", "status": "FAILED"},
        7,
        {"operationId": operation, "type": "COMPLETED", "id": f"c-{kind}"},
        {"operationId": operation, "type": "STATUS_UPDATE", "id": f"d-{kind}"},
        {"operationId": operation, "type": "STARTED", "id": f"a-{kind}"},
    ]
    answer = await api.post("/v1/events", batch, 207)

    data = answer["data"]
    assert [each.get("sequence") for each in data] == [1, None, None, 2, None, 1]
    assert data[5]["duplicate"] is True
    problems = {n: each["problem"]["status"] for n, each in enumerate(data) if "problem" in each}
    assert problems == {1: 422, 2: 422, 4: 409}
    assert [data[n]["index"] for n in problems] == list(problems)
    assert data[4]["id"] == f"d-{kind}"
    await api.until(
        "/v1/deliveries", lambda p: len(p["data"]) == 2, operationId=operation, status="delivered"
    )
    assert len(receiver.requests) == 2


async def test_a_duplicate_changes_nothing_and_another_use_of_the_id_is_refused(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    await api.subscribe(receiver.url("/"), operationTypes=[kind])
    operation, name = "op-" + kind, f"e-{kind}"
    first = await api.event(operation, "STARTED", id=name, operationType=kind)
    again = await api.event(operation, "STARTED", id=name, message="other")
    assert (first["duplicate"], again["duplicate"]) == (False, True)
    assert {**again, "duplicate": False} == first
    body = {"operationId": operation, "type": "COMPLETED", "id": name}
    assert (await api.post("/v1/events", body, 409))["status"] == 409

    await api.event(operation, "COMPLETED")
    await receiver.wait_for(2)
    assert len(await api.all(f"/v1/operations/{operation}/events")) == 2


async def test_an_operation_is_polled_and_its_log_read(api: Blackbox, kind: str) -> None:
    made = await api.http.post("/v1/operations", json={"type": kind, "metadata": {"a": 1.10}})
    operation = made.json()
    assert made.status_code == 202
    assert made.headers["location"] == operation["statusUrl"]
    assert operation["status"] == "PENDING"
    path = f"/v1/operations/{operation['operationId']}"

    first = await api.http.get(path)
    assert first.headers["retry-after"]
    unchanged = await api.http.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")

    await api.post(f"{path}/events", {"type": "STARTED"})
    await api.post(f"{path}/events", {"type": "STATUS_UPDATE", "progress": 40})
    running = await api.http.get(path, headers={"if-none-match": first.headers["etag"]})
    now = running.json()
    assert (now["status"], now["sequence"], now["progress"]) == ("PROCESSING", 2, 40)
    await api.post(f"{path}/events", {"type": "COMPLETED", "result": {"n": 1}})
    over = await api.get(path)
    assert (over["status"], over["sequence"], over["result"]) == ("COMPLETED", 3, {"n": 1})
    assert over["duration"] >= 0

    log = await api.get(f"{path}/events", after=1)
    assert [event["sequence"] for event in log["data"]] == [2, 3]
    problem = await api.post(f"{path}/events", {"type": "STATUS_UPDATE"}, 409)
    assert "COMPLETED" in problem["detail"]
    assert len(await api.all(f"{path}/events")) == 3


async def test_a_cancelled_operation_says_so_to_everybody(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    await api.subscribe(receiver.url("/"), operationTypes=[kind])
    operation = "op-" + kind
    await api.event(operation, "STARTED", operationType=kind)
    path = f"/v1/operations/{operation}/cancel"

    cancelled = await api.post(path, {"reason": "No longer wanted"}, 200)
    assert cancelled["status"] == "CANCELLED"
    assert RFC_3339.fullmatch(cancelled["cancelledAt"])
    assert await api.post(path, None, 200) == cancelled
    requests = await receiver.wait_for(2)
    assert {r.headers["x-webhook-event"] for r in requests} == {"STARTED", "CANCELLED"}
    body = {"operationId": operation, "type": "COMPLETED"}
    assert (await api.post("/v1/events", body, 409))["status"] == 409


async def test_an_idempotency_key_holds_over_a_crash(start_server: StartServer, kind: str) -> None:
    server = start_server()
    key = {"idempotency-key": f"key-{kind}"}
    body = {"operationId": "op-1", "type": "STARTED"}
    subscription = {"url": "http://127.0.0.1:9/", "eventTypes": ["never"]}
    async with blackbox(server) as api:
        first = await api.http.post("/v1/events", json=body, headers=key)
        made = await api.http.post(
            "/v1/subscriptions", json=subscription, headers={"idempotency-key": "s"}
        )
    await asyncio.to_thread(server.restart)

    async with blackbox(server) as api:
        again = await api.http.post("/v1/events", json=body, headers=key)
        assert (first.status_code, again.status_code) == (202, 202)
        assert again.content == first.content
        assert again.headers["idempotency-replayed"] == "true"
        assert "idempotency-replayed" not in first.headers
        other = await api.http.post("/v1/events", json={**body, "message": "x"}, headers=key)
        assert other.status_code == 422
        assert len(await api.all("/v1/operations/op-1/events")) == 1
        same = await api.http.post(
            "/v1/subscriptions", json=subscription, headers={"idempotency-key": "s"}
        )
        assert same.json() == made.json()
        assert len(await api.all("/v1/subscriptions")) == 1


@pytest.mark.parametrize("status", [200, 500])
async def test_a_stop_settles_what_is_in_flight(
    status: int, start_server: StartServer, receiver: Receiver
) -> None:
    """Neither sent twice nor counted as unknown: a clean stop waits for the receiver's answer."""
    receiver.script = lambda _: Reply(status, delay=0.7)
    server = start_server({"RINGBACK_RETRY_SCHEDULE": "0,3600"})
    async with blackbox(server) as api:
        await api.subscribe(receiver.url("/"))
        api.made.clear()  # it is to outlive this client
        await api.event("op-1", "STARTED")
        await receiver.wait_for(1)
        begun = time.monotonic()
        assert await asyncio.to_thread(server.stop) == 0
        assert time.monotonic() - begun < 10
    await asyncio.to_thread(server.start)

    async with blackbox(server) as api:
        (delivery,) = await api.all("/v1/deliveries")
        assert delivery["status"] == ("delivered" if status == 200 else "pending")
        attempts = (await api.get(f"/v1/deliveries/{delivery['id']}"))["attempts"]
        assert [attempt["statusCode"] for attempt in attempts] == [status]
    assert len(receiver.requests) == 1
