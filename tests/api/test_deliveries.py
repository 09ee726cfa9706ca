"""Deliveries, dead letters and replays, from posted event to the receiver and back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.api import BASE, Api, pointers, problem
from tests.support.receiver import Receiver, Reply

OF_ONE = "/v1/operations/op_1/events"


async def dead(api: Api, receiver: Receiver, count: int = 1) -> list[dict[str, Any]]:
    """So many dead letters of one subscription, which takes events again."""
    receiver.script = lambda _: Reply(410, body=b"moved away")
    subscription = await api.subscribe(receiver.url("/h"), headers={"X-Token": "s3cret"})
    events = [{"type": "a", "id": f"evt_{number}"} for number in range(count)]
    await api.post(OF_ONE, events)
    await api.deliver()
    await api.post(f"/v1/subscriptions/{subscription['id']}/resume", None, 200)
    letters: list[dict[str, Any]] = (await api.get("/v1/dead-letters"))["data"]
    assert len(letters) == count
    return letters


@asynccontextmanager
async def replaying(api: Api) -> AsyncIterator[None]:
    """Bulk replays are carried through meanwhile."""
    task = asyncio.create_task(api.opened.replays.run())
    yield
    task.cancel()
    await asyncio.wait([task])


async def ended(api: Api, operation_id: str) -> dict[str, Any]:
    """The operation as soon as it has ended."""
    async with asyncio.timeout(10):
        while True:
            shown = await api.get(f"/v1/operations/{operation_id}")
            if "pollInterval" not in shown:
                return shown
            await asyncio.sleep(0.01)


async def test_a_delivery_and_its_attempt(api: Api, receiver: Receiver) -> None:
    receiver.script = lambda _: Reply(200, (("x-id", "7"),), "grün".encode())
    subscription = await api.subscribe(receiver.url("/h"), headers={"X-Token": "s3cret"})
    await api.post(OF_ONE, {"type": "a", "id": "evt_1"})
    waiting = (await api.get("/v1/deliveries"))["data"][0]
    assert (waiting["status"], waiting["attempts"]) == ("pending", 0)
    assert waiting["nextAttemptAt"] >= waiting["createdAt"]
    await api.deliver()
    shown = await api.get(f"/v1/deliveries/{waiting['id']}")
    (attempt,) = shown.pop("attempts")
    assert shown == {
        "id": waiting["id"],
        "eventId": "evt_1",
        "eventType": "a",
        "subscriptionId": subscription["id"],
        "operationId": "op_1",
        "status": "delivered",
        "attemptCount": 1,
        "createdAt": waiting["createdAt"],
        "finishedAt": shown["finishedAt"],
    }
    (received,) = receiver.requests
    assert received.headers["x-webhook-delivery"] == waiting["id"]
    assert attempt["id"].startswith("att_")
    assert (attempt["number"], attempt["trigger"], attempt["statusCode"]) == (1, "schedule", 200)
    assert attempt["durationMs"] > 0
    assert attempt["url"] == receiver.url("/h")
    assert attempt["request"]["headers"]["webhook-id"] == "evt_1"
    assert attempt["request"]["headers"]["x-token"] == "****"
    assert attempt["response"]["headers"]["x-id"] == "7"
    assert attempt["response"]["body"] == "grün"
    assert attempt["response"]["bodyTruncated"] is False
    assert "errorClass" not in attempt


async def test_a_failed_attempt_says_when_the_next_is(api: Api, receiver: Receiver) -> None:
    receiver.script = lambda _: Reply(503, body=b"x" * 20_000)
    await api.subscribe(receiver.url(), retrySchedule=[0, 3600])
    await api.post(OF_ONE, {"type": "a"})
    await api.deliver()
    (listed,) = (await api.get("/v1/deliveries"))["data"]
    shown = await api.get(f"/v1/deliveries/{listed['id']}")
    (attempt,) = shown["attempts"]
    assert (shown["status"], attempt["errorClass"]) == ("pending", "http_status")
    assert "503" in attempt["message"]
    assert attempt["nextAttemptAt"] == shown["nextAttemptAt"]
    assert len(attempt["response"]["body"]) == 16 * 1024
    assert attempt["response"]["bodyTruncated"] is True


async def both(api: Api, delivery_id: str) -> dict[str, object]:
    """What is told of a delivery's wait: the same in a list as by itself."""
    names = ("status", "nextAttemptAt", "waitsForDeliveryId")
    one = await api.get(f"/v1/deliveries/{delivery_id}")
    (listed,) = [
        each for each in (await api.get("/v1/deliveries"))["data"] if each["id"] == delivery_id
    ]
    told = {name: listed[name] for name in names if name in listed}
    assert told == {name: one[name] for name in names if name in one}
    return told


