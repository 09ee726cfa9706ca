"""What becomes of operations at their end and after: results elsewhere, retries, 410."""

import asyncio

import pytest

from service.domain.api_keys import Scope
from tests.support.api import BASE, Api, problem

PATH = "/v1/operations/op_1"


async def end(api: Api, kind: str = "COMPLETED", **members: object) -> None:
    await api.post(f"{PATH}/events", {"type": kind, **members})


# --- a result that is elsewhere


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("https://files.example.com/r/1.csv?sig=%2F", "https://files.example.com/r/1.csv?sig=%2F"),
        ("HTTP://localhost:8080", "HTTP://localhost:8080"),
        ("/files/1", "/files/1"),
        ("/", "/"),
        ("https://example.com/grün/€", "https://example.com/gr%C3%BCn/%E2%82%AC"),
    ],
)
async def test_a_result_elsewhere_is_303(api: Api, url: str, location: str) -> None:
    await end(api, result={"url": url, "rows": 3})

    answer = await api.call("GET", PATH)

    assert answer.status_code == 303
    assert answer.headers["location"] == location
    assert answer.json()["result"] == {"url": url, "rows": 3}
    assert answer.json()["status"] == "COMPLETED"
    assert "retry-after" not in answer.headers
    for condition in ("*", '"x"'):
        same = await api.call("GET", PATH, headers={"if-none-match": condition})
        assert (same.status_code, same.content) == (303, answer.content)
    head = await api.call("HEAD", PATH)
    assert (head.status_code, head.headers["location"], head.content) == (303, location, b"")


async def test_who_wants_no_redirect_gets_none(api: Api) -> None:
    await end(api, result={"url": "https://example.com/r"})

    plain = await api.call("GET", f"{PATH}?redirect=false")

    assert plain.status_code == 200
    assert plain.json()["result"] == {"url": "https://example.com/r"}
    tag = {"if-none-match": plain.headers["etag"]}
    assert (await api.call("GET", f"{PATH}?redirect=false", headers=tag)).status_code == 304
    assert (await api.call("GET", f"{PATH}?redirect=true")).status_code == 303
    problem(await api.call("GET", f"{PATH}?redirect=no"), 422, "invalid")


@pytest.mark.parametrize(
    "result",
    [
        '{"url":"ftp://example.com"}',
        '{"url":"//example.com/x"}',
        '{"url":"/\\\\example.com"}',
        '{"url":"https://"}',
        '{"url":"https://a b"}',
        '{"url":"https://example.com/\\r\\nset-cookie: a=b"}',
        '{"url":"https://example.com/\\u0085"}',
        '{"url":"files/1"}',
        '{"url":"javascript:alert(1)"}',
        '{"url":""}',
        '{"url":5}',
        '{"url":1e999}',
        '{"url":null}',
        '{"url":{"url":"/x"}}',
        '{"URL":"https://example.com"}',
        '["https://example.com"]',
        '"https://example.com"',
        "null",
        '{"url":"/%s"}' % ("x" * 8_000),
        "{}",
    ],
)
async def test_a_result_that_is_no_address_is_just_a_result(api: Api, result: str) -> None:
    body = f'{{"type":"COMPLETED","result":{result}}}'
    assert (await api.call("POST", f"{PATH}/events", content=body.encode())).status_code == 202
    answer = await api.call("GET", PATH)
    assert answer.status_code == 200
    assert f'"result":{result}'.encode() in answer.content


@pytest.mark.parametrize("kind", ["COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED"])
async def test_only_what_completed_is_elsewhere(api: Api, kind: str) -> None:
    await end(api, kind, result={"url": "https://example.com"})
    assert (await api.call("GET", PATH)).status_code == 200


async def test_a_running_operation_is_not_elsewhere_yet(api: Api) -> None:
    await end(api, "STATUS_UPDATE", result={"url": "https://example.com"})
    assert (await api.call("GET", PATH)).status_code == 200


# --- what is shown of an end


async def test_what_ended_before_it_began_took_no_time(api: Api) -> None:
    await end(api)
    await api.sql("UPDATE operations SET started_at = ended_at + 7")  # earlier versions' clocks

    assert (await api.call("GET", PATH)).json()["duration"] == 0


