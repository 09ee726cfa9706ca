"""The trace of an event, from its producer through its row to each attempt's receiver."""

import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.blackbox import Blackbox, blackbox
from tests.support.receiver import Received, Receiver, Reply
from tests.support.server import ROOT
from tests.system.conftest import StartServer

pytestmark = pytest.mark.anyio

TRACE, SPAN, OTHER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
PRODUCER = f"00-{TRACE}-{SPAN}-01"
GIVEN = {"traceparent": PRODUCER, "tracestate": "vendor=secret", "baggage": "user=secret"}
HAS_EXTRA = find_spec("opentelemetry") is not None


def places(requests: list[Received]) -> list[list[str]]:
    """Trace, span and flags that each request was sent with."""
    return [request.headers["traceparent"].split("-")[1:] for request in requests]


async def post(api: Blackbox, operation: str, headers: dict[str, str], **members: object) -> Any:  # noqa: ANN401  any JSON
    body = {"operationId": operation, "type": "STARTED", **members}
    return await api.post("/v1/events", body, headers=headers)


async def test_every_attempt_is_a_new_span_of_the_producers_trace(
    api: Blackbox, receiver: Receiver
) -> None:
    answers = iter([Reply(500), Reply(204)])
    receiver.script = lambda _: next(answers)
    await api.subscribe(receiver.url(), operationTypes=["traced"])
    (posted,) = (await post(api, "tr-1", GIVEN, operationType="traced"))["data"]

    requests = await receiver.wait_for(2)
    (first, second) = places(requests)
    assert first[0::2] == second[0::2] == [TRACE, "01"]
    assert len({first[1], second[1], SPAN}) == 3
    event = await api.get(f"/v1/events/{posted['id']}")
    assert event["traceparent"] == PRODUCER
    assert b"secret" not in requests[0].body
    assert {"tracestate", "baggage"} & requests[0].headers.keys() == set()


async def test_an_event_of_another_span_than_its_request_says_so_itself(
    api: Blackbox, receiver: Receiver
) -> None:
    own = f"00-{'1' * 32}-{OTHER}-00"
    await api.subscribe(receiver.url(), operationTypes=["own"], payload="thin")
    events = [
        {"operationId": "own-1", "type": "STARTED", "operationType": "own", "traceparent": own},
        {"operationId": "own-2", "type": "STARTED", "operationType": "own"},
    ]
    await api.post("/v1/events", events, headers=GIVEN)

    found = {
        request.headers["x-operation-id"]: request.headers["traceparent"].split("-")[1::2]
        for request in await receiver.wait_for(2)
    }
    assert found == {"own-1": ["1" * 32, "00"], "own-2": [TRACE, "01"]}


async def test_what_is_no_trace_is_as_if_it_were_not_there_but_for_a_member(
    api: Blackbox, receiver: Receiver
) -> None:
    await api.subscribe(receiver.url(), operationTypes=["none"])
    (posted,) = (await post(api, "no-1", {"traceparent": "00-0-0-00"}, operationType="none"))[
        "data"
    ]
    refused = await api.http.post(
        "/v1/events", json={"operationId": "no-2", "type": "STARTED", "traceparent": "00-0-0-00"}
    )

    assert refused.status_code == 422
    assert [each["pointer"] for each in refused.json()["errors"]] == ["/traceparent"]
    assert "traceparent" not in await api.get(f"/v1/events/{posted['id']}")
    (request,) = await receiver.wait_for(1)
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", request.headers["traceparent"])


# --- spans


class Collector(ThreadingHTTPServer):
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Takes)
        self.paths: list[str] = []
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> dict[str, list[Any]]:
        """All spans so far, by the kind that their names tell; and their resources."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415  of the extra
            ExportTraceServiceRequest,
        )

        found: dict[str, list[Any]] = {"resources": []}
        for body in self.bodies:
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                found["resources"].append(group.resource)
                for scope in group.scope_spans:
                    for span in scope.spans:
                        found.setdefault(span.name, []).append(span)
        return found


class _Takes(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.paths.append(self.path)
        self.server.bodies.append(body)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def attributes(span: Any) -> dict[str, Any]:  # noqa: ANN401  protobuf's own
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes
    }


@pytest.mark.skipif(not HAS_EXTRA, reason="the extra `otel` is not installed")
async def test_spans_of_an_event_hang_together(
    start_server: StartServer, receiver: Receiver, collector: Collector
) -> None:
    answers = iter([Reply(500), Reply(204)])
    receiver.script = lambda _: next(answers)
    server = start_server(
        {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "RINGBACK_RETRY_SCHEDULE": "0,0.1"}
    )
    async with blackbox(server) as api:
        await api.subscribe(f"{receiver.url('/hook')}?token=secret")
        await post(api, "op-1", GIVEN)
        requests = await receiver.wait_for(2)
        api.made.clear()
    assert server.stop() == 0  # which exports what is left

    found = collector.spans()
    assert set(collector.paths) == {"/v1/traces"}
    (served,), (enqueued,) = found["POST /v1/events"], found["enqueue events"]
    tries = sorted(found["POST"], key=lambda span: span.start_time_unix_nano)
    assert {span.trace_id.hex() for span in (served, enqueued, *tries)} == {TRACE}
    assert served.parent_span_id.hex() == SPAN
    assert {span.parent_span_id for span in (enqueued, *tries)} == {served.span_id}
    assert [place[1] for place in places(requests)] == [span.span_id.hex() for span in tries]
    assert attributes(served)["http.response.status_code"] == 202
    assert [attributes(each)["http.response.status_code"] for each in tries] == [500, 204]
    assert [attributes(each).get("http.request.resend_count") for each in tries] == [None, 1]
    assert tries[0].status.code == 2  # an error
    named = {each.key: each.value.string_value for each in found["resources"][0].attributes}
    assert named["service.name"] == "ringback"
    assert not any(b"secret" in body for body in collector.bodies)


@pytest.mark.skipif(not HAS_EXTRA, reason="the extra `otel` is not installed")
async def test_a_collector_that_is_away_delays_nothing(
    start_server: StartServer, receiver: Receiver
) -> None:
    server = start_server({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    async with blackbox(server) as api:
        await api.subscribe(receiver.url())
        await post(api, "op-1", {})
        await receiver.wait_for(1)
        api.made.clear()
    begun = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begun < 15


async def test_without_the_extra_it_serves_and_says_that_there_are_no_traces(
    start_server: StartServer, receiver: Receiver, tmp_path: Path
) -> None:
    fake = tmp_path / "without" / "opentelemetry"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("raise ImportError(name='opentelemetry')\n")
    path = f"{fake.parent}:{ROOT}"
    server = start_server({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": path})
    async with blackbox(server) as api:
        await api.subscribe(receiver.url())
        await post(api, "op-1", GIVEN)
        (request,) = await receiver.wait_for(1)
        api.made.clear()
    assert request.headers["traceparent"].split("-")[1] == TRACE
    assert server.stop() == 0
    assert "There will be no traces" in server.output
    assert "pip install '.[otel]'" in server.output