async def test_what_is_paused_has_no_next_attempt_until_it_is_resumed(
    api: Api, receiver: Receiver
) -> None:
    receiver.script = lambda _: Reply(503)
    subscription = await api.subscribe(receiver.url(), retrySchedule=[0, 3600])
    await api.post(OF_ONE, {"type": "a"})
    await api.deliver()
    (delivery,) = (await api.get("/v1/deliveries"))["data"]
    of_it = f"/v1/subscriptions/{subscription['id']}"

    await api.post(f"{of_it}/pause", status=200)
    assert await both(api, delivery["id"]) == {"status": "pending"}

    await api.post(f"{of_it}/resume", status=200)
    again = await both(api, delivery["id"])
    assert again["nextAttemptAt"] == delivery["nextAttemptAt"]


async def test_what_waits_for_its_turn_names_the_delivery_that_goes_first(
    api: Api, receiver: Receiver
) -> None:
    receiver.script = lambda _: Reply(503)
    await api.subscribe(receiver.url(), ordering="operation")
    for kind in ("a", "b", "c"):
        await api.post(OF_ONE, {"type": kind})
    await api.deliver()
    third, second, first = (each["id"] for each in (await api.get("/v1/deliveries"))["data"])

    for each in (second, third):
        assert await both(api, each) == {"status": "pending", "waitsForDeliveryId": first}
    assert (await both(api, first)).keys() == {"status", "nextAttemptAt"}

    await api.post(f"/v1/deliveries/{third}/retry")
    await api.post(f"/v1/deliveries/{first}/cancel", status=200)
    assert await both(api, third) == {"status": "pending"}  # it goes at once, out of turn
    assert (await both(api, second)).keys() == {"status", "nextAttemptAt"}


async def test_lists_are_filtered(api: Api, receiver: Receiver) -> None:
    one = await api.subscribe(receiver.url(), eventTypes=["a"])
    two = await api.subscribe(receiver.url(), eventTypes=["b"])
    await api.post(OF_ONE, {"type": "a", "id": "evt_a"})
    await api.deliver()
    await api.post("/v1/operations/op_2/events", {"type": "b", "id": "evt_b"})

    async def found(query: str) -> list[str]:
        return [each["eventId"] for each in (await api.get(f"/v1/deliveries?{query}"))["data"]]

    assert await found("") == ["evt_b", "evt_a"]
    assert await found("status=pending") == ["evt_b"]
    assert await found("status=delivered") == ["evt_a"]
    assert await found(f"subscriptionId={one['id']}") == ["evt_a"]
    assert await found(f"subscriptionId={two['id']}&status=delivered") == []
    assert await found("operationId=op_2") == ["evt_b"]
    assert await found("eventId=evt_a") == ["evt_a"]
    assert await found("eventType=b") == ["evt_b"]
    assert await found("since=2100-01-01T00:00:00Z") == []
    assert await found("until=2100-01-01T00:00:00Z&eventType=a") == ["evt_a"]
    assert await found("subscriptionId=sub_none") == []


