"""Operations described by their producers: the whole answer, the client's id, a webhook, times."""

import json
from datetime import datetime
from typing import Any

import pytest

from service.domain.api_keys import Scope
from service.domain.signature import key_bytes, sign_body
from service.store import schema
from tests.support.api import BASE, Api, pointers, problem
from tests.support.receiver import Receiver

OPERATIONS = "/v1/operations"


def seconds(later: str, earlier: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


async def test_the_whole_answer(api: Api) -> None:
    body = {
        "type": "report.sales",
        "operationId": "op_1",
        "clientJobId": "käufe 7/2025",
        "expectedDurationSeconds": 600,
        "ttlSeconds": 3600,
        "timeoutSeconds": 0.5,
        "metadata": {"month": 7},
        "webhook": {"url": "https://example.com/hook"},
    }

    answer = await api.call("POST", OPERATIONS, body)

    assert answer.status_code == 202
    own = f"{BASE}/v1/operations/op_1"
    assert answer.headers["location"] == own
    assert answer.headers["retry-after"] == "30"
    made = answer.json()
    webhook = made.pop("webhook")
    assert made == {
        "operationId": "op_1",
        "type": "report.sales",
        "status": "PENDING",
        "clientJobId": "käufe 7/2025",
        "createdAt": made["createdAt"],
        "statusUrl": own,
        "estimatedCompletion": made["estimatedCompletion"],
        "pollInterval": {"recommended": 30, "minimum": 1},
        "links": {
            "self": own,
            "events": f"{own}/events",
            "stream": f"{own}/stream",
            "websocket": "wss://ringback.test/v1/operations/op_1/status",
            "cancel": f"{own}/cancel",
        },
    }
    assert seconds(made["estimatedCompletion"], made["createdAt"]) == 600
    assert webhook == {
        "registered": True,
        "subscriptionId": webhook["subscriptionId"],
        "events": ["COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED"],
        "secret": webhook["secret"],
    }
    assert webhook["secret"].startswith("whsec_")
    shown = await api.get("/v1/operations/op_1")
    assert shown["clientJobId"] == "käufe 7/2025"
    assert shown["estimatedCompletion"] == made["estimatedCompletion"]
    assert shown["pollInterval"] == made["pollInterval"]
    assert shown["metadata"] == {"month": 7}
    assert "expiresAt" not in shown


@pytest.mark.parametrize(("expected", "recommended"), [(None, 5), (0.5, 1), (100, 5), (86_400, 60)])
async def test_a_poll_interval_fits_the_expected_duration(
    api: Api, expected: float | None, recommended: int
) -> None:
    body = {"type": "a", "operationId": "op_1", "expectedDurationSeconds": expected}
    made = await api.post(OPERATIONS, body)
    assert made["pollInterval"] == {"recommended": recommended, "minimum": 1}
    running = await api.call("GET", "/v1/operations/op_1")
    assert running.headers["retry-after"] == str(recommended)


async def test_a_key_that_may_post_events_may_register_a_webhook_with_an_operation(
    api: Api,
) -> None:
    api.headers = await api.key(Scope.EVENTS_WRITE)
    body = {"type": "a", "webhook": {"url": "https://example.com"}}
    assert (await api.post(OPERATIONS, body))["webhook"]["registered"] is True
    refused = await api.call("POST", "/v1/subscriptions", {"url": "https://example.com"})
    problem(refused, 403, "forbidden")


async def test_an_idempotency_key_makes_one_operation_and_shows_its_secret_again(api: Api) -> None:
    body = {"type": "a", "webhook": {"url": "https://example.com"}}
    key = {"idempotency-key": "k1"}
    first = await api.call("POST", OPERATIONS, body, headers=key)
    again = await api.call("POST", OPERATIONS, body, headers=key)
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert len((await api.get(OPERATIONS))["data"]) == 1
    assert len((await api.get("/v1/subscriptions"))["data"]) == 1


# --- the webhook


async def test_a_webhook_is_told_of_the_end_and_signed_with_its_secret(
    api: Api, receiver: Receiver
) -> None:
    body = {"type": "a", "operationId": "op_1", "clientJobId": "job"}
    made = await api.post(OPERATIONS, {**body, "webhook": {"url": receiver.url("/h")}})
    await api.post("/v1/operations/op_1/events", [{"type": "STARTED"}, {"type": "note"}])
    await api.post("/v1/operations/op_2/events", {"type": "COMPLETED"})
    await api.post("/v1/operations/op_1/events", {"type": "COMPLETED", "result": {"n": 1}})

    await api.deliver()

    (received,) = receiver.requests
    assert json.loads(received.body)["clientJobId"] == "job"
    assert received.headers["x-webhook-event"] == "COMPLETED"
    assert received.headers["x-webhook-signature"] == sign_body(
        key_bytes(made["webhook"]["secret"]), received.body
    )


async def test_a_secret_that_was_given_is_not_told(api: Api, receiver: Receiver) -> None:
    webhook = {"url": receiver.url("/h"), "secret": "my own secret, long enough", "events": ["a*"]}
    made = await api.post(OPERATIONS, {"type": "a", "operationId": "op_1", "webhook": webhook})
    assert made["webhook"] == {
        "registered": True,
        "subscriptionId": made["webhook"]["subscriptionId"],
        "events": ["a*"],
    }
    await api.post("/v1/operations/op_1/events", [{"type": "ab"}, {"type": "COMPLETED"}])
    await api.deliver()
    assert [each.headers["x-webhook-event"] for each in receiver.requests] == ["ab"]


async def test_a_webhook_is_a_subscription_of_the_operation(api: Api) -> None:
    webhook = {"url": "https://example.com/h"}
    made = await api.post(OPERATIONS, {"type": "a", "operationId": "op_1", "webhook": webhook})
    path = f"/v1/subscriptions/{made['webhook']['subscriptionId']}"
    shown = await api.get(path)
    assert (shown["operationId"], shown["url"]) == ("op_1", "https://example.com/h")
    assert shown["eventTypes"] == made["webhook"]["events"]
    assert (await api.get(f"{path}/secret"))["secret"] == made["webhook"]["secret"]
    listed = await api.get("/v1/subscriptions?operationId=op_1")
    assert [each["id"] for each in listed["data"]] == [shown["id"]]


async def test_a_webhook_of_an_operation_that_has_ended_already(
    api: Api, receiver: Receiver
) -> None:
    await api.post("/v1/operations/op_1/events", [{"type": "STARTED"}, {"type": "FAILED"}])
    webhook = {"url": receiver.url("/h")}
    made = await api.post(OPERATIONS, {"type": "a", "operationId": "op_1", "webhook": webhook})
    assert made["status"] == "FAILED"
    assert "cancel" not in made["links"]
    await api.deliver()
    assert [each.headers["x-webhook-event"] for each in receiver.requests] == ["FAILED"]


async def test_what_is_known_of_a_webhooks_members_is_told(api: Api) -> None:
    webhook = {"url": "https://example.com", "name": "x"}
    answer = await api.call("POST", OPERATIONS, {"type": "a", "webhook": webhook})
    (fault,) = problem(answer, 422, "invalid")["errors"]
    assert fault["pointer"] == "/webhook/name"
    assert fault["detail"].endswith("events, secret, url")


# --- the client's own id


async def test_a_clients_id_posted_again_is_the_same_operation(api: Api) -> None:
    body: dict[str, Any] = {"type": "a", "clientJobId": "job-1"}
    first = await api.post(OPERATIONS, {**body, "webhook": {"url": "https://example.com"}})
    await api.post(f"/v1/operations/{first['operationId']}/events", {"type": "STARTED"})

    answer = await api.call("POST", OPERATIONS, {**body, "webhook": {"url": "https://e.org"}})

    assert answer.status_code == 200
    again = answer.json()
    assert answer.headers["location"] == first["statusUrl"]
    assert (again["operationId"], again["status"]) == (first["operationId"], "PROCESSING")
    secretless = {k: v for k, v in first["webhook"].items() if k != "secret"}
    assert again["webhook"] == secretless
    assert len((await api.get("/v1/subscriptions"))["data"]) == 1
    found = await api.get(f"{OPERATIONS}?clientJobId=job-1")
    assert [each["operationId"] for each in found["data"]] == [first["operationId"]]
    assert (await api.get(f"{OPERATIONS}?clientJobId=job-2"))["data"] == []


@pytest.mark.parametrize("other", [{"type": "b"}, {"operationId": "op_other"}])
async def test_a_clients_id_of_something_else_is_refused(api: Api, other: dict[str, str]) -> None:
    made = await api.post(OPERATIONS, {"type": "a", "clientJobId": "job-1"})
    answer = await api.call("POST", OPERATIONS, {"type": "a", "clientJobId": "job-1", **other})
    assert problem(answer, 409, "conflict")["operationId"] == made["operationId"]


async def test_every_event_carries_the_clients_id(api: Api) -> None:
    await api.post(OPERATIONS, {"type": "a", "operationId": "op_1", "clientJobId": "job-1"})
    posted = await api.post("/v1/operations/op_1/events", [{"type": "x"}, {"type": "CANCELLED"}])
    log = (await api.get("/v1/operations/op_1/events"))["data"]
    assert [event["clientJobId"] for event in log] == ["job-1"] * 2
    event = await api.get(f"/v1/events/{posted['data'][0]['id']}")
    assert event["clientJobId"] == "job-1"


# --- estimates, time-outs, TTL


async def test_an_estimate_is_refined_by_progress_and_gone_at_the_end(api: Api) -> None:
    path = "/v1/operations/op_1"
    body = {"type": "a", "operationId": "op_1", "expectedDurationSeconds": 3_600}
    first = (await api.post(OPERATIONS, body))["estimatedCompletion"]
    await api.post(f"{path}/events", {"type": "STARTED"})
    assert (await api.get(path))["estimatedCompletion"] == first
    await api.sql("UPDATE operations SET started_at = started_at - 60000")
    await api.post(f"{path}/events", {"type": "STATUS_UPDATE", "progress": 50})
    shown = await api.get(path)
    assert seconds(shown["estimatedCompletion"], shown["startedAt"]) == pytest.approx(120, abs=5)
    await api.post(f"{path}/events", {"type": "COMPLETED"})
    assert "estimatedCompletion" not in await api.get(path)


async def test_a_silent_operation_fails_and_its_webhook_hears_of_it(
    api: Api, receiver: Receiver
) -> None:
    webhook = {"url": receiver.url("/h")}
    body = {"type": "a", "operationId": "op_1", "timeoutSeconds": 5, "webhook": webhook}
    await api.post(OPERATIONS, body)
    await api.sql("UPDATE operations SET silent_at = silent_at - 5000")
    await api.opened.sweep.tick()

    shown = await api.get("/v1/operations/op_1")
    assert shown["status"] == "FAILED"
    assert shown["error"]["type"] == f"{BASE}/problems/operation-timeout"
    assert shown["links"]["retry"] == f"{BASE}/v1/operations/op_1/retry"
    await api.deliver()
    (received,) = receiver.requests
    assert json.loads(received.body)["error"] == shown["error"]
    meaning = await api.get("/problems/operation-timeout")
    assert meaning["type"] == shown["error"]["type"]
    assert meaning["title"]
    late = await api.call("POST", "/v1/operations/op_1/events", {"type": "COMPLETED"})
    problem(late, 409, "conflict")


async def test_who_described_cancelled_and_retried_is_in_the_audit_log(api: Api) -> None:
    await api.post(OPERATIONS, {"type": "a", "operationId": "op_1"})
    await api.post("/v1/operations/op_1/cancel", {"reason": "no need"}, 200)
    await api.post("/v1/operations/op_1/cancel", None, 200)
    error = {"retryable": True}
    await api.post("/v1/operations/op_2/events", {"type": "FAILED", "error": error})
    new = await api.post("/v1/operations/op_2/retry")

    async with api.opened.base.database.read() as tx:
        rows = await tx.query(schema.audit_log.select())
    notes = [
        (row["actor"], row["action"], row["target"], json.loads(row["detail"])) for row in rows
    ]
    assert notes == [
        ("key_admin", "operation.created", "op_1", {"type": "a"}),
        ("key_admin", "operation.cancelled", "op_1", {"reason": "no need"}),
        ("key_admin", "operation.retried", "op_2", {"operationId": new["operationId"]}),
    ]


async def test_faults_are_told_all_at_once(api: Api) -> None:
    body = {
        "type": "ringback.x",
        "webhook": {"url": "https://127.0.0.1:1/", "secret": "whsec_???"},
    }
    refused = problem(await api.call("POST", OPERATIONS, body), 422, "invalid")
    assert "/type" in pointers(refused)
    assert "/webhook/secret" in pointers(refused)
