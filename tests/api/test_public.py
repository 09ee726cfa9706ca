"""What anybody may ask: liveness, readiness, metrics."""

import pytest

from service.usecases import observing
from tests.support.api import Api

pytestmark = pytest.mark.anyio


async def metrics(api: Api) -> dict[str, float]:
    answer = await api.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


async def test_a_process_says_that_it_lives_and_is_ready(api: Api) -> None:
    for path in ("/livez", "/readyz"):
        answer = await api.client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_metrics_count_what_was_accepted_and_what_is_open(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a machine that has much else to do is asked anew as well
    monkeypatch.setattr(observing, "_CHEAP", 60.0)
    before = await metrics(api)
    assert before["ringback_deliveries_open"] == 0
    await api.subscribe("http://127.0.0.1:9/hook")
    event = {"id": "e1", "operationId": "op1", "type": "COMPLETED"}
    await api.post("/v1/events", event)
    await api.post("/v1/events", event)  # posted again: counted once
    after = await metrics(api)
    assert after["ringback_events_accepted_total"] == before["ringback_events_accepted_total"] + 1
    assert after["ringback_deliveries_open"] == 1
    assert after["ringback_deliveries_due"] == 1
    assert after["ringback_dead_letters_open"] == 0
