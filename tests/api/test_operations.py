"""Operations: described, read, listed, cancelled."""

from typing import Any

import pytest

from tests.support.api import BASE, Api, pointers, problem

OPERATIONS = "/v1/operations"


async def test_a_new_operation(api: Api) -> None:
    answer = await api.call("POST", OPERATIONS, {"type": "report.sales"})
    assert answer.status_code == 202
    made = answer.json()
    own = f"{BASE}/v1/operations/{made['operationId']}"
    assert answer.headers["location"] == own
    assert int(answer.headers["retry-after"]) > 0
    assert made == {
        "operationId": made["operationId"],
        "type": "report.sales",
        "status": "PENDING",
        "createdAt": made["createdAt"],
        "statusUrl": own,
        "pollInterval": {"recommended": 5, "minimum": 1},
        "links": {
            "self": own,
            "events": f"{own}/events",
            "stream": f"{own}/stream",
            "websocket": f"wss://ringback.test/v1/operations/{made['operationId']}/status",
            "cancel": f"{own}/cancel",
        },
    }
    assert made["operationId"].startswith("op_")
    shown = await api.get(f"/v1/operations/{made['operationId']}")
    assert shown["sequence"] == 0


async def test_metadata_keeps_its_bytes(api: Api) -> None:
    body = '{"type":"r","operationId":"op_1","metadata":{"n": 1.10,"e":1e400,"ü":"\\u00fc"}}'
    answer = await api.call("POST", OPERATIONS, content=body.encode())
    assert answer.status_code == 202
    shown = await api.call("GET", "/v1/operations/op_1")
    assert '"metadata":{"n": 1.10,"e":1e400,"ü":"\\u00fc"}'.encode() in shown.content


async def test_an_operation_is_described_once(api: Api) -> None:
    await api.post(OPERATIONS, {"type": "report", "operationId": "op_1"})
    again = await api.call("POST", OPERATIONS, {"type": "report", "operationId": "op_1"})
    problem(again, 409, "conflict")


async def test_an_operation_that_an_event_created_is_completed(api: Api) -> None:
    await api.post("/v1/operations/op_1/events", {"type": "STARTED"})
    given = {"type": "report", "operationId": "op_1", "metadata": {"a": 1}}
    assert (await api.post(OPERATIONS, given))["status"] == "PROCESSING"
    shown = await api.get("/v1/operations/op_1")
    assert (shown["type"], shown["metadata"], shown["sequence"]) == ("report", {"a": 1}, 1)
    problem(await api.call("POST", OPERATIONS, given), 409, "conflict")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ("{}", ["/type"]),
        ('{"type":null}', ["/type"]),
        ('{"type":"a b","operationId":"a/b"}', ["/operationId", "/type"]),
        ('{"type":"ringback.replay"}', ["/type"]),
        ('{"type":"a","metadata":[]}', ["/metadata"]),
        ('{"type":"a","metadata":"x"}', ["/metadata"]),
        ('{"type":"a","metadata":{"a":"%s"}}' % ("x" * 16_384), ["/metadata"]),
        ('{"type":"a","clientJobId":""}', ["/clientJobId"]),
        ('{"type":"a","clientJobId":"a\\nb"}', ["/clientJobId"]),
        ('{"type":"a","clientJobId":"%s"}' % ("x" * 256), ["/clientJobId"]),
        ('{"type":"a","expectedDurationSeconds":0}', ["/expectedDurationSeconds"]),
        ('{"type":"a","expectedDurationSeconds":1e9}', ["/expectedDurationSeconds"]),
        ('{"type":"a","ttlSeconds":"5","timeoutSeconds":true}', ["/timeoutSeconds", "/ttlSeconds"]),
        ('{"type":"a","webhook":{}}', ["/webhook/url"]),
        ('{"type":"a","webhook":"https://example.com"}', ["/webhook"]),
        ('{"type":"a","webhook":{"url":5,"events":[]}}', ["/webhook/events", "/webhook/url"]),
        (
            '{"type":"a","webhook":{"url":"ftp://example.com","secret":"whsec_!","events":["a"]}}',
            ["/webhook/secret", "/webhook/url"],
        ),
        (
            '{"type":"ringback.x","webhook":{"url":"https://169.254.1.1/"}}',
            ["/type", "/webhook/url"],
        ),
        ('{"type":"a","webhook":{"url":"https://e.org","name":"x"}}', ["/webhook/name"]),
        ('{"type":"a","operation_id":"x"}', ["/operation_id"]),
        ('{"type":1e400,"operationId":99999999999999999999999}', ["/operationId", "/type"]),
        ("[]", [""]),
        ("null", [""]),
        ('"x"', [""]),
    ],
)
async def test_faults_of_a_new_operation(api: Api, body: str, where: list[str]) -> None:
    refused = problem(await api.call("POST", OPERATIONS, content=body.encode()), 422, "invalid")
    assert pointers(refused) == where
    assert not (await api.get(OPERATIONS))["data"]


@pytest.mark.parametrize(
    "body", [b"{", b'{"type":"\xff"}', b'{"type":NaN}', b'{"type":"\\ud800"}', b"x"]
)
async def test_a_new_operation_that_is_not_json(api: Api, body: bytes) -> None:
    problem(await api.call("POST", OPERATIONS, content=body), 400, "malformed")


async def test_a_new_operation_nested_too_deeply(api: Api) -> None:
    deep = b'{"type":"a","metadata":{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}}"
    problem(await api.call("POST", OPERATIONS, content=deep), 422, "invalid")


async def test_a_control_body_of_megabytes_is_refused(api: Api) -> None:
    body = b'{"type":"%s"}' % (b"a" * 1_100_000)
    problem(await api.call("POST", OPERATIONS, content=body), 413, "too-large")


