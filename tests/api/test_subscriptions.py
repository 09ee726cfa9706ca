"""Subscriptions: made, changed, paused, tested; secrets shown once, rotated, revealed."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from service.domain.signature import key_bytes, verify_body, verify_standard
from tests.support.api import BASE, Api, opened_api, pointers, problem
from tests.support.receiver import Receiver, Reply

PATH = "/v1/subscriptions"
URL = "https://example.com/hook"

FAULTS: dict[str, tuple[str, list[str]]] = {
    "nothing": ("{}", ["/url"]),
    "an array": ("[]", [""]),
    "a url that is null": ('{"url":null}', ["/url"]),
    "a url that is a number": ('{"url":1}', ["/url"]),
    "a relative url": ('{"url":"/hook"}', ["/url"]),
    "a forbidden address": ('{"url":"https://10.0.0.1/"}', ["/url"]),
    "a url with a password": ('{"url":"https://a:b@example.com/"}', ["/url"]),
    "unknown fields": (
        '{"url":"%s","events":[],"ratePerSecond":5}',
        ["/events", "/ratePerSecond"],
    ),
    "snake case": ('{"url":"%s","event_types":["a"]}', ["/event_types"]),
    "no event types": ('{"url":"%s","eventTypes":[]}', ["/eventTypes"]),
    "event types as a text": ('{"url":"%s","eventTypes":"*"}', ["/eventTypes"]),
    "bad event types": (
        '{"url":"%s","eventTypes":["a","b c",3,""]}',
        ["/eventTypes/1", "/eventTypes/2", "/eventTypes/3"],
    ),
    "an event type with a line break": ('{"url":"%s","eventTypes":["a\\n"]}', ["/eventTypes/0"]),
    "many event types": (
        '{"url":"%s","eventTypes":' + json.dumps(["a"] * 101) + "}",
        ["/eventTypes"],
    ),
    "bad operation types": ('{"url":"%s","operationTypes":["a b"]}', ["/operationTypes/0"]),
    "a bad operation id": ('{"url":"%s","operationId":"a/b"}', ["/operationId"]),
    "a description with a NUL": ('{"url":"%s","description":"a\\u0000b"}', ["/description"]),
    "a long description": ('{"url":"%s","description":"' + "d" * 1025 + '"}', ["/description"]),
    "a short secret": ('{"url":"%s","secret":"short"}', ["/secret"]),
    "a whsec_ secret of few bytes": ('{"url":"%s","secret":"whsec_AAAA"}', ["/secret"]),
    "a secret that is a number": ('{"url":"%s","secret":12345678}', ["/secret"]),
    "a reserved header": ('{"url":"%s","headers":{"Webhook-Id":"1"}}', ["/headers/Webhook-Id"]),
    "a header with a line break": (
        '{"url":"%s","headers":{"x-a":"1\\r\\nhost: b"}}',
        ["/headers/x-a"],
    ),
    "a header that is a number": ('{"url":"%s","headers":{"x-a":1}}', ["/headers/x-a"]),
    "headers as a list": ('{"url":"%s","headers":["x-a"]}', ["/headers"]),
    "a masked header": ('{"url":"%s","headers":{"x-a":"****"}}', ["/headers"]),
    "another payload": ('{"url":"%s","payload":"medium"}', ["/payload"]),
    "no time": ('{"url":"%s","timeoutSeconds":0}', ["/timeoutSeconds"]),
    "much time": ('{"url":"%s","timeoutSeconds":30.5}', ["/timeoutSeconds"]),
    "negative time": ('{"url":"%s","timeoutSeconds":-1}', ["/timeoutSeconds"]),
    "endless time": ('{"url":"%s","timeoutSeconds":1e400}', ["/timeoutSeconds"]),
    "time as a text": ('{"url":"%s","timeoutSeconds":"5"}', ["/timeoutSeconds"]),
    "time as a truth": ('{"url":"%s","timeoutSeconds":true}', ["/timeoutSeconds"]),
    "an empty schedule": ('{"url":"%s","retrySchedule":[]}', ["/retrySchedule"]),
    "a long schedule": (
        '{"url":"%s","retrySchedule":' + json.dumps([1] * 51) + "}",
        ["/retrySchedule"],
    ),
    "a negative wait": ('{"url":"%s","retrySchedule":[0,-1]}', ["/retrySchedule/1"]),
    "a wait of months": ('{"url":"%s","retrySchedule":[2678401]}', ["/retrySchedule/0"]),
    "an endless wait": ('{"url":"%s","retrySchedule":[0,1e400]}', ["/retrySchedule"]),
    "no concurrency": ('{"url":"%s","maxConcurrency":0}', ["/maxConcurrency"]),
    "much concurrency": ('{"url":"%s","maxConcurrency":1001}', ["/maxConcurrency"]),
    "concurrency of a half": ('{"url":"%s","maxConcurrency":1.5}', ["/maxConcurrency"]),
    "concurrency of many digits": (
        '{"url":"%s","maxConcurrency":' + "9" * 5000 + "}",
        ["/maxConcurrency"],
    ),
    "metadata that is no object": ('{"url":"%s","metadata":[1]}', ["/metadata"]),
    "another ordering": ('{"url":"%s","ordering":"tenant"}', ["/ordering"]),
    "another signing": ('{"url":"%s","signing":"rsa"}', ["/signing"]),
    "another verification": ('{"url":"%s","verification":"Challenge"}', ["/verification"]),
    "a verification that is a list": ('{"url":"%s","verification":[]}', ["/verification"]),
    "what a receiver says": (
        '{"url":"%s","verifiedAt":"2025-01-31T12:00:00Z","allowedRatePerMinute":1}',
        ["/allowedRatePerMinute", "/verifiedAt"],
    ),
    "everything at once": (
        '{"secret":"x","eventTypes":["ä"],"maxConcurrency":"1","more":1}',
        ["/eventTypes/0", "/maxConcurrency", "/more", "/url"],
    ),
}


@pytest.mark.parametrize(("body", "where"), FAULTS.values(), ids=FAULTS)
async def test_every_fault_is_named(api: Api, body: str, where: list[str]) -> None:
    content = body.replace("%s", URL).encode()
    refused = problem(await api.call("POST", PATH, content=content), 422, "invalid")
    assert pointers(refused) == where
    assert not (await api.get(PATH))["data"]


@pytest.mark.parametrize(
    "body", [b"{", b'{"url":"\xff"}', b'{"url":"a","timeoutSeconds":NaN}', b'{"url":"\\ud800"}']
)
async def test_what_is_not_json_is_refused(api: Api, body: bytes) -> None:
    problem(await api.call("POST", PATH, content=body), 400, "malformed")


async def test_a_bare_subscription(api: Api) -> None:
    answer = await api.call("POST", PATH, {"url": URL})
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["location"] == f"{BASE}{PATH}/{made['id']}"
    secret = made.pop("secret")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert made == {
        "id": made["id"],
        "url": URL,
        "eventTypes": ["*"],
        "payload": "full",
        "ordering": "none",
        "signing": "hmac",
        "verification": "none",
        "status": "active",
        "createdAt": made["createdAt"],
        "updatedAt": made["updatedAt"],
    }
    assert await api.get(f"{PATH}/{made['id']}") == made
    assert (await api.get(PATH))["data"] == [made]


async def test_a_subscription_with_everything(api: Api) -> None:
    members: dict[str, Any] = {
        "eventTypes": ["COMPLETED", "payment.*"],
        "operationTypes": ["report.*"],
        "operationId": "op_1",
        "description": "Grüße",
        "payload": "thin",
        "timeoutSeconds": 2.5,
        "retrySchedule": [0, 0.5, 60],
        "maxConcurrency": 3,
        "metadata": {"team": "a"},
        "ordering": "operation",
        "signing": "hmac",
    }
    own = "a secret of ours"
    made = await api.subscribe(
        **members, headers={"X-Token": "s3cret"}, verification="none", secret=own
    )
    assert made["secret"] == own
    shown = await api.get(f"{PATH}/{made['id']}")
    assert {name: shown[name] for name in members} == members
    assert shown["headers"] == {"X-Token": "****"}
    assert "secret" not in shown


async def test_metadata_keeps_its_bytes(api: Api) -> None:
    body = '{"url":"https://example.com","metadata":{"a": 1.10, "b":1e400}}'
    name = (await api.call("POST", PATH, content=body.encode())).json()["id"]
    assert b'"metadata":{"a": 1.10, "b":1e400}' in (await api.call("GET", f"{PATH}/{name}")).content


async def test_a_change_leaves_the_rest(api: Api) -> None:
    made = await api.subscribe(description="a", timeoutSeconds=5, headers={"X-A": "1", "X-B": "2"})
    path = f"{PATH}/{made['id']}"
    changed = await api.call("PATCH", path, {"description": "b", "eventTypes": ["x"]})
    assert changed.status_code == 200
    shown = changed.json()
    assert (shown["description"], shown["eventTypes"], shown["timeoutSeconds"]) == ("b", ["x"], 5)
    assert shown["headers"] == {"X-A": "****", "X-B": "****"}
    reset = await api.call(
        "PATCH", path, {"description": None, "eventTypes": None, "payload": None}
    )
    shown = reset.json()
    assert "description" not in shown
    assert (shown["eventTypes"], shown["payload"]) == (["*"], "full")
    assert (await api.call("PATCH", path, {})).json()["eventTypes"] == ["*"]


async def test_the_ordering_can_be_changed(api: Api) -> None:
    made = await api.subscribe()
    path = f"{PATH}/{made['id']}"
    for given, shown in (("operation", "operation"), (None, "none"), ("none", "none")):
        assert (await api.call("PATCH", path, {"ordering": given})).json()["ordering"] == shown
        assert (await api.get(path))["ordering"] == shown
    answer = await api.call("PATCH", path, {"ordering": "OPERATION"})
    detail = problem(answer, 422, "invalid")["errors"][0]["detail"]
    assert detail == "must be 'none' or 'operation'"


async def test_headers_sent_back_as_they_are_shown_stay(api: Api, receiver: Receiver) -> None:
    made = await api.subscribe(receiver.url(), headers={"X-A": "one", "X-B": "two"})
    path = f"{PATH}/{made['id']}"
    answer = await api.call("PATCH", path, {"headers": {"x-a": "****", "X-C": "three"}})
    assert answer.json()["headers"] == {"x-a": "****", "X-C": "****"}
    attempt = await api.post(f"{path}/test", None, 200)
    (received,) = await receiver.wait_for(1)
    assert (received.headers["x-a"], received.headers["x-c"]) == ("one", "three")
    assert "x-b" not in received.headers
    assert attempt["request"]["headers"]["x-a"] == "****"
    problem(await api.call("PATCH", path, {"headers": {"X-D": "****"}}), 422, "invalid")
    assert "headers" not in (await api.call("PATCH", path, {"headers": None})).json()


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"url": None}, "/url"),
        ({"url": "http://10.0.0.1/"}, "/url"),
        ({"secret": "whsec_" + "A" * 44}, "/secret"),
        ({"secret": None}, "/secret"),
        ({"id": "sub_1"}, "/id"),
        ({"status": "active"}, "/status"),
        ({"maxConcurrency": 0}, "/maxConcurrency"),
    ],
)
async def test_faults_of_a_change(api: Api, body: dict[str, Any], where: str) -> None:
    made = await api.subscribe()
    answer = await api.call("PATCH", f"{PATH}/{made['id']}", body)
    document = problem(answer, 422, "invalid")
    assert pointers(document) == [where]
    if where == "/secret":
        assert "rotate-secret" in document["errors"][0]["detail"]
    made.pop("secret")
    assert await api.get(f"{PATH}/{made['id']}") == made


async def test_a_change_may_come_as_a_merge_patch(api: Api) -> None:
    made = await api.subscribe()
    headers = {"content-type": "application/merge-patch+json"}
    path = f"{PATH}/{made['id']}"
    answer = await api.call("PATCH", path, content=b'{"description":"x"}', headers=headers)
    assert answer.json()["description"] == "x"
    answer = await api.call("POST", PATH, content=b'{"url":"%s"}' % URL.encode(), headers=headers)
    problem(answer, 415, "unsupported-media-type")


async def test_pause_and_resume(api: Api, receiver: Receiver) -> None:
    made = await api.subscribe(receiver.url())
    path = f"{PATH}/{made['id']}"
    assert (await api.post(f"{path}/pause", None, 200))["status"] == "paused"
    await api.post("/v1/operations/op_1/events", {"type": "a"})
    await api.deliver()
    assert receiver.requests == []
    assert (await api.post(f"{path}/resume", {}, 200))["status"] == "active"
    await api.deliver()
    await receiver.wait_for(1)


async def test_a_disabled_subscription_is_resumed_not_paused(api: Api, receiver: Receiver) -> None:
    receiver.script = lambda _: Reply(410)
    made = await api.subscribe(receiver.url())
    path = f"{PATH}/{made['id']}"
    await api.post("/v1/operations/op_1/events", {"type": "a"})
    await api.deliver()
    shown = await api.get(path)
    assert (shown["status"], shown["disabledReason"]) == ("disabled", "gone")
    problem(await api.call("POST", f"{path}/pause"), 409, "conflict")
    resumed = await api.post(f"{path}/resume", None, 200)
    assert resumed["status"] == "active"
    assert "disabledReason" not in resumed


async def test_a_deleted_subscription_is_gone(api: Api) -> None:
    made = await api.subscribe()
    path = f"{PATH}/{made['id']}"
    assert (await api.call("DELETE", path)).status_code == 204
    problem(await api.call("DELETE", path), 404, "not-found")
    problem(await api.call("GET", path), 404, "not-found")
    assert (await api.get(PATH))["data"] == []


async def test_lists_are_filtered(api: Api) -> None:
    plain, special = await api.subscribe(), await api.subscribe(operationId="op_1")
    await api.post(f"{PATH}/{plain['id']}/pause", None, 200)

    async def found(query: str) -> list[str]:
        return [each["id"] for each in (await api.get(f"{PATH}?{query}"))["data"]]

    assert await found("") == [special["id"], plain["id"]]
    assert await found("status=paused") == [plain["id"]]
    assert await found("operationId=op_1") == [special["id"]]


async def test_the_test_event_is_signed_and_its_attempt_shown(api: Api, receiver: Receiver) -> None:
    made = await api.subscribe(receiver.url("/h"), headers={"X-Token": "s3cret"})
    receiver.script = lambda _: Reply(500, (("x-why", "no"),), b"out of order")
    attempt = await api.post(f"{PATH}/{made['id']}/test", None, 200)
    (received,) = await receiver.wait_for(1)
    event = json.loads(received.body)
    assert event["type"] == received.headers["x-webhook-event"] == "webhook.test"
    assert event["id"] == received.headers["webhook-id"]
    assert attempt["event"] == event
    keys = [key_bytes(made["secret"])]
    now = int(received.headers["webhook-timestamp"])
    assert verify_standard(keys, received.headers, received.body, now) is None
    signature = received.headers["x-webhook-signature"]
    assert verify_body(keys[0], signature, received.body) is None
    assert attempt["statusCode"] == 500
    assert attempt["errorClass"] == "http_status"
    assert attempt["url"] == receiver.url("/h")
    assert attempt["response"]["body"] == "out of order"
    assert attempt["response"]["headers"]["x-why"] == "no"
    assert attempt["request"]["headers"]["x-token"] == "****"
    assert "s3cret" not in json.dumps(attempt)
    assert (await api.get("/v1/deliveries"))["data"] == []


async def test_the_test_of_a_receiver_that_is_away(api: Api) -> None:
    made = await api.subscribe("http://127.0.0.1:9/")
    attempt = await api.post(f"{PATH}/{made['id']}/test", None, 200)
    assert attempt["errorClass"] in ("connect", "blocked")
    assert attempt["message"]
    assert "statusCode" not in attempt


async def test_after_a_rotation_both_secrets_sign(api: Api, receiver: Receiver) -> None:
    made = await api.subscribe(receiver.url())
    path = f"{PATH}/{made['id']}"
    rotated = await api.post(f"{path}/rotate-secret", {"overlapSeconds": 60}, 200)
    old, new = made["secret"], rotated["secret"]
    assert old != new
    revealed = await api.get(f"{path}/secret")
    assert revealed["secret"] == new
    assert [each["secret"] for each in revealed["secrets"]] == [new, old]
    assert ["expiresAt" in each for each in revealed["secrets"]] == [False, True]
    await api.post(f"{path}/test", None, 200)
    (received,) = await receiver.wait_for(1)
    now = int(received.headers["webhook-timestamp"])
    for secret in (old, new):
        assert verify_standard([key_bytes(secret)], received.headers, received.body, now) is None
    signature = received.headers["x-webhook-signature"]
    assert verify_body(key_bytes(old), signature, received.body) is None


async def test_a_rotation_is_done_once_for_a_key(api: Api) -> None:
    path = f"{PATH}/{(await api.subscribe())['id']}"
    keyed = {"idempotency-key": "rotation-1"}
    first, again = [
        await api.call("POST", f"{path}/rotate-secret", {"overlapSeconds": 60}, headers=keyed)
        for _ in range(2)
    ]
    other = await api.call("POST", f"{path}/rotate-secret", {"overlapSeconds": 61}, headers=keyed)

    assert first.json() == again.json()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert other.status_code == 422
    secrets = (await api.get(f"{path}/secret"))["secrets"]
    assert len(secrets) == 2
    assert secrets[0]["secret"] == first.json()["secret"]


async def test_without_overlap_the_old_secret_is_gone_at_once(api: Api) -> None:
    made = await api.subscribe()
    path = f"{PATH}/{made['id']}"
    rotated = await api.post(f"{path}/rotate-secret", {"overlapSeconds": 0}, 200)
    assert [each["secret"] for each in (await api.get(f"{path}/secret"))["secrets"]] == [
        rotated["secret"]
    ]


@pytest.mark.parametrize("overlap", [-1, 2_592_001, "60", None, True])
async def test_faults_of_a_rotation(api: Api, overlap: object) -> None:
    made = await api.subscribe()
    path = f"{PATH}/{made['id']}"
    answer = await api.call("POST", f"{path}/rotate-secret", {"overlapSeconds": overlap})
    assert pointers(problem(answer, 422, "invalid")) == ["/overlapSeconds"]
    assert (await api.get(f"{path}/secret"))["secret"] == made["secret"]


@pytest.mark.parametrize(
    ("method", "verb"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/test"),
        ("POST", "/rotate-secret"),
        ("GET", "/secret"),
        ("GET", "/undelivered"),
    ],
)
@pytest.mark.parametrize("name", ["sub_none", "%00", "a%20b", "x" * 500])
async def test_what_is_not_there_is_404(api: Api, method: str, verb: str, name: str) -> None:
    body: dict[str, object] | None = {} if method == "PATCH" else None
    problem(await api.call(method, f"{PATH}/{name}{verb}", body), 404, "not-found")


async def test_secrets_whose_encryption_key_is_gone(database_path: Path) -> None:
    k1, k2 = (f"{kid}:{base64.b64encode(kid.encode() * 16).decode()}" for kid in ("k1", "k2"))
    made: dict[str, Any] = {}
    # the first and the last open, which is all that a start looks at
    for ring in (k2, f"{k1},{k2}", f"{k2},{k1}"):
        async with opened_api(database_path, RINGBACK_ENCRYPTION_KEYS=ring) as api:
            subscription = await api.subscribe(headers={"X-A": "1"})
            made = subscription if ring.startswith(k1) else made
    async with opened_api(database_path, RINGBACK_ENCRYPTION_KEYS=k2) as api:
        path = f"{PATH}/{made['id']}"
        for method, verb in (("GET", "/secret"), ("POST", "/test")):
            document = problem(await api.call(method, path + verb), 409, "conflict")
            assert "'k1', which is not on the key ring" in document["detail"]
        assert (await api.call("PATCH", path, {"description": "x"})).status_code == 200
        rotated = await api.post(f"{path}/rotate-secret", {"overlapSeconds": 0}, 200)
        assert (await api.get(f"{path}/secret"))["secret"] == rotated["secret"]


async def test_null_takes_metadata_away(api: Api) -> None:
    made = await api.subscribe(metadata={"a": 1})
    path = f"{PATH}/{made['id']}"
    answer = await api.call("PATCH", path, {"metadata": None})
    assert answer.status_code == 200
    assert "metadata" not in await api.get(path)
    assert "metadata" not in await api.subscribe(metadata=None)