async def test_an_error_keeps_its_bytes_and_says_whether_to_retry(api: Api) -> None:
    error = '{"type":"https://e.org/p","title":"no","n":1.10,"retryable":true,"retryAfter":5}'
    body = f'{{"type":"FAILED","error":{error},"warnings":[{{"row": 7}}]}}'
    await api.call("POST", f"{PATH}/events", content=body.encode())
    answer = await api.call("GET", PATH)
    assert f'"error":{error}'.encode() in answer.content
    assert b'"warnings":[{"row": 7}]' in answer.content
    shown = answer.json()
    assert shown["links"]["retry"] == f"{BASE}{PATH}/retry"
    assert "cancel" not in shown["links"]
    assert shown["expiresAt"] > shown["failedAt"]
    assert shown["duration"] >= 0


@pytest.mark.parametrize("error", [None, {"retryable": False}, {"title": "no"}])
async def test_a_failure_for_good_has_no_link_to_retry(api: Api, error: object) -> None:
    await end(api, "FAILED", error=error)
    assert "retry" not in (await api.get(PATH))["links"]


# --- retry


async def test_a_retry_is_a_new_operation(api: Api) -> None:
    body = {
        "type": "report",
        "operationId": "op_1",
        "clientJobId": "job",
        "expectedDurationSeconds": 60,
        "metadata": {"month": 7},
        "webhook": {"url": "https://example.com/h", "events": ["FAILED"]},
    }
    made = await api.post("/v1/operations", body)
    await end(api, "FAILED", error={"retryable": True})

    answer = await api.call("POST", f"{PATH}/retry")

    assert answer.status_code == 202
    new = answer.json()
    path = f"/v1/operations/{new['operationId']}"
    assert answer.headers["location"] == f"{BASE}{path}"
    assert answer.headers["retry-after"] == "3"
    assert new["operationId"] != "op_1"
    assert (new["retryOf"], new["status"], new["type"]) == ("op_1", "PENDING", "report")
    assert "clientJobId" not in new
    assert new["estimatedCompletion"] > new["createdAt"]
    webhook = new["webhook"]
    assert webhook["registered"] is True
    assert webhook["events"] == ["FAILED"]
    assert "secret" not in webhook
    assert webhook["subscriptionId"] != made["webhook"]["subscriptionId"]
    secret = await api.get(f"/v1/subscriptions/{webhook['subscriptionId']}/secret")
    assert secret["secret"] == made["webhook"]["secret"]
    shown = await api.get(path)
    assert (shown["retryOf"], shown["metadata"], shown["sequence"]) == ("op_1", {"month": 7}, 1)
    (event,) = (await api.get(f"{path}/events"))["data"]
    assert (event["type"], event["sequence"], event["status"]) == ("RETRY_REQUESTED", 1, "PENDING")
    assert (event["data"], event["operationType"]) == ({"retryOf": "op_1"}, "report")
    again = await api.call("POST", f"{PATH}/retry")
    assert (again.status_code, again.json()) == (202, new)
    assert len((await api.get("/v1/operations"))["data"]) == 2


async def test_retries_at_once_are_one(api: Api) -> None:
    await end(api, "FAILED", error={"retryable": True})
    answers = await asyncio.gather(*(api.call("POST", f"{PATH}/retry") for _ in range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["operationId"] for answer in answers}) == 1
    assert len((await api.get("/v1/operations"))["data"]) == 2


async def test_a_retry_takes_an_idempotency_key(api: Api) -> None:
    await end(api, "FAILED", error={"retryable": True})
    key = {"idempotency-key": "k"}
    first = await api.call("POST", f"{PATH}/retry", headers=key)
    again = await api.call("POST", f"{PATH}/retry", headers=key)
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        ("STARTED", None, "PROCESSING"),
        ("COMPLETED", None, "COMPLETED"),
        ("CANCELLED", None, "CANCELLED"),
        ("FAILED", None, "retryable"),
        ("FAILED", {"retryable": False}, "retryable"),
    ],
)
async def test_what_cannot_be_retried_says_why(
    api: Api, kind: str, error: object, said: str
) -> None:
    await end(api, kind, error=error)
    refused = problem(await api.call("POST", f"{PATH}/retry"), 409, "conflict")
    assert said in refused["detail"]
    assert refused["currentStatus"] == (await api.get(PATH))["status"]