async def test_the_way_of_an_operation(api: Api) -> None:
    path = "/v1/operations/op_1"
    await api.post(f"{path}/events", {"type": "STARTED", "operationType": "report"})
    running = await api.call("GET", path)
    shown = running.json()
    assert "retry-after" in running.headers
    assert shown["status"] == "PROCESSING"
    assert shown["startedAt"]
    assert shown["links"]["cancel"] == f"{BASE}{path}/cancel"
    update = {"type": "STATUS_UPDATE", "progress": {"current": 1, "total": 4}}
    await api.post(f"{path}/events", update)
    assert (await api.get(path))["progress"] == {"current": 1, "total": 4, "percentage": 25.0}
    await api.post(f"{path}/events", {"type": "COMPLETED", "result": {"rows": 3}})
    ended = await api.call("GET", path)
    shown = ended.json()
    assert "retry-after" not in ended.headers
    assert shown["status"] == "COMPLETED"
    assert shown["result"] == {"rows": 3}
    assert shown["completedAt"]
    assert shown["duration"] >= 0
    assert "pollInterval" not in shown
    assert "cancel" not in shown["links"]


@pytest.mark.parametrize(
    ("kind", "member"),
    [
        ("COMPLETED", "completedAt"),
        ("COMPLETED_WITH_ERRORS", "completedAt"),
        ("FAILED", "failedAt"),
        ("CANCELLED", "cancelledAt"),
    ],
)
async def test_each_end_has_its_time(api: Api, kind: str, member: str) -> None:
    await api.post("/v1/operations/op_1/events", {"type": kind})
    shown = await api.get("/v1/operations/op_1")
    times = {name for name in ("completedAt", "failedAt", "cancelledAt") if name in shown}
    assert times == {member}


async def test_an_unchanged_operation_is_304(api: Api) -> None:
    path = "/v1/operations/op_1"
    await api.post(f"{path}/events", {"type": "STARTED"})
    tag = (await api.call("GET", path)).headers["etag"]
    for condition in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        same = await api.call("GET", path, headers={"if-none-match": condition})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    await api.post(f"{path}/events", {"type": "note"})
    changed = await api.call("GET", path, headers={"if-none-match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


async def test_cancel_is_the_same_again(api: Api) -> None:
    path = "/v1/operations/op_1"
    await api.post(f"{path}/events", {"type": "STARTED"})
    cancelled = await api.post(f"{path}/cancel", {"reason": "wrong month"}, 200)
    assert cancelled["status"] == "CANCELLED"
    assert cancelled["cancelledAt"]
    assert await api.post(f"{path}/cancel", None, 200) == cancelled
    log = (await api.get(f"{path}/events"))["data"]
    assert [(event["type"], event.get("message")) for event in log] == [
        ("STARTED", None),
        ("CANCELLED", "wrong month"),
    ]
    problem(await api.call("POST", f"{path}/events", {"type": "COMPLETED"}), 409, "conflict")


async def test_what_has_ended_cannot_be_cancelled(api: Api) -> None:
    await api.post("/v1/operations/op_1/events", {"type": "FAILED"})
    refused = problem(await api.call("POST", "/v1/operations/op_1/cancel"), 409, "conflict")
    assert (refused["currentStatus"], refused["requestedStatus"]) == ("FAILED", "CANCELLED")
    problem(await api.call("POST", "/v1/operations/op_none/cancel"), 404, "not-found")


@pytest.mark.parametrize(
    "body", [{"reason": 1}, {"reason": "a\nb"}, {"reason": "x" * 1025}, {"why": "x"}]
)
async def test_faults_of_a_cancel(api: Api, body: dict[str, Any]) -> None:
    await api.post("/v1/operations/op_1/events", {"type": "STARTED"})
    problem(await api.call("POST", "/v1/operations/op_1/cancel", body), 422, "invalid")
    assert (await api.get("/v1/operations/op_1"))["status"] == "PROCESSING"


async def test_the_history_is_filtered(api: Api) -> None:
    for number, (kind, event) in enumerate(
        [("report", "STARTED"), ("import", "STARTED"), ("report", "COMPLETED")]
    ):
        body = {"type": event, "operationType": kind}
        await api.post(f"/v1/operations/op_{number}/events", body)

    async def found(query: str) -> list[str]:
        return [each["operationId"] for each in (await api.get(f"{OPERATIONS}?{query}"))["data"]]

    assert await found("") == ["op_2", "op_1", "op_0"]
    assert await found("status=PROCESSING") == ["op_1", "op_0"]
    assert await found("type=report") == ["op_2", "op_0"]
    assert await found("type=report&status=COMPLETED") == ["op_2"]
    assert await found("createdAfter=2100-01-01T00:00:00Z") == []
    assert await found("createdBefore=2100-01-01T00:00:00%2B01:00") == ["op_2", "op_1", "op_0"]


async def test_nobody_else_posts_to_ringbacks_own_operations_but_they_can_be_cancelled(
    api: Api,
) -> None:
    replay = await api.post("/v1/dead-letters/replay", {})
    name = replay["operationId"]
    answer = await api.call("POST", f"/v1/operations/{name}/events", {"type": "COMPLETED"})
    assert "Ringback itself posts its events" in problem(answer, 409, "conflict")["detail"]
    cancelled = await api.post(f"/v1/operations/{name}/cancel", {"reason": "not now"}, 200)
    assert cancelled["status"] == "CANCELLED"
    log = await api.get(f"/v1/operations/{name}/events")
    assert [event["type"] for event in log["data"]] == ["CANCELLED"]
