"""Receivers that are asked whether they agree: what is shown and noted of it, and who is asked."""

import base64
import json
from pathlib import Path
from typing import Any, Final

import pytest

from service.domain.api_keys import Scope
from tests.support.api import Api, opened_api, pointers, problem
from tests.support.receiver import Received, Receiver, Reply

PATH: Final = "/v1/subscriptions"
ORIGIN: Final = "ringback.test"
SECRET: Final = "nobody-may-see-this"  # noqa: S105  that is what the test is about


def agreeing(request: Received) -> Reply:
    """A receiver that agrees to everything, at 600 a minute, and takes every event."""
    if request.method == "OPTIONS":
        allowed = (("WebHook-Allowed-Origin", ORIGIN), ("WebHook-Allowed-Rate", "600"))
        return Reply(204, allowed)
    return Reply(200, (), json.loads(request.body).get("challenge", "").encode())


@pytest.fixture
async def receiver() -> Any:  # noqa: ANN401  an asynchronous iterator of receivers
    async with Receiver(agreeing) as receiver:
        yield receiver


async def noted(api: Api) -> list[tuple[str, Any]]:
    """What was done, newest first, and what is told of it."""
    entries = (await api.get("/v1/audit-log"))["data"]
    return [(entry["action"].partition(".")[2], entry.get("detail")) for entry in entries]


async def test_what_was_agreed_to_is_shown(api: Api, receiver: Receiver) -> None:
    made = await api.subscribe(receiver.url("/a"), verification="cloudevents")
    assert made["verification"] == "cloudevents"
    assert made["allowedRatePerMinute"] == 600
    assert made["verifiedAt"] <= made["createdAt"]
    shown = await api.get(f"{PATH}/{made['id']}")
    assert shown == {name: made[name] for name in made if name != "secret"}
    challenged = await api.subscribe(receiver.url("/b"), verification="challenge")
    assert challenged["verifiedAt"]
    assert "allowedRatePerMinute" not in challenged
    bare = await api.subscribe(receiver.url("/c"))
    assert bare["verification"] == "none"
    assert "verifiedAt" not in bare
    assert [(each.method, each.path) for each in receiver.requests] == [
        ("OPTIONS", "/a"),
        ("POST", "/b"),
    ]


async def test_the_audit_log_tells_who_was_asked_and_no_secret(
    api: Api, receiver: Receiver
) -> None:
    headers = {"x-token": SECRET}
    url = receiver.url(f"/hook?token={SECRET}")
    made = await api.subscribe(url, verification="challenge", headers=headers)
    told = {"host": "127.0.0.1", "verification": "challenge"}
    receiver.script = lambda request: Reply(400, (), request.headers["x-token"].encode())
    path = f"{PATH}/{made['id']}"
    problem(await api.call("PATCH", path, {"verification": "challenge"}), 422, "invalid")
    problem(
        await api.call("POST", PATH, {"url": url, "verification": "challenge", "headers": headers}),
        422,
        "invalid",
    )
    entries = await noted(api)
    failed = {**told, "statusCode": 400, "errorClass": "http_status"}
    assert entries == [
        ("verification_failed", failed),
        ("verification_failed", failed),
        ("created", {"host": "127.0.0.1"}),
        ("verified", {**told, "statusCode": 200}),
    ]
    assert SECRET not in json.dumps(entries)
    log = (await api.get(f"/v1/audit-log?target={made['id']}"))["data"]
    assert [entry["action"].partition(".")[2] for entry in log] == [
        "verification_failed",
        "created",
        "verified",
    ]


async def test_nothing_more_than_before_is_needed_to_have_it_asked(
    api: Api, receiver: Receiver
) -> None:
    key = await api.key(Scope.SUBSCRIPTIONS_WRITE)
    body = {"url": receiver.url(), "verification": "challenge"}
    assert (await api.call("POST", PATH, body, headers=key)).status_code == 201


async def test_an_idempotent_request_asks_once(api: Api, receiver: Receiver) -> None:
    body, headers = {"url": receiver.url(), "verification": "challenge"}, {"idempotency-key": "k"}
    first = await api.call("POST", PATH, body, headers=headers)
    again = await api.call("POST", PATH, body, headers=headers)
    assert again.headers["idempotency-replayed"] == "true"
    assert first.json() == again.json()
    assert len(receiver.requests) == 1
    other = await api.call("POST", PATH, {**body, "description": "x"}, headers=headers)
    problem(other, 422, "idempotency-key-reused")
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("way", ["challenge", "cloudevents"])
async def test_a_secret_that_does_not_open_asks_nobody(
    database_path: Path, receiver: Receiver, way: str
) -> None:
    k1, k2 = (f"{kid}:{base64.b64encode(kid.encode() * 16).decode()}" for kid in ("k1", "k2"))
    names = []
    # the first and the last open, which is all that a start looks at
    for ring in (k2, f"{k1},{k2}", f"{k2},{k1}"):
        async with opened_api(database_path, RINGBACK_ENCRYPTION_KEYS=ring) as api:
            names.append((await api.subscribe(receiver.url(), headers={"X-A": "1"}))["id"])
    async with opened_api(database_path, RINGBACK_ENCRYPTION_KEYS=k2) as api:
        first, lost, _ = names
        body = {"verification": way}
        document = problem(await api.call("PATCH", f"{PATH}/{lost}", body), 409, "conflict")
        assert "'k1', which is not on the key ring" in document["detail"]
        assert receiver.requests == []
        assert (await api.call("PATCH", f"{PATH}/{first}", body)).status_code == 200
    assert len(receiver.requests) == 1


