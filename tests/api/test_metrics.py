"""The numbers that Prometheus reads: each moves with what it is about."""

import re
from typing import Final

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from service.domain.outcome import ErrorClass
from service.usecases import observing
from tests.support.api import Api
from tests.support.receiver import Receiver, Reply

pytestmark = pytest.mark.anyio

Sample = tuple[str, frozenset[tuple[str, str]]]
Numbers = dict[Sample, float]

#: Labels that metrics may have, and with how many values at most; a route is one of the API's.
LABELS: Final = {
    "result": 3,
    "error": 8,
    "work": 2,
    "role": 2,
    "status": 5,
    "method": 8,
    "route": 100,
}
#: What tells of the process itself is made by the client library.
OWN: Final = "ringback_"


async def families(api: Api) -> list[Metric]:
    answer = await api.client.get("/metrics")
    assert answer.status_code == 200
    return list(text_string_to_metric_families(answer.text))


@pytest.fixture(autouse=True)
def counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scrape looks for itself, however long that takes here."""
    monkeypatch.setattr(observing, "_CHEAP", 60.0)


async def numbers(api: Api) -> Numbers:
    found = [sample for family in await families(api) for sample in family.samples]
    assert len({(s.name, frozenset(s.labels.items())) for s in found}) == len(found)
    return {(s.name, frozenset(s.labels.items())): s.value for s in found}


def one(numbers: Numbers, name: str, **labels: str) -> float:
    return numbers[f"ringback_{name}", frozenset(labels.items())]


def moved(before: Numbers, after: Numbers, name: str, **labels: str) -> float:
    return one(after, name, **labels) - before.get(
        (f"ringback_{name}", frozenset(labels.items())), 0
    )


async def post(api: Api, count: int = 1) -> None:
    for number in range(count):
        await api.post("/v1/events", {"operationId": f"op{number}", "type": "note"})


async def test_every_metric_says_what_it_is_and_is_named_as_is_usual(api: Api) -> None:
    await post(api)

    for family in await families(api):
        assert family.documentation, family.name
        assert family.type in {"counter", "gauge", "histogram"}, family.name
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", family.name)
        assert not re.search(r"_(ms|milliseconds|minutes|count|sum|total)$", family.name)
        if re.search(r"duration|age|lag", family.name):
            assert family.name.endswith("_seconds")


async def test_labels_are_few_and_tell_of_nobody(api: Api) -> None:
    made = await api.subscribe()
    await post(api)
    for path in ("/", "/v1/nothing", f"/v1/subscriptions/{made['id']}", "/v1/operations/op0"):
        await api.call("GET", path)

    values: dict[str, set[str]] = {}
    for family in await families(api):
        for name, value in (pair for s in family.samples for pair in s.labels.items()):
            if family.name.startswith(OWN) and name not in {"le", "version"}:
                values.setdefault(name, set()).add(value)

    assert values.keys() <= LABELS.keys()
    assert all(len(found) <= LABELS[name] for name, found in values.items())
    assert values["route"] >= {"none", "/v1/subscriptions/{id}", "/v1/operations/{id}"}
    assert not [each for each in values["route"] if made["id"] in each or "op0" in each]


async def test_what_is_delivered_is_counted_and_timed(api: Api, receiver: Receiver) -> None:
    before = await numbers(api)
    await api.subscribe(receiver.url("/"))
    await post(api, 3)
    await api.deliver()
    after = await numbers(api)

    assert moved(before, after, "events_accepted_total") == 3
    assert moved(before, after, "attempts_total", result="delivered") == 3
    assert moved(before, after, "attempts_total", result="failed") == 0
    for name in ("attempt_duration", "first_attempt_lag", "delivery_duration"):
        assert moved(before, after, f"{name}_seconds_count") == 3, name
        assert 0 < moved(before, after, f"{name}_seconds_sum") < 60, name
        assert one(after, f"{name}_seconds_bucket", le="+Inf") == one(
            after, f"{name}_seconds_count"
        )
    assert moved(before, after, "commit_batch_size_sum", work="accept") == 3
    assert moved(before, after, "commit_batch_size_sum", work="settle") == 3
    assert one(after, "slots_free") == 768
    assert one(after, "sends_in_flight") == 0
    assert one(after, "deliveries_open") == 0


async def test_what_fails_is_counted_by_error(api: Api) -> None:
    before = await numbers(api)
    async with Receiver(lambda _: Reply(503)) as broken:
        await api.subscribe(broken.url("/"), retrySchedule=[0, 3600])
        await api.subscribe(broken.url("/"), retrySchedule=[0])
        await post(api)
        await api.deliver()
    await api.subscribe("http://127.0.0.1:9/", retrySchedule=[0])
    await post(api)
    await api.deliver()
    after = await numbers(api)

    assert moved(before, after, "attempts_total", result="failed") >= 1
    assert moved(before, after, "attempts_total", result="dead") >= 2
    assert moved(before, after, "attempt_errors_total", error="http_status") >= 2
    assert moved(before, after, "attempt_errors_total", error="connect") >= 1
    assert moved(before, after, "delivery_duration_seconds_count") == 0
    assert one(after, "dead_letters_open") >= 2
    assert {f"{each.value}" for each in ErrorClass} == {
        dict(labels)["error"] for name, labels in after if name.endswith("attempt_errors_total")
    }


async def test_replays_do_not_count_as_slow_deliveries(api: Api) -> None:
    async with Receiver(lambda _: Reply(500)) as broken:
        await api.subscribe(broken.url("/"), retrySchedule=[0])
        await post(api)
        await api.deliver()
        before = await numbers(api)
        broken.script = lambda _: Reply()
        (letter,) = (await api.get("/v1/dead-letters"))["data"]
        await api.post(f"/v1/dead-letters/{letter['id']}/replay")
        await api.deliver()
    after = await numbers(api)

    assert moved(before, after, "attempts_total", result="delivered") == 1
    assert moved(before, after, "delivery_duration_seconds_count") == 0
    assert moved(before, after, "first_attempt_lag_seconds_count") == 0


async def test_what_waits_and_what_is_held_back_are_told_apart(api: Api) -> None:
    held = await api.subscribe()
    await api.post(f"/v1/subscriptions/{held['id']}/pause", status=200)
    await post(api)
    await api.sql("UPDATE delivery_queue SET due_at = due_at - 90000")
    paused = await numbers(api)
    await api.subscribe("http://127.0.0.1:9/")
    await post(api)
    await api.sql("UPDATE delivery_queue SET due_at = due_at - 90000")
    free = await numbers(api)

    assert one(paused, "deliveries_due") == 1
    assert one(paused, "oldest_due_age_seconds") >= 90
    assert one(paused, "queue_age_seconds") == 0
    assert 90 <= one(free, "queue_age_seconds") < one(free, "oldest_due_age_seconds")


async def test_an_open_circuit_is_counted(api: Api) -> None:
    async with Receiver(lambda _: Reply(500)) as broken:
        await api.subscribe(broken.url("/"))
        await post(api, 12)
        await api.deliver()

    await api.opened.stores.deliver.flush()

    assert one(await numbers(api), "circuits_open") == 1


async def test_expired_leases_and_late_results_are_counted(api: Api) -> None:
    async with Receiver() as slow:
        await api.subscribe(slow.url("/"))
        slow.script = lambda _: Reply(delay=0.5)
        await post(api)
        await api.opened.deliver.serve(await api.opened.stores.sweep.due_lanes())
        assert one(await numbers(api), "sends_in_flight") == 1
        assert one(await numbers(api), "slots_free") == 767
        await api.sql("UPDATE delivery_queue SET due_at = 2 WHERE token IS NOT NULL")
        await api.opened.sweep.tick()
        await api.deliver()
    after = await numbers(api)

    assert one(after, "leases_expired_total") == 1
    assert one(after, "late_results_total") == 1


async def test_answers_are_timed_by_route_and_status(api: Api) -> None:
    before = await numbers(api)
    await api.get("/v1/operations")
    await api.get("/v1/operations/none", status=404)
    await api.call("GET", "/v1/invented/by/anybody")
    await api.call("INVENTED", "/v1/invented/by/anybody")
    await post(api)
    after = await numbers(api)

    name = "http_request_duration_seconds_count"
    for method, route, status in (
        ("GET", "/v1/operations", "2xx"),
        ("GET", "/v1/operations/{id}", "4xx"),
        ("GET", "none", "4xx"),
        ("none", "none", "4xx"),
        ("POST", "/v1/events", "2xx"),
    ):
        labels = {"method": method, "route": route, "status": status}
        assert moved(before, after, name, **labels) == 1, labels
