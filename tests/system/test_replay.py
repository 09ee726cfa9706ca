"""Replay from outside: one dead letter, many, and what a subscription should have got."""

import asyncio
import time
from itertools import pairwise
from typing import Any

from tests.support.blackbox import Blackbox, blackbox, received, verify
from tests.support.receiver import Act, Receiver, Reply, render
from tests.system.conftest import StartServer


class Switch:
    """A receiver's answers: failing until it is mended."""

    def __init__(self, receiver: Receiver, status: int = 500) -> None:
        self.status = status
        receiver.script = lambda _: Reply(self.status)

    def mend(self) -> None:
        self.status = 200


async def dead_letters(
    api: Blackbox, receiver: Receiver, kind: str, count: int, schedule: tuple[float, ...] = (0,)
) -> Any:  # noqa: ANN401  any JSON
    """A subscription with so many open dead letters."""
    subscription = await api.subscribe(
        receiver.url("/"), operationTypes=[kind], retrySchedule=schedule
    )
    event = {"operationId": "op-" + kind, "operationType": kind, "type": "step"}
    await api.post("/v1/events", [event] * count)
    await api.deliveries(subscription, count, "dead", timeout=30)
    return subscription


async def open_count(api: Blackbox, subscription: Any) -> int:  # noqa: ANN401  any JSON
    which = {"subscriptionId": subscription["id"]}
    summary = await api.get("/v1/dead-letters/summary", **which)
    return sum(line["count"] for line in summary["data"])


