"""Subscriptions from outside: secrets, pauses, ends, holds, payloads, headers, trials."""

import json
import time
from email.utils import formatdate
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.support.blackbox import Blackbox, received, verify, verify_body
from tests.support.receiver import Received, Receiver, Reply


async def test_while_a_secret_is_rotated_both_sign(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    subscription = await api.subscribe(receiver.url("/"), operationTypes=[kind])
    path = f"/v1/subscriptions/{subscription['id']}"
    overlap = 2.5
    begun = time.monotonic()
    rotated = await api.post(f"{path}/rotate-secret", {"overlapSeconds": overlap}, 200)
    old, new = subscription["secret"], rotated["secret"]
    assert old != new

    await api.event("op-" + kind, "a", operationType=kind)
    (request,) = await receiver.wait_for(1)
    assert signatures(request) == 2
    verify(old, request)
    Webhook(new).verify(request.body, request.headers)
    assert [s["secret"] for s in (await api.get(f"{path}/secret"))["secrets"]] == [new, old]

    posted = 1
    while signatures(request) == 2:
        await api.event("op-" + kind, "a")
        posted += 1
        request = (await receiver.wait_for(posted))[-1]
    assert overlap <= time.monotonic() - begun < overlap + 10
    verify(new, request)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(request.body, request.headers)
    assert [s["secret"] for s in (await api.get(f"{path}/secret"))["secrets"]] == [new]


def signatures(request: Received) -> int:
    return len(request.headers["webhook-signature"].split(" "))


async def test_without_an_overlap_only_the_new_secret_signs(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    subscription = await api.subscribe(receiver.url("/"), operationTypes=[kind])
    path = f"/v1/subscriptions/{subscription['id']}/rotate-secret"
    rotated = await api.post(path, {"overlapSeconds": 0}, 200)
    await api.event("op-" + kind, "a", operationType=kind)

    (request,) = await receiver.wait_for(1)
    verify(rotated["secret"], request)
    assert signatures(request) == 1


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None),
        ("a plain sentence as a secret, long enough", b"a plain sentence as a secret, long enough"),
    ],
)
async def test_a_secret_of_ones_own(
    api: Blackbox, receiver: Receiver, kind: str, given: str, key: bytes | None
) -> None:
    made = await api.subscribe(receiver.url("/"), operationTypes=[kind], secret=given)
    assert made["secret"] == given
    await api.event("op-" + kind, "a", operationType=kind)

    (request,) = await receiver.wait_for(1)
    Webhook(given if key is None else key).verify(request.body, request.headers)
    if key is None:
        verify_body(given, request)