async def test_a_waiting_delivery_is_cancelled_or_hurried(api: Api, receiver: Receiver) -> None:
    receiver.script = lambda _: Reply(500)
    await api.subscribe(receiver.url(), retrySchedule=[0, 3600, 3600])
    await api.post(OF_ONE, {"type": "a"})
    await api.deliver()
    name = (await api.get("/v1/deliveries"))["data"][0]["id"]
    path = f"/v1/deliveries/{name}"
    answer = await api.call("POST", f"{path}/retry")
    assert (answer.status_code, answer.json()) == (202, {"deliveryId": name})
    assert answer.headers["location"] == BASE + path
    await api.deliver()
    assert [a["trigger"] for a in (await api.get(path))["attempts"]] == ["schedule", "manual"]
    cancelled = await api.post(f"{path}/cancel", None, 200)
    assert (cancelled["status"], cancelled["attemptCount"]) == ("cancelled", 2)
    refused = problem(await api.call("POST", f"{path}/cancel"), 409, "conflict")
    assert refused["currentStatus"] == "cancelled"


async def test_a_dead_letter(api: Api, receiver: Receiver) -> None:
    (letter,) = await dead(api, receiver)
    assert await api.get(f"/v1/dead-letters/{letter['id']}") == letter
    assert letter == {
        "id": letter["id"],
        "deliveryId": letter["deliveryId"],
        "subscriptionId": letter["subscriptionId"],
        "eventId": "evt_0",
        "eventType": "a",
        "operationId": "op_1",
        "sequence": 1,
        "reason": "gone",
        "state": "open",
        "attempts": 1,
        "lastOutcome": {
            "statusCode": 410,
            "errorClass": "http_status",
            "message": letter["lastOutcome"]["message"],
        },
        "deadAt": letter["deadAt"],
        "replays": 0,
        "event": await api.get("/v1/events/evt_0"),
    }


async def test_a_dead_letter_keeps_the_bytes_of_its_event(api: Api, receiver: Receiver) -> None:
    receiver.script = lambda _: Reply(410)
    await api.subscribe(receiver.url())
    await api.call("POST", OF_ONE, content=b'{"type":"a","data":{"n": 1.10,"e":1e400}}')
    await api.deliver()
    expected = b'"data":{"n": 1.10,"e":1e400}'
    assert expected in receiver.requests[0].body
    listed = await api.call("GET", "/v1/dead-letters")
    assert expected in listed.content
    name = listed.json()["data"][0]["id"]
    assert expected in (await api.call("GET", f"/v1/dead-letters/{name}")).content


async def test_dead_letters_are_filtered_and_counted(api: Api, receiver: Receiver) -> None:
    letters = await dead(api, receiver, 3)
    own = letters[0]["subscriptionId"]

    async def found(query: str) -> int:
        return len((await api.get(f"/v1/dead-letters?{query}"))["data"])

    for query, count in {
        f"subscriptionId={own}": 3,
        "subscriptionId=sub_none": 0,
        "eventType=a": 3,
        "eventType=b": 0,
        "reason=gone": 3,
        "reason=expired": 0,
        "resolved=false": 3,
        "resolved=true": 0,
        "since=2100-01-01T00:00:00Z": 0,
        "until=2100-01-01T00:00:00Z": 3,
    }.items():
        assert await found(query) == count, query
    (line,) = (await api.get("/v1/dead-letters/summary?reason=gone"))["data"]
    assert (line["subscriptionId"], line["count"], line["statusCode"]) == (own, 3, 410)
    assert (await api.get("/v1/dead-letters/summary?reason=expired"))["data"] == []
    refused = problem(await api.call("GET", "/v1/dead-letters?reason=bad"), 422, "invalid")
    assert "attempts_exhausted" in refused["errors"][0]["detail"]


