"""Statistics, rates and operational events over the API."""

from typing import Any

import pytest

from service.domain.api_keys import Scope
from tests.support.api import Api, problem
from tests.support.receiver import Receiver, Reply

pytestmark = pytest.mark.anyio

PATH = "/v1/subscriptions"


async def receiving(api: Api, status: int, count: int, **members: object) -> dict[str, Any]:
    """A subscription whose receiver has answered so, to so many deliveries."""
    async with Receiver(lambda _: Reply(status)) as receiver:
        made = await api.subscribe(receiver.url("/hook"), **members)
        for number in range(count):
            await api.post("/v1/events", {"operationId": f"op{number}", "type": "note"})
        await api.deliver()
    return made


async def test_a_subscription_without_deliveries_has_statistics_too(api: Api) -> None:
    made = await api.subscribe()

    stats = await api.get(f"{PATH}/{made['id']}/stats")

    nothing = {"attempts": 0, "succeeded": 0, "failed": 0}
    assert stats == {
        "subscriptionId": made["id"],
        "status": "active",
        "deliveries": dict.fromkeys(("pending", "delivering", "delivered", "dead", "cancelled"), 0),
        "deadLettersOpen": 0,
        "capped": False,
        "lastHour": nothing,
        "lastDay": nothing,
        "circuit": {"state": "closed"},
        "concurrencyLimit": 4,
    }


async def test_the_owners_limit_shows_before_anything_was_sent(api: Api) -> None:
    made = await api.subscribe(maxConcurrency=1)

    assert (await api.get(f"{PATH}/{made['id']}/stats"))["concurrencyLimit"] == 1


async def test_statistics_of_a_receiver_that_takes_all(api: Api) -> None:
    made = await receiving(api, 204, 3, maxConcurrency=2)
    await api.opened.stores.deliver.flush()

    stats = await api.get(f"{PATH}/{made['id']}/stats")

    assert stats["deliveries"]["delivered"] == 3
    assert stats["lastSuccessAt"].endswith("Z")
    assert "lastFailureAt" not in stats
    assert stats["concurrencyLimit"] == 2


async def test_statistics_of_a_receiver_that_fails(api: Api) -> None:
    made = await receiving(api, 503, 12)

    stats = await api.get(f"{PATH}/{made['id']}/stats")

    assert stats["circuit"]["state"] == "open"
    assert stats["circuit"]["openUntil"] > stats["lastFailureAt"] >= stats["failingSince"]
    assert stats["deliveries"]["pending"] == 12
    assert stats["lastDay"]["succeeded"] == 0
    assert stats["concurrencyLimit"] < 4
    whole = await api.get("/v1/stats")
    assert whole["circuits"] == {"open": 1, "halfOpen": 0}
    resumed = await api.post(f"{PATH}/{made['id']}/resume", status=200)
    assert resumed["status"] == "active"
    assert (await api.get(f"{PATH}/{made['id']}/stats"))["circuit"] == {"state": "closed"}


async def test_a_hold_is_shown(api: Api) -> None:
    async with Receiver(lambda _: Reply(429, (("retry-after", "60"),))) as receiver:
        made = await api.subscribe(receiver.url("/hook"))
        await api.post("/v1/events", {"operationId": "op", "type": "note"})
        await api.deliver()

    assert "holdUntil" in await api.get(f"{PATH}/{made['id']}/stats")


async def test_statistics_of_the_service(api: Api) -> None:
    await receiving(api, 200, 3)
    await api.opened.stores.deliver.flush()

    stats = await api.get("/v1/stats")

    assert stats["inFlight"] == stats["due"] == stats["deadLettersOpen"] == 0
    assert stats["oldestDueAgeSeconds"] == 0
    assert stats.keys() >= {"deliveredPerMinute", "failedPerMinute", "circuits"}


async def test_who_may_see_them(api: Api) -> None:
    made = await api.subscribe()
    reader = await api.key(Scope.DELIVERIES_READ)
    other = await api.key(Scope.SUBSCRIPTIONS_READ)

    own = f"{PATH}/{made['id']}/stats"
    assert (await api.call("GET", own, headers=reader)).status_code == 200
    problem(await api.call("GET", own, headers=other), 403, "forbidden")
    problem(await api.call("GET", "/v1/stats", headers=reader), 403, "forbidden")
    problem(await api.call("GET", f"{PATH}/sub_x/stats"), 404, "not-found")


# --- rates


@pytest.mark.parametrize("rate", [0.1, 3, 10_000])
async def test_a_rate_is_kept_with_its_subscription(api: Api, rate: float) -> None:
    made = await api.subscribe(rateLimitPerSecond=rate)
    assert made["rateLimitPerSecond"] == rate

    answer = await api.call("PATCH", f"{PATH}/{made['id']}", {"rateLimitPerSecond": 5.5})
    assert answer.json()["rateLimitPerSecond"] == 5.5
    answer = await api.call("PATCH", f"{PATH}/{made['id']}", {"rateLimitPerSecond": None})
    assert "rateLimitPerSecond" not in answer.json()


@pytest.mark.parametrize("rate", [0, 0.05, -1, 10_001, "5", True])
async def test_what_is_no_rate_is_refused(api: Api, rate: object) -> None:
    body = {"url": "https://example.com/hook", "rateLimitPerSecond": rate}

    refused = problem(await api.call("POST", PATH, body), 422, "invalid")

    assert [fault["pointer"] for fault in refused["errors"]] == ["/rateLimitPerSecond"]


# --- operational events


async def test_operational_events_are_in_the_feed_and_under_their_ids(api: Api) -> None:
    made = await receiving(api, 410, 1)
    told = (await api.get("/v1/events?types=subscription.*"))["data"]

    (event,) = told
    assert event.keys() == {"id", "type", "timestamp", "message", "data"}
    assert event["data"] == {"subscriptionId": made["id"], "reason": "gone"}
    assert await api.get(f"/v1/events/{event['id']}") == event
    shown = await api.get(f"{PATH}/{made['id']}")
    assert (shown["status"], shown["disabledReason"]) == ("disabled", "gone")


async def test_they_are_delivered_to_who_names_them(api: Api) -> None:
    async with Receiver() as receiver:
        await api.subscribe(receiver.url("/ops"), eventTypes=["subscription.*", "dead_letters.*"])
        await api.subscribe(receiver.url("/all"))
        await receiving(api, 410, 1, eventTypes=["note"])
        await api.deliver()

        bodies = {request.path: request.headers for request in receiver.requests}
        kinds = sorted(
            request.headers["x-webhook-event"]
            for request in receiver.requests
            if request.path == "/ops"
        )

    assert kinds == ["dead_letters.threshold", "subscription.disabled"]
    assert "x-operation-id" not in bodies["/ops"]
    assert bodies["/all"]["x-webhook-event"] == "note"