async def test_what_comes_while_it_is_paused_waits(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    paused = await api.subscribe(receiver.url("/paused"), operationTypes=[kind])
    await api.subscribe(receiver.url("/other"), operationTypes=[kind])
    path = f"/v1/subscriptions/{paused['id']}"
    assert (await api.post(f"{path}/pause", None, 200))["status"] == "paused"
    await api.event("op-" + kind, "a", operationType=kind)
    await received(receiver, "/other", 1)

    (waiting,) = await api.deliveries(paused, 1, "pending")
    assert waiting["attemptCount"] == 0
    assert (await api.post(f"{path}/resume", None, 200))["status"] == "active"
    await api.deliveries(paused, 1, "delivered")
    (request,) = await received(receiver, "/paused", 1)
    assert request.headers["x-webhook-attempt"] == "1"


async def test_what_waits_for_a_deleted_subscription_is_a_dead_letter(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    receiver.script = lambda _: Reply(500)
    subscription = await api.subscribe(
        receiver.url("/"), operationTypes=[kind], retrySchedule=[0, 3600]
    )
    await api.event("op-" + kind, "a", operationType=kind)
    await receiver.wait_for(1)
    path = f"/v1/subscriptions/{subscription['id']}"
    assert (await api.http.delete(path)).status_code == 204

    dead = await api.dead_letter(subscription)
    assert (dead["reason"], dead["attempts"]) == ("subscription_deleted", 1)
    assert (await api.http.get(path)).status_code == 404
    assert (await api.http.delete(path)).status_code == 404
    answer = await api.post(f"/v1/dead-letters/{dead['id']}/replay", None, 409)
    assert "deleted" in answer["detail"]
    await api.event("op-" + kind, "b")
    assert len(await api.all("/v1/deliveries", operationId="op-" + kind)) == 1
    assert len(receiver.requests) == 1


async def test_gone_disables_it_until_it_is_resumed(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    receiver.script = lambda r: Reply(410 if r.headers["x-webhook-event"] == "last" else 500)
    subscription = await api.subscribe(
        receiver.url("/"), operationTypes=[kind], retrySchedule=[0, 3600]
    )
    path = f"/v1/subscriptions/{subscription['id']}"
    await api.event("op-" + kind, "waits", operationType=kind)
    await receiver.wait_for(1)
    await api.event("op-" + kind, "last")

    dead = await api.deliveries(subscription, 2, "dead")
    letters = await api.all("/v1/dead-letters", subscriptionId=subscription["id"])
    assert len(dead) == 2
    assert {d["eventType"]: d["reason"] for d in letters} == {
        "waits": "subscription_disabled",
        "last": "gone",
    }
    disabled = await api.get(path)
    assert disabled["status"] == "disabled"
    assert "410" in disabled["disabledReason"] or "gone" in disabled["disabledReason"]
    await api.event("op-" + kind, "unmatched")
    await check_back_again(api, receiver, kind, subscription)


async def check_back_again(
    api: Blackbox, receiver: Receiver, kind: str, subscription: dict[str, Any]
) -> None:
    receiver.script = lambda _: Reply()
    resumed = await api.post(f"/v1/subscriptions/{subscription['id']}/resume", None, 200)
    assert resumed["status"] == "active"
    assert "disabledReason" not in resumed
    await api.event("op-" + kind, "back")
    await api.deliveries(subscription, 1, "delivered")
    kinds = [r.headers["x-webhook-event"] for r in receiver.requests]
    assert kinds == ["waits", "last", "back"]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_a_receiver_that_asks_to_wait_is_left_alone_until_then(
    api: Blackbox, receiver: Receiver, kind: str, status: int, form: str
) -> None:
    seconds = "2" if form == "seconds" else formatdate(time.time() + 3, usegmt=True)
    wait = (("retry-after", seconds), ("date", formatdate(usegmt=True)))
    receiver.script = lambda r: (
        Reply()
        if r.headers["x-webhook-attempt"] != "1" or has_waited(receiver)
        else Reply(status, wait)
    )
    subscription = await api.subscribe(
        receiver.url("/"), operationTypes=[kind], retrySchedule=[0, 0.1, 0.1]
    )
    await api.event("op-" + kind, "first", operationType=kind)
    (first,) = await receiver.wait_for(1)
    await api.until(
        "/v1/deliveries",
        lambda p: "nextAttemptAt" in p["data"][0],
        subscriptionId=subscription["id"],
    )
    await api.event("op-" + kind, "second")

    requests = await receiver.wait_for(3)
    assert all(later.at - first.at >= 2.0 for later in requests[1:])
    assert requests[2].at - first.at < 2.0 + 6
    await api.deliveries(subscription, 2, "delivered")


def has_waited(receiver: Receiver) -> bool:
    return len(receiver.requests) > 1


@pytest.mark.parametrize("value", ["soon", "-5", ""])
async def test_a_garbled_wait_is_none(
    api: Blackbox, receiver: Receiver, kind: str, value: str
) -> None:
    receiver.script = lambda r: Reply(
        429 if r.headers["x-webhook-attempt"] == "1" else 200, (("retry-after", value),)
    )
    subscription = await api.subscribe(
        receiver.url("/"), operationTypes=[kind], retrySchedule=[0, 0.1]
    )
    await api.event("op-" + kind, "a", operationType=kind)

    await api.deliveries(subscription, 1, "delivered", timeout=5)


async def test_a_thin_payload_says_where_the_rest_is(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    subscription = await api.subscribe(receiver.url("/"), operationTypes=[kind], payload="thin")
    members = {"data": {"secret": 1}, "result": {"rows": 2}, "message": "Done"}
    await api.event("op-" + kind, "COMPLETED", operationType=kind, **members)
    (request,) = await receiver.wait_for(1)

    verify(subscription["secret"], request)
    thin = json.loads(request.body)
    full = (await api.http.get(thin.pop("url"))).json()
    assert {name: full[name] for name in members} == members
    assert thin == {name: value for name, value in full.items() if name not in members}


async def test_own_headers_are_sent_and_nowhere_shown(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    own = {"Authorization": "Bearer s3cret-of-theirs", "X-Tenant": "blue"}
    subscription = await api.subscribe(receiver.url("/"), operationTypes=[kind], headers=own)
    await api.event("op-" + kind, "a", operationType=kind)
    (request,) = await receiver.wait_for(1)
    assert request.headers["authorization"] == own["Authorization"]
    assert request.headers["x-tenant"] == "blue"

    delivery = await api.delivery(subscription, "delivered")
    shown = delivery["attempts"][0]["request"]["headers"]
    assert (shown["authorization"], shown["x-tenant"]) == ("****", "****")
    assert shown["webhook-id"] == request.headers["webhook-id"]
    path = f"/v1/subscriptions/{subscription['id']}"
    trial = await api.post(f"{path}/test", None, 200)
    everything = json.dumps([delivery, trial, subscription, await api.get(path)])
    assert "s3cret-of-theirs" not in everything


@pytest.mark.parametrize(
    "name", ["webhook-id", "X-Webhook-Anything", "Content-Length", "host", "a b", "x:y"]
)
async def test_headers_that_are_not_theirs_are_refused(
    api: Blackbox, receiver: Receiver, name: str
) -> None:
    body = {"url": receiver.url("/"), "headers": {name: "x"}}
    problem = await api.post("/v1/subscriptions", body, 422)
    assert [error["pointer"] for error in problem["errors"]] == [f"/headers/{name}"]


async def test_a_trial_is_signed_sent_once_and_shown(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    receiver.script = lambda _: Reply(404, body=b"no such hook")
    subscription = await api.subscribe(receiver.url("/"), operationTypes=[kind])
    path = f"/v1/subscriptions/{subscription['id']}"
    before = await api.all("/v1/deliveries", subscriptionId=subscription["id"])

    trial = await api.post(f"{path}/test", None, 200)
    (request,) = receiver.requests
    verify(subscription["secret"], request)
    assert request.headers["x-webhook-event"] == "webhook.test"
    assert json.loads(request.body) == trial["event"]
    assert (trial["statusCode"], trial["response"]["body"]) == (404, "no such hook")
    assert trial["errorClass"] == "http_status"
    assert before == await api.all("/v1/deliveries", subscriptionId=subscription["id"]) == []


async def test_a_change_holds_from_the_next_event_on(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    subscription = await api.subscribe(
        receiver.url("/old"), operationTypes=[kind], eventTypes=["a*"]
    )
    path = f"/v1/subscriptions/{subscription['id']}"
    await api.event("op-" + kind, "a1", operationType=kind)
    await api.event("op-" + kind, "b1")
    await api.deliveries(subscription, 1, "delivered")
    answer = await api.http.patch(path, json={"url": receiver.url("/new"), "eventTypes": ["b*"]})
    assert answer.status_code == 200
    assert "secret" not in answer.json()
    await api.event("op-" + kind, "a2")
    await api.event("op-" + kind, "b2")

    await api.deliveries(subscription, 2, "delivered")
    assert [(r.path, r.headers["x-webhook-event"]) for r in receiver.requests] == [
        ("/old", "a1"),
        ("/new", "b2"),
    ]


async def test_a_limit_of_concurrency_holds_from_the_first_claim_on(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    receiver.script = lambda _: Reply(delay=0.05)
    subscription = await api.subscribe(receiver.url("/"), operationTypes=[kind], maxConcurrency=2)
    batch = [{"operationId": "op-" + kind, "operationType": kind, "type": "a"}] * 20
    await api.post("/v1/events", batch)

    await api.deliveries(subscription, 20, "delivered")
    times = [request.at for request in receiver.requests]
    assert max(sum(at - 0.045 < each <= at for each in times) for at in times) <= 2
    assert receiver.connections <= 2
    assert max(times) - min(times) < 5  # a lane at its limit waits for a slot, not for the sweep


async def test_the_events_of_one_operation_only(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    subscription = await api.subscribe(receiver.url("/"), operationId="op-" + kind)
    await api.event(f"no-{kind}", "a", operationType=kind)
    await api.event("op-" + kind, "b", operationType=kind)

    await api.deliveries(subscription, 1, "delivered")
    assert [r.headers["x-webhook-event"] for r in receiver.requests] == ["b"]
    listed = await api.all("/v1/subscriptions", operationId="op-" + kind)
    assert [each["id"] for each in listed] == [subscription["id"]]
