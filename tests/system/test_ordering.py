"""Ordered subscriptions from outside: in sequence within an operation, whatever comes between."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from tests.support.blackbox import Blackbox, blackbox, received
from tests.support.receiver import Received, Receiver, Reply
from tests.system.conftest import StartServer

OPERATIONS, EVENTS = 10, 20
#: Seconds before each attempt: enough attempts that nothing dies of bad luck.
SCHEDULE = [0, *[0.02] * 39]


def key(request: Received) -> tuple[str, int]:
    """Which event of which operation a request carries."""
    return request.headers["x-operation-id"], int(request.headers["x-operation-sequence"])


class Moody:
    """A receiver that fails at random, and notes what it said yes to."""

    def __init__(self, seed: int, delay: float = 0.0) -> None:
        self.chance = random.Random(seed)  # noqa: S311  any will do
        self.delay = delay
        self.taken: list[tuple[str, int]] = []

    def __call__(self, request: Received) -> Reply:
        if self.chance.random() < 0.3:
            return Reply(self.chance.choice([500, 503]), delay=self.delay)
        self.taken.append(key(request))
        return Reply(delay=self.delay)


def check_order(requests: Iterable[Received], taken: Sequence[tuple[str, int]]) -> None:
    """Within an operation no event is tried before all earlier ones were taken."""
    over = Counter[str]()  # the last event of each operation that was taken
    said = iter(taken)
    assert len(set(taken)) == len(taken)
    for operation, sequence in said:
        over[operation] += 1
        assert sequence == over[operation], (operation, sequence)
    seen: dict[str, list[int]] = {}
    for request in requests:
        operation, sequence = key(request)
        seen.setdefault(operation, []).append(sequence)
    for sequences in seen.values():
        assert all(later - earlier in (0, 1) for earlier, later in pairwise(sequences)), sequences
        assert sequences[0] == 1


async def post_all(api: Blackbox, prefix: str, kind: str, count: int = EVENTS) -> None:
    """``count`` events to each operation, in batches that mix operations."""
    for start in range(0, count, 5):
        batch = [
            {"operationId": f"{prefix}-{n}", "operationType": kind, "type": "step"}
            for _ in range(start, min(start + 5, count))
            for n in range(OPERATIONS)
        ]
        await api.post("/v1/events", batch)


async def test_in_sequence_however_the_receiver_fails(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    moody, slow = Moody(seed=3), Moody(seed=4, delay=0.01)
    receiver.script = lambda r: (moody if r.path == "/moody" else slow)(r)
    members: dict[str, Any] = {"operationTypes": [kind], "retrySchedule": SCHEDULE}
    made = [
        await api.subscribe(receiver.url(path), ordering="operation", **members)
        for path in ("/moody", "/slow")
    ]
    assert [each["ordering"] for each in made] == ["operation"] * 2

    await post_all(api, kind, kind)
    for each in made:
        await api.deliveries(each, OPERATIONS * EVENTS, "delivered", timeout=60)

    for path, mood in (("/moody", moody), ("/slow", slow)):
        requests = [request for request in receiver.requests if request.path == path]
        assert len(requests) > OPERATIONS * EVENTS
        assert len(mood.taken) == OPERATIONS * EVENTS
        check_order(requests, mood.taken)


async def test_operations_do_not_wait_for_one_another(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    receiver.script = lambda r: Reply(500 if r.headers["x-operation-id"].endswith("-0") else 200)
    subscription = await api.subscribe(
        receiver.url("/"), operationTypes=[kind], ordering="operation", retrySchedule=[0, 3600]
    )
    await post_all(api, kind, kind, count=5)

    await api.deliveries(subscription, (OPERATIONS - 1) * 5, "delivered")
    stuck = await api.deliveries(subscription, 5, "pending")
    assert {each["operationId"] for each in stuck} == {f"{kind}-0"}
    *others, first = stuck
    assert [each["attemptCount"] for each in stuck] == [0, 0, 0, 0, 1]
    assert "nextAttemptAt" in first
    assert all("nextAttemptAt" not in each for each in others)


async def test_what_is_cancelled_or_dead_makes_room(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    answers = {"hangs": Reply(delay=60), "dies": Reply(500), "ends": Reply()}
    receiver.script = lambda r: answers[r.headers["x-webhook-event"]]
    subscription = await api.subscribe(
        receiver.url("/"), operationTypes=[kind], ordering="operation", retrySchedule=[0]
    )
    events = [{"operationId": "op-" + kind, "type": each} for each in answers]
    await api.post("/v1/events", [{"operationType": kind, **each} for each in events])
    await receiver.wait_for(1)
    (first,) = await api.deliveries(subscription, 1, "delivering")
    await api.post(f"/v1/deliveries/{first['id']}/cancel", None, 200)
    await api.deliveries(subscription, 1, "delivered")

    assert [request.headers["x-webhook-event"] for request in receiver.requests] == list(answers)
    (dead,) = await api.deliveries(subscription, 1, "dead")
    assert dead["eventType"] == "dies"


async def test_a_chain_flows_as_fast_as_it_is_answered(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    subscription = await api.subscribe(
        receiver.url("/"), operationTypes=[kind], ordering="operation"
    )
    event = {"operationId": "op-" + kind, "operationType": kind, "type": "step"}
    await api.post("/v1/events", [event] * 50)

    await api.deliveries(subscription, 50, "delivered")
    times = [request.at for request in receiver.requests]
    check_order(receiver.requests, [key(request) for request in receiver.requests])
    assert times[-1] - times[0] < 10  # the sweep alone would take 50 s


async def test_a_lane_that_is_no_longer_ordered_lets_all_go(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    receiver.script = lambda _: Reply(500)
    subscription = await api.subscribe(
        receiver.url("/"), operationTypes=[kind], ordering="operation", retrySchedule=[0, 3600]
    )
    event = {"operationId": "op-" + kind, "operationType": kind, "type": "step"}
    await api.post("/v1/events", [event] * 10)
    await receiver.wait_for(1)
    path = f"/v1/subscriptions/{subscription['id']}"
    answer = await api.http.patch(path, json={"ordering": "none"})
    assert answer.json()["ordering"] == "none"

    await receiver.wait_for(10)
    assert {key(request)[1] for request in receiver.requests} == set(range(1, 11))


async def test_in_sequence_through_a_crash(
    start_server: StartServer, receiver: Receiver, kind: str
) -> None:
    server = start_server()
    moody = Moody(seed=5, delay=0.005)
    receiver.script = moody
    async with blackbox(server) as api:
        subscription = await api.subscribe(
            receiver.url("/"), ordering="operation", retrySchedule=SCHEDULE
        )
        await post_all(api, kind, kind)
        for share in (40, 100):
            await received(receiver, "/", len(receiver.requests) + share)
            server.restart()
        await api.deliveries(subscription, OPERATIONS * EVENTS, "delivered", timeout=60)

    # what was under way at a crash is sent again, and nothing else was sent before it
    first_time = list(dict.fromkeys(moody.taken))
    assert len(first_time) == OPERATIONS * EVENTS
    check_order(receiver.requests, first_time)
    assert len(moody.taken) - len(first_time) <= 2 * OPERATIONS