async def test_a_replay_is_the_same_delivery(api: Api, receiver: Receiver) -> None:
    (letter,) = await dead(api, receiver)
    receiver.script = lambda _: Reply(200)
    path = f"/v1/dead-letters/{letter['id']}"
    key = {"idempotency-key": "once"}
    answer = await api.call("POST", f"{path}/replay", headers=key)
    assert (answer.status_code, answer.json()) == (202, {"deliveryId": letter["deliveryId"]})
    again = await api.call("POST", f"{path}/replay", headers=key)
    assert again.headers["idempotency-replayed"] == "true"
    refused = problem(await api.call("POST", f"{path}/replay"), 409, "conflict")
    assert refused["deliveryId"] == letter["deliveryId"]
    problem(await api.call("DELETE", path), 409, "conflict")
    await api.deliver()
    resolved = await api.get(path)
    assert (resolved["state"], resolved["replays"]) == ("resolved", 1)
    assert resolved["resolvedAt"]
    numbers = [request.headers["x-webhook-attempt"] for request in receiver.requests]
    assert numbers == ["1", "2"]
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert (await api.get("/v1/dead-letters?resolved=true"))["data"] == [resolved]
    problem(await api.call("POST", f"{path}/replay"), 409, "conflict")


async def test_a_dead_letter_is_discarded(api: Api, receiver: Receiver) -> None:
    (letter,) = await dead(api, receiver)
    path = f"/v1/dead-letters/{letter['id']}"
    assert (await api.call("DELETE", path)).status_code == 204
    problem(await api.call("DELETE", path), 404, "not-found")
    problem(await api.call("GET", path), 404, "not-found")


async def test_dead_letters_are_replayed_in_bulk(api: Api, receiver: Receiver) -> None:
    letters = await dead(api, receiver, 3)
    receiver.script = lambda _: Reply(200)
    body = {"reason": "gone", "subscriptionId": letters[0]["subscriptionId"]}
    async with replaying(api):
        dry = await api.post("/v1/dead-letters/replay", {**body, "dryRun": True})
        assert (dry["type"], dry["dryRun"], dry["matched"]) == ("ringback.replay", True, 3)
        assert (await ended(api, dry["operationId"]))["result"]["matched"] == 3
        assert len((await api.get("/v1/dead-letters?resolved=false"))["data"]) == 3
        none = await api.post("/v1/dead-letters/replay", {**body, "eventType": "b"})
        assert (await ended(api, none["operationId"]))["result"]["matched"] == 0
        answer = await api.call("POST", "/v1/dead-letters/replay", body)
        run = answer.json()
        assert answer.headers["location"] == f"{BASE}/v1/operations/{run['operationId']}"
        assert (await ended(api, run["operationId"]))["status"] == "COMPLETED"
        await api.deliver()
    assert len((await api.get("/v1/dead-letters?resolved=true"))["data"]) == 3
    assert len(receiver.requests) >= 4


async def test_a_note_on_a_bulk_replay_is_no_filter(api: Api, receiver: Receiver) -> None:
    await dead(api, receiver, 2)
    run = await api.post("/v1/dead-letters/replay", {"reason": "receiver is back", "dryRun": True})
    assert run["matched"] == 2
    none = await api.post("/v1/dead-letters/replay", {"reason": "expired", "dryRun": True})
    assert none["matched"] == 0


async def test_a_bulk_replay_is_started_once(api: Api, receiver: Receiver) -> None:
    await dead(api, receiver)
    key = {"idempotency-key": "bulk"}
    first = await api.call("POST", "/v1/dead-letters/replay", {}, headers=key)
    again = await api.call("POST", "/v1/dead-letters/replay", {}, headers=key)
    assert first.content == again.content
    assert len((await api.get("/v1/operations?type=ringback.replay"))["data"]) == 1


async def test_a_subscription_gets_what_it_missed(api: Api, receiver: Receiver) -> None:
    await api.post(OF_ONE, [{"type": "a", "id": "evt_1"}, {"type": "b", "id": "evt_2"}])
    subscription = await api.subscribe(receiver.url(), eventTypes=["a"])
    path = f"/v1/subscriptions/{subscription['id']}"
    (missing,) = (await api.get(f"{path}/undelivered"))["data"]
    assert (missing["eventId"], missing["status"]) == ("evt_1", "missing")
    assert missing["event"]["id"] == "evt_1"
    assert "deliveryId" not in missing
    body = {"since": "2020-01-01T00:00:00Z", "only": "missing"}
    async with replaying(api):
        run = await api.post(f"{path}/replay", body)
        await ended(api, run["operationId"])
        await api.deliver()
    assert [request.headers["webhook-id"] for request in receiver.requests] == ["evt_1"]
    assert (await api.get(f"{path}/undelivered"))["data"] == []