async def test_one_is_replayed_once_under_its_old_name(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    receiver.script = lambda _: Reply(500)
    subscription = await api.subscribe(receiver.url("/"), operationTypes=[kind])
    await api.event("op-" + kind, "STARTED", operationType=kind)
    dead = await api.dead_letter(subscription)

    answer = asyncio.Event()
    receiver.script = lambda _: answered_when(answer)
    path = f"/v1/dead-letters/{dead['id']}/replay"
    assert await api.post(path) == {"deliveryId": dead["deliveryId"]}
    requests = await receiver.wait_for(4)
    while_under_way = await api.post(path, None, 409)
    assert while_under_way["deliveryId"] == dead["deliveryId"]
    answer.set()

    delivery = await api.delivery(subscription, "delivered")
    assert delivery["id"] == dead["deliveryId"]
    assert [a["trigger"] for a in delivery["attempts"]] == [*["schedule"] * 3, "replay"]
    assert [r.headers["x-webhook-attempt"] for r in requests] == ["1", "2", "3", "4"]
    assert len({r.headers["webhook-id"] for r in requests}) == 1
    assert len({r.body for r in requests}) == 1
    verify(subscription["secret"], requests[3])
    resolved = await api.get(f"/v1/dead-letters/{dead['id']}")
    assert (resolved["state"], resolved["replays"]) == ("resolved", 1)
    assert resolved["resolvedAt"]
    which = {"subscriptionId": subscription["id"]}
    assert await api.all("/v1/dead-letters", **which, resolved="false") == []
    assert len(await api.all("/v1/dead-letters", **which, resolved="true")) == 1
    assert (await api.post(path, None, 409))["status"] == 409
    assert len(receiver.requests) == 4


def answered_when(event: asyncio.Event) -> Act:
    async def act(writer: asyncio.StreamWriter) -> None:
        await event.wait()
        writer.write(render(Reply(close=True)))
        await writer.drain()

    return act


async def test_a_replay_that_fails_runs_the_schedule_anew_and_is_open_again(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    receiver.script = lambda _: Reply(500)
    subscription = await api.subscribe(
        receiver.url("/"), operationTypes=[kind], retrySchedule=[0, 0.2]
    )
    await api.event("op-" + kind, "STARTED", operationType=kind)
    dead = await api.dead_letter(subscription)
    path = f"/v1/dead-letters/{dead['id']}"
    await api.post(f"{path}/replay")

    again = await api.until(path, lambda d: d["state"] == "open" and d["attempts"] == 4)
    assert (again["reason"], again["replays"]) == ("attempts_exhausted", 1)
    requests = await receiver.wait_for(4)
    assert [r.headers["x-webhook-attempt"] for r in requests] == ["1", "2", "3", "4"]
    assert requests[3].at - requests[2].at >= 0.16


async def test_a_dead_letter_is_discarded(api: Blackbox, receiver: Receiver, kind: str) -> None:
    Switch(receiver)
    subscription = await dead_letters(api, receiver, kind, 1)
    dead = await api.dead_letter(subscription)
    path = f"/v1/dead-letters/{dead['id']}"

    assert (await api.http.delete(path)).status_code == 204
    assert (await api.http.get(path)).status_code == 404
    assert (await api.post(f"{path}/replay", None, 404))["status"] == 404
    assert (await api.http.delete(path)).status_code == 404


async def test_a_delivery_is_retried_by_hand_and_another_cancelled(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    switch = Switch(receiver)
    subscription = await api.subscribe(
        receiver.url("/"), operationTypes=[kind], retrySchedule=[0, 3600]
    )
    await api.event("op-" + kind, "one", operationType=kind)
    await api.event("op-" + kind, "two", operationType=kind)
    await received(receiver, "/", 2)
    waiting = await api.deliveries(subscription, 2, "pending")
    one, two = sorted(waiting, key=lambda delivery: delivery["eventType"])
    switch.mend()

    await api.post(f"/v1/deliveries/{one['id']}/retry")
    delivery = await api.delivery(subscription, "delivered")
    assert [a["trigger"] for a in delivery["attempts"]] == ["schedule", "manual"]
    cancelled = await api.post(f"/v1/deliveries/{two['id']}/cancel", None, 200)
    assert cancelled["status"] == "cancelled"
    assert len(receiver.requests) == 3


async def test_three_hundred_are_replayed_in_bulk(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    switch = Switch(receiver)
    subscription = await dead_letters(api, receiver, kind, 300)
    others = await dead_letters(api, receiver, f"other-{kind}", 1)
    switch.mend()
    which = {"subscriptionId": subscription["id"], "reason": "attempts_exhausted"}

    dry = await api.post("/v1/dead-letters/replay", {**which, "dryRun": True})
    assert (dry["type"], dry["dryRun"], dry["matched"]) == ("ringback.replay", True, 300)
    ended = await api.operation_ended(dry["operationId"])
    assert ended["status"] == "COMPLETED"
    assert ended["result"] == {"matched": 300, "replayed": 0, "skipped": 0, "dryRun": True}
    assert (len(receiver.requests), await open_count(api, subscription)) == (301, 300)

    begun = await api.post("/v1/dead-letters/replay", which)
    ended = await api.operation_ended(begun["operationId"])
    assert ended["status"] == "COMPLETED"
    assert ended["result"] == {"matched": 300, "replayed": 300, "skipped": 0, "dryRun": False}
    requests = (await receiver.wait_for(601, timeout=30))[301:]
    assert len({r.headers["webhook-id"] for r in requests}) == 300
    assert {r.headers["x-webhook-attempt"] for r in requests} == {"2"}
    await api.deliveries(subscription, 300, "delivered")
    assert (await open_count(api, subscription), await open_count(api, others)) == (0, 1)


async def test_a_bulk_replay_keeps_to_its_rate_and_shows_how_far_it_is(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    switch = Switch(receiver)
    subscription = await dead_letters(api, receiver, kind, 25)
    switch.mend()
    at = time.monotonic()
    begun = await api.post(
        "/v1/dead-letters/replay", {"subscriptionId": subscription["id"], "ratePerSecond": 10}
    )
    operation = await api.operation_ended(begun["operationId"])
    requests = (await receiver.wait_for(50))[25:]

    # one at once, then one every tenth of a second
    assert 2.3 <= max(request.at for request in requests) - at < 15
    assert operation["result"]["replayed"] == 25
    log = await api.all(f"/v1/operations/{operation['operationId']}/events")
    assert [e["type"] for e in (log[0], log[-1])] == ["STARTED", "COMPLETED"]
    assert {e["type"] for e in log[1:-1]} == {"STATUS_UPDATE"}
    shown = [e["progress"]["current"] for e in log[1:]]
    assert all(earlier <= later for earlier, later in pairwise(shown))
    assert log[-1]["progress"] == {"current": 25, "total": 25, "percentage": 100.0}


async def test_a_cancelled_bulk_replay_stops(api: Blackbox, receiver: Receiver, kind: str) -> None:
    switch = Switch(receiver)
    subscription = await dead_letters(api, receiver, kind, 100)
    switch.mend()
    which = {"subscriptionId": subscription["id"], "ratePerSecond": 5}
    begun = await api.post("/v1/dead-letters/replay", which)
    await receiver.wait_for(103)

    path = f"/v1/operations/{begun['operationId']}"
    cancelled = await api.post(f"{path}/cancel", None, 200)
    assert cancelled["status"] == "CANCELLED"
    # what runs now has had its turn once another has; then what is reopened has been
    await another_replay(api, subscription)
    for status in ("pending", "delivering"):
        await api.until("/v1/deliveries", nothing, subscriptionId=subscription["id"], status=status)
    left = await open_count(api, subscription)
    assert 50 < left < 100
    await another_replay(api, subscription)
    assert await open_count(api, subscription) == left
    assert len(receiver.requests) == 200 - left
    assert (await api.get(path))["status"] == "CANCELLED"


def nothing(page: Any) -> bool:  # noqa: ANN401  any JSON
    return not page["data"]


async def another_replay(api: Blackbox, subscription: Any) -> None:  # noqa: ANN401  any JSON
    which = {"subscriptionId": subscription["id"], "dryRun": True}
    begun = await api.post("/v1/dead-letters/replay", which)
    await api.operation_ended(begun["operationId"])


async def test_a_replays_own_events_reach_only_those_who_name_its_type(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    switch = Switch(receiver)
    subscription = await dead_letters(api, receiver, kind, 1)
    switch.mend()
    await api.subscribe(receiver.url("/everything"))
    await api.subscribe(receiver.url("/replays"), operationTypes=["ringback.replay"])
    begun = await api.post("/v1/dead-letters/replay", {"subscriptionId": subscription["id"]})

    requests = await received(receiver, "/replays", 2)
    assert {r.headers["x-operation-id"] for r in requests} == {begun["operationId"]}
    assert {r.headers["x-webhook-event"] for r in requests} == {"STARTED", "COMPLETED"}
    await api.deliveries(subscription, 1, "delivered")
    assert [r for r in receiver.requests if r.path == "/everything"] == []


async def replayed(api: Blackbox, subscription: Any, only: str, **more: object) -> Any:  # noqa: ANN401  any JSON
    """The result of a subscription's replay since long ago."""
    body = {"since": "2020-01-01T00:00:00Z", "only": only, **more}
    begun = await api.post(f"/v1/subscriptions/{subscription['id']}/replay", body)
    assert begun["type"] == "ringback.replay"
    ended = await api.operation_ended(begun["operationId"])
    assert ended["status"] == "COMPLETED"
    return ended["result"]


async def test_what_is_dead_of_a_subscription_is_replayed(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    switch = Switch(receiver)
    subscription = await dead_letters(api, receiver, kind, 3)
    switch.mend()
    await api.event("op-" + kind, "fine")
    await received(receiver, "/", 4)

    dry = await replayed(api, subscription, "dead", dryRun=True)
    assert (dry["matched"], dry["replayed"]) == (3, 0)
    assert (await replayed(api, subscription, "dead"))["replayed"] == 3
    await api.deliveries(subscription, 4, "delivered")
    assert len(receiver.requests) == 7


async def test_what_a_later_subscription_missed_is_sent_to_it(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    batch = [{"operationId": "op-" + kind, "operationType": kind, "type": t} for t in "aabb"]
    await api.post("/v1/events", batch)
    subscription = await api.subscribe(receiver.url("/"), operationTypes=[kind])
    await api.event("op-" + kind, "a")
    await api.deliveries(subscription, 1, "delivered")

    undelivered = await api.get(f"/v1/subscriptions/{subscription['id']}/undelivered")
    assert [pair["sequence"] for pair in undelivered["data"]] == [1, 2, 3, 4]
    assert {pair["status"] for pair in undelivered["data"]} == {"missing"}
    dry = await replayed(api, subscription, "missing", dryRun=True)
    assert dry == {"matched": 4, "replayed": 0, "skipped": 0, "dryRun": True}
    some = await replayed(api, subscription, "missing", eventTypes=["b"])
    assert some["replayed"] == 2
    await receiver.wait_for(3)
    assert (await replayed(api, subscription, "missing"))["replayed"] == 2
    await api.deliveries(subscription, 5, "delivered")
    assert sorted(r.headers["x-operation-sequence"] for r in receiver.requests) == list("12345")
    assert await api.all(f"/v1/subscriptions/{subscription['id']}/undelivered") == []
    assert (await replayed(api, subscription, "missing"))["replayed"] == 0


async def test_everything_is_sent_again_on_request(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    subscription = await api.subscribe(receiver.url("/"), operationTypes=[kind])
    await api.post(
        "/v1/events", [{"operationId": "op-" + kind, "operationType": kind, "type": "a"}] * 5
    )
    await api.deliveries(subscription, 5, "delivered")

    assert (await replayed(api, subscription, "all"))["replayed"] == 5
    requests = await receiver.wait_for(10)
    await api.deliveries(subscription, 5, "delivered")
    assert {r.headers["x-webhook-attempt"] for r in requests[5:]} == {"2"}
    assert len({r.headers["webhook-id"] for r in requests}) == 5
    assert len(await api.all("/v1/deliveries", subscriptionId=subscription["id"])) == 5


async def test_what_is_undelivered_is_listed_with_the_reason(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    receiver.script = lambda r: Reply(200 if r.headers["x-webhook-event"] == "fine" else 500)
    await api.event("op-" + kind, "before", operationType=kind)
    subscription = await api.subscribe(
        receiver.url("/"), operationTypes=[kind], retrySchedule=[0, 0.1]
    )
    await api.event("op-" + kind, "fine")
    await api.event("op-" + kind, "bad")
    await api.dead_letter(subscription)

    await api.post(f"/v1/subscriptions/{subscription['id']}/pause", None, 200)
    last = await api.event("op-" + kind, "late")
    path = f"/v1/subscriptions/{subscription['id']}/undelivered"
    pairs = await api.all(path)
    assert [(p["eventType"], p["status"], p.get("reason")) for p in pairs] == [
        ("before", "missing", None),
        ("bad", "dead", "attempts_exhausted"),
        ("late", "pending", None),
    ]
    assert pairs[2]["eventId"] == last["id"]
    assert pairs[2]["event"]["sequence"] == 4
    since = pairs[2]["createdAt"]
    assert [p["eventType"] for p in await api.all(path, since=since)] == ["late"]


async def test_a_bulk_replay_goes_on_after_a_crash(
    start_server: StartServer, receiver: Receiver, kind: str
) -> None:
    switch = Switch(receiver)
    server = start_server()
    async with blackbox(server) as api:
        # two attempts: one that the crash cuts off has used one
        subscription = await dead_letters(api, receiver, kind, 30, (0, 0))
        switch.mend()
        which = {"subscriptionId": subscription["id"], "ratePerSecond": 10}
        begun = await api.post("/v1/dead-letters/replay", which)
        await receiver.wait_for(62)
        server.kill()
        api.made.clear()
    await asyncio.to_thread(server.start)

    async with blackbox(server) as api:
        ended = await api.operation_ended(begun["operationId"])
        assert ended["status"] == "COMPLETED"
        assert ended["result"] == {"matched": 30, "replayed": 30, "skipped": 0, "dryRun": False}
        await api.deliveries(subscription, 30, "delivered")
        assert await open_count(api, subscription) == 0