# --- a tenant's default


async def test_a_tenant_has_a_default(api: Api, receiver: Receiver) -> None:
    acme = {"id": "acme", "name": "Acme", "verification": "challenge"}
    made = await api.post("/v1/tenants", acme, 201)
    assert made == {**acme, "portalOrigins": [], "createdAt": made["createdAt"]}
    api.headers["ringback-tenant"] = "acme"
    silent = await api.subscribe(receiver.url("/silent"))
    own = await api.subscribe(receiver.url("/own"), verification="none")
    assert (silent["verification"], own["verification"]) == ("challenge", "none")
    changed = await api.call("PATCH", "/v1/tenants/acme", {"verification": "cloudevents"})
    assert changed.json() == {**made, "verification": "cloudevents"}
    null = await api.subscribe(receiver.url("/null"), verification=None)
    assert null["verification"] == "cloudevents"
    assert (await api.get(f"{PATH}/{silent['id']}"))["verification"] == "challenge"
    reset = await api.call("PATCH", "/v1/tenants/acme", {"verification": None})
    assert reset.json() == {**made, "verification": "none"}
    assert await api.get("/v1/tenants/acme") == reset.json()
    assert [each.path for each in receiver.requests] == ["/silent", "/null"]
    del api.headers["ringback-tenant"]
    assert (await api.subscribe(receiver.url("/other")))["verification"] == "none"
    entries = await noted(api)
    assert ("created", {"name": "Acme", "verification": "challenge"}) in entries
    assert ("changed", {"verification": "cloudevents"}) in entries


async def test_nothing_of_a_tenant_has_to_change(api: Api) -> None:
    before = await api.get("/v1/tenants/default")
    assert (await api.call("PATCH", "/v1/tenants/default", {})).json() == before
    assert (await api.call("PATCH", "/v1/tenants/default")).json() == before


async def test_an_operations_own_webhook_is_never_asked(api: Api, receiver: Receiver) -> None:
    """Producers do not wait for the receivers of their clients."""
    await api.call("PATCH", "/v1/tenants/default", {"verification": "challenge"})
    webhook = {"url": receiver.url("/own")}
    made = await api.post("/v1/operations", {"type": "t", "webhook": webhook})
    shown = await api.get(f"{PATH}/{made['webhook']['subscriptionId']}")
    assert shown["verification"] == "none"
    assert receiver.requests == []


async def test_what_an_operations_receiver_agreed_to_is_inherited(
    api: Api, receiver: Receiver
) -> None:
    webhook = {"url": receiver.url("/own")}
    body = {"type": "t", "operationId": "op_1", "webhook": webhook}
    made = await api.post("/v1/operations", body)
    path = f"{PATH}/{made['webhook']['subscriptionId']}"
    agreed = await api.call("PATCH", path, {"verification": "cloudevents"})
    assert agreed.status_code == 200
    failed = {"type": "FAILED", "error": {"title": "x", "retryable": True}}
    await api.post("/v1/operations/op_1/events", failed)
    new = await api.post("/v1/operations/op_1/retry")
    (heir,) = (await api.get(f"{PATH}?operationId={new['operationId']}"))["data"]
    members = ("url", "verification", "verifiedAt", "allowedRatePerMinute")
    assert {name: heir[name] for name in members} == {name: agreed.json()[name] for name in members}
    assert [each.method for each in receiver.requests] == ["OPTIONS"]


# --- what asks nobody


@pytest.mark.parametrize("verb", ["pause", "resume", "test", "rotate-secret"])
async def test_nothing_else_asks(api: Api, receiver: Receiver, verb: str) -> None:
    made = await api.subscribe(receiver.url(), verification="cloudevents")
    await api.post(f"{PATH}/{made['id']}/{verb}", None, 200)
    sent = [each.headers.get("x-webhook-event", each.method) for each in receiver.requests]
    assert sent == ["OPTIONS", *(["webhook.test"] if verb == "test" else [])]
    if verb == "test":
        assert receiver.requests[-1].headers["webhook-request-origin"] == ORIGIN
    shown = await api.get(f"{PATH}/{made['id']}")
    assert shown["verifiedAt"] == made["verifiedAt"]


async def test_faults_are_listed_before_anybody_is_asked(api: Api, receiver: Receiver) -> None:
    body = {"url": receiver.url(), "verification": "challenge", "maxConcurrency": 0}
    assert pointers(problem(await api.call("POST", PATH, body), 422, "invalid")) == [
        "/maxConcurrency"
    ]
    made = await api.subscribe(receiver.url(), verification="challenge")
    patch = {"url": receiver.url("/b"), "headers": {"host": "x"}}
    answer = await api.call("PATCH", f"{PATH}/{made['id']}", patch)
    assert pointers(problem(answer, 422, "invalid")) == ["/headers/host"]
    assert len(receiver.requests) == 1
