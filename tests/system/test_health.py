"""Receivers that fail, recover, go away, or hang: seen from outside, over real sockets."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from statistics import median, quantiles
from typing import Any

import pytest

from tests.support.blackbox import Blackbox, blackbox, received
from tests.support.receiver import Act, Received, Receiver, Reply
from tests.support.server import Server
from tests.system.conftest import StartServer

pytestmark = pytest.mark.anyio

#: So many attempts, soon after each other, that nothing dies meanwhile.
PATIENT = {"RINGBACK_BREAKER": "on", "RINGBACK_RETRY_SCHEDULE": ",".join(["0", *["0.2"] * 40])}


async def stats(api: Blackbox, subscription: Any) -> Any:  # noqa: ANN401  any JSON
    return await api.get(f"/v1/subscriptions/{subscription['id']}/stats")


async def circuit(api: Blackbox, subscription: Any, state: str) -> Any:  # noqa: ANN401  any JSON
    """The statistics of the subscription, once its circuit is so."""
    return await api.until(
        f"/v1/subscriptions/{subscription['id']}/stats", lambda s: s["circuit"]["state"] == state
    )


async def post(api: Blackbox, kind: str, count: int, name: str = "note") -> None:
    events = [
        {"operationId": f"{kind}-{n}", "operationType": kind, "type": name} for n in range(count)
    ]
    await api.post("/v1/events", events)


async def let_time_pass(server: Server) -> None:
    """Let the wait of every open circuit be over, as if the service had been down for so long."""
    await asyncio.to_thread(_let_time_pass, server)


def _let_time_pass(server: Server) -> None:
    assert server.stop() == 0
    with closing(sqlite3.connect(server.database)) as file:
        file.execute("UPDATE subscription_health SET opened_at = 1, open_until = 2 WHERE trips > 0")
        file.commit()
    server.start()


async def settled(api: Blackbox, healthy: Any, kind: str) -> None:  # noqa: ANN401  any JSON
    """Wait until what was posted last has reached a healthy receiver: so the sweep has looked."""
    await post(api, f"{kind}-sweep", 1, "sweep")
    await api.deliveries(healthy, 1, "delivered")


async def test_a_circuit_opens_waits_probes_and_closes(
    start_server: StartServer, receiver: Receiver, kind: str
) -> None:
    server = start_server(PATIENT)
    status = 500
    receiver.script = lambda request: Reply(200 if request.path != "/down" else status)
    async with blackbox(server) as api:
        ops = await api.subscribe(receiver.url("/ops"), eventTypes=["subscription.*"])
        other = await api.subscribe(receiver.url("/other"), eventTypes=["sweep"])
        lane = await api.subscribe(receiver.url("/down"), eventTypes=["note"])
        await post(api, kind, 30)
        opened = await circuit(api, lane, "open")
        attempts = len(await received(receiver, "/down", 10))
        await settled(api, other, kind)
        assert len(await received(receiver, "/down", 10)) == attempts <= 16
        assert opened["deliveries"]["pending"] + opened["deliveries"]["delivering"] == 30
        assert opened["concurrencyLimit"] <= 4
        await let_time_pass(server)
        # one probe, which fails: it waits for twice as long
        again = await circuit(api, lane, "open")
        assert again["circuit"]["openUntil"] > opened["circuit"]["openUntil"]
        assert len(await received(receiver, "/down", attempts + 1)) == attempts + 1
        status = 200
        await let_time_pass(server)
        assert len(await api.deliveries(lane, 30, "delivered")) == 30
        assert (await stats(api, lane))["circuit"] == {"state": "closed"}
        assert len(await received(receiver, "/down", attempts + 31)) == attempts + 31
        told = [each.headers["x-webhook-event"] for each in await received(receiver, "/ops", 2)]
        assert told == ["subscription.failing", "subscription.recovered"]
        feed = await api.get("/v1/events", types="subscription.*")
        assert [event["type"] for event in feed["data"]] == told
        assert {event["data"]["subscriptionId"] for event in feed["data"]} == {lane["id"]}
        assert await api.deliveries(ops, 2, "delivered")


async def test_a_receiver_that_is_gone_is_told_of_and_comes_back_by_replay(
    start_server: StartServer, receiver: Receiver, kind: str
) -> None:
    status = 410
    receiver.script = lambda request: Reply(status if request.path == "/gone" else 200)
    async with blackbox(start_server(PATIENT)) as api:
        ops = await api.subscribe(receiver.url("/ops"), eventTypes=["subscription.disabled"])
        lane = await api.subscribe(receiver.url("/gone"), operationTypes=[kind], maxConcurrency=1)
        await post(api, kind, 5)
        await api.delivery(ops, "delivered")
        shown = await api.get(f"/v1/subscriptions/{lane['id']}")
        assert (shown["status"], shown["disabledReason"]) == ("disabled", "gone")
        letters = await api.until(
            "/v1/dead-letters", lambda page: len(page["data"]) == 5, subscriptionId=lane["id"]
        )
        reasons = sorted(letter["reason"] for letter in letters["data"])
        assert reasons == ["gone", *["subscription_disabled"] * 4]

        status = 200
        await api.post(f"/v1/subscriptions/{lane['id']}/resume", status=200)
        replay = await api.post("/v1/dead-letters/replay", {"subscriptionId": lane["id"]})
        await api.operation_ended(replay["operationId"])

        assert len(await api.deliveries(lane, 5, "delivered")) == 5


async def test_who_asks_to_be_left_alone_is_held_and_shown_so(
    start_server: StartServer, receiver: Receiver, kind: str
) -> None:
    receiver.script = lambda request: (
        Reply(503, (("retry-after", "2"),))
        if request.headers["x-webhook-attempt"] == "1"
        else Reply()
    )
    async with blackbox(start_server(PATIENT)) as api:
        lane = await api.subscribe(
            receiver.url("/hold"), operationTypes=[kind], maxConcurrency=1, timeoutSeconds=5
        )
        await post(api, kind, 1)
        held = await api.until(f"/v1/subscriptions/{lane['id']}/stats", lambda s: "holdUntil" in s)
        assert held["circuit"]["state"] == "closed"
        first, second = await received(receiver, "/hold", 2)
        assert second.at - first.at >= 1.99


# --- isolation

HEALTHY = 20
WINDOWS = 5
EVENTS = 25
BACKLOG = 5_000
#: Seconds: below this two measurements on a busy machine cannot be told apart.
FLOOR = 0.3


async def hang(writer: Any) -> None:  # noqa: ANN401  as Act
    """Keep the connection open, and say nothing."""
    await asyncio.sleep(3_600)
    writer.close()


def healthy_or_hanging(request: Received) -> Reply | Act:
    return hang if request.path == "/hang" else Reply(204)


@pytest.fixture
async def hostile(receiver: Receiver) -> Receiver:
    receiver.script = healthy_or_hanging
    return receiver


async def window(api: Blackbox, receiver: Receiver, kind: str) -> float:
    """The 99th percentile (s) from asking to post an event to each of its deliveries."""
    receiver.requests = [each for each in receiver.requests if each.path == "/hang"]
    posted: dict[str, float] = {}
    for number in range(EVENTS):
        at = time.monotonic()
        body = {"operationId": f"{kind}-{number}", "operationType": kind, "type": "note"}
        verdict = (await api.post("/v1/events", body))["data"][0]
        posted[verdict["id"]] = at
    arrived: list[Received] = []
    async with asyncio.timeout(10):
        while len(arrived) < EVENTS * HEALTHY:
            await asyncio.sleep(0.01)
            arrived = [r for r in receiver.requests if r.headers["webhook-id"] in posted]
    return p99([r.at - posted[r.headers["webhook-id"]] for r in arrived])


def p99(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=100)[-1]


async def windows(api: Blackbox, receiver: Receiver, kind: str) -> float:
    """The median of several windows: one disturbance of the machine is no finding."""
    return median([await window(api, receiver, kind) for _ in range(WINDOWS)])


async def test_a_receiver_that_hangs_with_a_backlog_does_not_delay_twenty_others(
    start_server: StartServer, hostile: Receiver, kind: str
) -> None:
    async with blackbox(start_server({"RINGBACK_BREAKER": "on"})) as api:
        for _ in range(HEALTHY):
            await api.subscribe(hostile.url("/healthy"), operationTypes=[kind])
        lane = await api.subscribe(hostile.url("/hang"), eventTypes=["backlog"])
        await window(api, hostile, kind)  # connections and caches are warm from here on
        baseline = await windows(api, hostile, kind)
        for part in range(10):
            await post(api, f"{kind}-backlog-{part}", BACKLOG // 10, "backlog")
        await received(hostile, "/hang", 1)

        beside = await windows(api, hostile, kind)

        waiting = await stats(api, lane)
        assert waiting["deliveries"]["pending"] >= BACKLOG - 64
        assert waiting["deliveries"]["delivering"] <= 64
        print(f"healthy p99: {baseline * 1000:.1f} ms alone, {beside * 1000:.1f} ms beside")  # noqa: T201  a measurement, shown with -s
        assert beside < max(2 * baseline, FLOOR)