async def test_a_bulk_replay_is_cancelled_like_any_operation(api: Api, receiver: Receiver) -> None:
    await dead(api, receiver)
    run = await api.post("/v1/dead-letters/replay", {"ratePerSecond": 0.01})
    cancelled = await api.post(f"/v1/operations/{run['operationId']}/cancel", None, 200)
    assert cancelled["status"] == "CANCELLED"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"since": "yesterday", "until": 5}, ["/since", "/until"]),
        ({"resolved": True}, ["/resolved"]),
        ({"ratePerSecond": 0, "dryRun": "yes"}, ["/dryRun", "/ratePerSecond"]),
        ({"subscriptionId": "sub_none"}, ["/subscriptionId"]),
        ({"since": "2025-01-02T00:00:00Z", "until": "2025-01-01T00:00:00Z"}, ["/until"]),
        ({"limit": 5}, ["/limit"]),
        ({"reason": "a\u0000b"}, ["/reason"]),
    ],
)
async def test_faults_of_a_bulk_replay(api: Api, body: dict[str, Any], where: list[str]) -> None:
    refused = problem(await api.call("POST", "/v1/dead-letters/replay", body), 422, "invalid")
    assert pointers(refused) == where
    assert (await api.get("/v1/operations"))["data"] == []


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ["/only", "/since"]),
        ({"since": "2025-01-01T00:00:00Z", "only": "some"}, ["/only"]),
        ({"since": "2999-01-01T00:00:00Z", "only": "all"}, ["/until"]),
        ({"since": "2025-01-01", "only": "all", "eventTypes": []}, ["/eventTypes", "/since"]),
        ({"since": None, "only": None, "reason": "x"}, ["/only", "/reason", "/since"]),
    ],
)
async def test_faults_of_a_subscriptions_replay(
    api: Api, body: dict[str, Any], where: list[str]
) -> None:
    path = f"/v1/subscriptions/{(await api.subscribe())['id']}/replay"
    assert pointers(problem(await api.call("POST", path, body), 422, "invalid")) == where


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/deliveries/{}"),
        ("POST", "/v1/deliveries/{}/retry"),
        ("POST", "/v1/deliveries/{}/cancel"),
        ("GET", "/v1/dead-letters/{}"),
        ("DELETE", "/v1/dead-letters/{}"),
        ("POST", "/v1/dead-letters/{}/replay"),
        ("POST", "/v1/subscriptions/{}/replay"),
    ],
)
@pytest.mark.parametrize("digits", ["000000000000000100000001", "f" * 24, "F" * 24, "1", "%00", ""])
async def test_what_is_not_there_is_404(api: Api, method: str, path: str, digits: str) -> None:
    prefix = "dlv_" if "deliveries" in path else "dl_"
    replay = {"since": "2025-01-01T00:00:00Z", "only": "all"}
    body = replay if "subscriptions" in path else None
    answer = await api.call(method, path.format(prefix + digits), body)
    problem(answer, 404, "not-found")


async def test_a_misspelt_reason_does_not_replay_everything(api: Api) -> None:
    answer = await api.call("POST", "/v1/dead-letters/replay", {"reason": "atempts_exhausted"})
    document = problem(answer, 422, "invalid")
    assert pointers(document) == ["/reason"]
    assert "attempts_exhausted" in document["errors"][0]["detail"]
    await api.post("/v1/dead-letters/replay", {"reason": "attempts_exhausted"})
    await api.post("/v1/dead-letters/replay", {"reason": "the receiver is up again"})