async def test_a_retry_waits_for_its_time(api: Api) -> None:
    await end(api, "FAILED", error={"retryable": True, "retryAfter": 3600})
    answer = await api.call("POST", f"{PATH}/retry")
    problem(answer, 409, "conflict")
    assert 3590 < int(answer.headers["retry-after"]) <= 3600


async def test_a_retry_needs_its_scope_and_an_operation(api: Api) -> None:
    problem(await api.call("POST", f"{PATH}/retry"), 404, "not-found")
    await end(api, "FAILED", error={"retryable": True})
    problem(await api.call("POST", f"{PATH}/retry", {"a": 1}), 422, "invalid")
    reader = await api.key(Scope.OPERATIONS_READ, Scope.EVENTS_WRITE)
    problem(await api.call("POST", f"{PATH}/retry", headers=reader), 403, "forbidden")
    writer = await api.key(Scope.OPERATIONS_WRITE)
    assert (await api.call("POST", f"{PATH}/retry", headers=writer)).status_code == 202


# --- after the end of its time


async def time_passes(api: Api) -> None:
    """What has ended expires."""
    await api.sql("UPDATE operations SET expires_at = ended_at WHERE ended_at IS NOT NULL")


async def expired(api: Api) -> None:
    """An operation that failed and expired."""
    body = {"type": "a", "operationId": "op_1", "clientJobId": "job"}
    await api.post("/v1/operations", body)
    await end(api, "FAILED", id="evt_1", error={"retryable": True})
    await time_passes(api)


@pytest.mark.parametrize("tidied", [False, True])
async def test_an_expired_operation_and_all_below_it_is_410(api: Api, *, tidied: bool) -> None:
    await expired(api)
    if tidied:
        await api.opened.sweep.tick()

    answers = [
        await api.call("GET", PATH),
        await api.call("HEAD", PATH),
        await api.call("GET", f"{PATH}/events"),
        await api.call("POST", f"{PATH}/cancel"),
        await api.call("POST", f"{PATH}/retry"),
        await api.call("POST", f"{PATH}/events", {"type": "note"}),
        await api.call("POST", "/v1/events", {"type": "note", "operationId": "op_1"}),
    ]

    assert [answer.status_code for answer in answers] == [410] * len(answers)
    for answer in (answers[0], *answers[2:]):
        assert problem(answer, 410, "gone")["expiredAt"].endswith("Z")
    assert (await api.get("/v1/operations"))["data"] == []
    assert (await api.get("/v1/operations?clientJobId=job"))["data"] == []
    assert (await api.get("/v1/events/evt_1"))["type"] == "FAILED"
    again = await api.post(f"{PATH}/events", {"type": "FAILED", "id": "evt_1"})
    assert again["data"][0]["duplicate"] is True
    taken = await api.call("POST", "/v1/operations", {"type": "a", "operationId": "op_1"})
    problem(taken, 409, "conflict")
    other = await api.post("/v1/operations", {"type": "a", "clientJobId": "job"})
    assert other["operationId"] != "op_1"


async def test_a_cancelled_operation_expires_too(api: Api) -> None:
    body = {"type": "a", "operationId": "op_1", "ttlSeconds": 0.001}
    await api.post("/v1/operations", body)
    cancelled = await api.post(f"{PATH}/cancel", None, 200)  # however short it is readable
    assert cancelled["expiresAt"] > cancelled["cancelledAt"]
    await time_passes(api)
    problem(await api.call("POST", f"{PATH}/cancel"), 410, "gone")


async def test_in_a_batch_only_what_is_of_it_is_gone(api: Api) -> None:
    await expired(api)
    events = [{"type": "a", "operationId": name} for name in ("op_1", "op_2")]
    answer = await api.call("POST", "/v1/events", events)
    assert answer.status_code == 207
    gone, taken = answer.json()["data"]
    assert gone["problem"]["status"] == 410
    assert taken["sequence"] == 1


async def test_an_operation_says_until_when_it_is_readable(api: Api) -> None:
    await end(api)
    shown = await api.get(PATH)
    assert shown["expiresAt"][:10] > shown["completedAt"][:10]  # a day later
