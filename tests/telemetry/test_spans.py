"""Spans around what events meet, as they are exported; in memory, without a network."""

from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` is not installed")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from service.domain import trace
from service.domain.acceptance import Accepted
from service.domain.certificates import TlsIdentity
from service.domain.errors import Fault, invalid
from service.domain.event import EventIn, EventOut, encode
from service.domain.outcome import ErrorClass, Failed, Outcome, Responded, Timing
from service.domain.request import OutboundRequest
from service.ports import AcceptRequest, AcceptResult, Foretell, StoreUnavailableError
from service.telemetry.spans import TracedAccept, TracedApp, TracedSender
from service.telemetry.tracing import Ids, Tracing, is_named

pytestmark = pytest.mark.anyio

TRACE, SPAN, OTHER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
PRODUCER = f"00-{TRACE}-{SPAN}-01"
TOLD = f"00-{TRACE}-{OTHER}-01"


class Recorded:
    """A tracing whose spans are kept."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        ids = Ids()
        provider = TracerProvider(id_generator=ids, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(provider, self.exporter, ids, "1")

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    @property
    def only(self) -> ReadableSpan:
        (span,) = self.spans
        return span


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def ids(span: ReadableSpan) -> tuple[str, str, str | None]:
    """The trace, the span and its parent."""
    parent = f"{span.parent.span_id:016x}" if span.parent else None
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", parent


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


# --- attempts


class Answering:
    """A sender to whom all receivers answer the same."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.sent: list[OutboundRequest] = []

    async def send(self, request: OutboundRequest) -> Outcome:
        self.sent.append(request)
        return self.outcome

    def check_url(self, url: str) -> str | None:
        return f"not {url}"

    def check_identity(self, _identity: TlsIdentity) -> str | None:
        return "no"


def attempt(
    traceparent: str | None, number: int = 1, url: str = "https://a.example/h"
) -> OutboundRequest:
    event = EventOut(
        id="evt_1", type="note", timestamp="2025-01-01T00:00:00.000Z", traceparent=traceparent
    )
    headers = {
        "webhook-id": "evt_1",
        "x-webhook-event": "note",
        "x-webhook-delivery": "dlv_1",
        "x-webhook-attempt": str(number),
        "traceparent": TOLD,
    }
    return OutboundRequest(url, tuple(headers.items()), encode(event), 20.0)


def responded(status: int) -> Responded:
    return Responded(status, (), b"", body_cut=False, timing=Timing(1.0))


async def test_an_attempt_is_the_span_that_its_receiver_was_told(recorded: Recorded) -> None:
    sender = Answering(responded(204))
    sent = attempt(PRODUCER)

    outcome = await TracedSender(sender, recorded.tracing).send(sent)

    assert outcome is sender.outcome
    assert sender.sent == [sent]  # not a byte is changed
    span = recorded.only
    assert ids(span) == (TRACE, OTHER, SPAN)
    assert (span.kind, span.name) == (SpanKind.CLIENT, "POST")
    assert span.status.status_code is StatusCode.UNSET
    assert attributes(span) == {
        "http.request.method": "POST",
        "server.address": "a.example",
        "server.port": 443,
        "url.full": "https://a.example/h",
        "http.response.status_code": 204,
        "ringback.event.id": "evt_1",
        "ringback.event.type": "note",
        "ringback.delivery.id": "dlv_1",
    }


async def test_an_event_of_no_trace_begins_one_which_its_receiver_was_told(
    recorded: Recorded,
) -> None:
    await TracedSender(Answering(responded(204)), recorded.tracing).send(attempt(None))

    assert ids(recorded.only) == (TRACE, OTHER, None)
    assert recorded.tracing.ids.generate_span_id() != int(OTHER, 16)


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (responded(503), "503"),
        (responded(302), "302"),
        (Failed(ErrorClass.TIMEOUT, "too slow", Timing(1.0)), "timeout"),
    ],
)
async def test_what_failed_says_why_and_how_often(
    recorded: Recorded, outcome: Outcome, error: str
) -> None:
    await TracedSender(Answering(outcome), recorded.tracing).send(attempt(PRODUCER, 3))

    found = attributes(recorded.only)
    assert (found["error.type"], found["http.request.resend_count"]) == (error, 2)
    assert recorded.only.status.status_code is StatusCode.ERROR
    assert ("http.response.status_code" in found) == isinstance(outcome, Responded)


async def test_what_may_be_secret_in_an_address_is_left_out(recorded: Recorded) -> None:
    drawn = "d3b07384d113edec49eaa6238ad5ff00"
    url = f"http://me:secret@[::1]:9000/hook/{drawn}?token=secret"
    await TracedSender(Answering(responded(204)), recorded.tracing).send(attempt(PRODUCER, 1, url))

    found = attributes(recorded.only)
    assert found["url.full"] == "http://[::1]:9000/hook/REDACTED?REDACTED"
    assert (found["server.address"], found["server.port"]) == ("::1", 9000)
    assert "secret" not in str(found)
    assert drawn not in str(found)


def test_the_other_questions_go_through() -> None:
    sender = TracedSender(Answering(responded(204)), Recorded().tracing)

    assert sender.check_url("x") == "not x"
    assert sender.check_identity(TlsIdentity()) == "no"


# --- commits


class Keeping:
    """A store that takes everything that is no refusal, if it takes anything."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    async def accept(
        self,
        group: Sequence[AcceptRequest],
        *,
        bounded: bool = True,
        foretell: Foretell | None = None,
    ) -> list[AcceptResult]:
        assert bounded
        if foretell is not None:
            foretell(frozenset({7}))
        if self.error is not None:
            raise self.error
        verdict = Accepted("evt_1", "op", 1, "PENDING")
        return [
            AcceptResult([verdict if isinstance(e, EventIn) else e for e in request.events])
            for request in group
        ]

    async def pending(self) -> int:
        return 7


def posted(*traces: str | None) -> AcceptRequest:
    made = [EventIn(type="note", operation_id="op", traceparent=each) for each in traces]
    return AcceptRequest("acme", [*made, invalid(Fault("/type", "is required"))])


async def test_each_request_of_a_group_has_a_span_in_its_own_trace(recorded: Recorded) -> None:
    other = f"00-{'1' * 32}-{'2' * 16}-00"
    store = TracedAccept(Keeping(), recorded.tracing)
    group, foretold = [posted(PRODUCER, PRODUCER, TOLD), posted(None), posted(other)], set[int]()
    results = await store.accept(group, foretell=foretold.update)

    assert len(results) == 3
    assert foretold == {7}
    span = recorded.only  # of those without a trace there is none; one is not to be sampled
    assert ids(span)[0::2] == (TRACE, SPAN)
    assert (span.kind, span.name) == (SpanKind.PRODUCER, "enqueue events")
    assert [f"{link.context.span_id:016x}" for link in span.links] == [OTHER]
    found = attributes(span)
    assert found["messaging.batch.message_count"] == found["ringback.events.accepted"] == 3
    assert (found["ringback.events.refused"], found["ringback.tenant.id"]) == (1, "acme")
    assert await store.pending() == 7


async def test_a_commit_that_failed_says_so(recorded: Recorded) -> None:
    store = TracedAccept(Keeping(StoreUnavailableError("gone")), recorded.tracing)

    with pytest.raises(StoreUnavailableError):
        await store.accept([posted(PRODUCER)])
    assert attributes(recorded.only)["error.type"] == "StoreUnavailableError"
    assert recorded.only.status.status_code is StatusCode.ERROR


# --- requests


async def asked(
    recorded: Recorded, path: str, header: str | None, *, method: str = "POST", status: int = 202
) -> dict[bytes, bytes]:
    """The headers as the application got them."""
    seen: dict[bytes, bytes] = {}

    async def app(scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401  ASGI's own
        seen.update(scope["headers"])
        await send({"type": "http.response.start", "status": status, "headers": []})

    async def nothing(*_: object) -> Any:  # noqa: ANN401  ASGI's own
        return {}

    given = [] if header is None else [(b"traceparent", header.encode())]
    scope = {"type": "http", "method": method, "path": path, "headers": [(b"a", b"1"), *given]}
    await TracedApp(app, recorded.tracing)(scope, nothing, nothing)
    assert scope["headers"] == [(b"a", b"1"), *given]
    return seen


@pytest.mark.parametrize("path", ["/v1/events", "/v1/operations/op-1/events"])
async def test_what_a_request_posts_is_of_its_span(recorded: Recorded, path: str) -> None:
    seen = await asked(recorded, path, PRODUCER)

    span = recorded.only
    own_trace, own, parent = ids(span)
    assert (own_trace, parent, span.kind) == (TRACE, SPAN, SpanKind.SERVER)
    assert trace.of_header(seen[b"traceparent"].decode()) == f"00-{TRACE}-{own}-01"
    assert seen[b"a"] == b"1"
    found = attributes(span)
    assert found["http.route"] in {"/v1/events", "/v1/operations/{id}/events"}
    assert (found["url.path"], found["http.response.status_code"]) == (path, 202)


async def test_a_request_of_no_trace_begins_one(recorded: Recorded) -> None:
    seen = await asked(recorded, "/v1/events", "nonsense", status=503)

    own_trace, own, parent = ids(recorded.only)
    assert parent is None
    assert seen[b"traceparent"].decode() == f"00-{own_trace}-{own}-01"
    assert attributes(recorded.only)["error.type"] == "503"


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/events"), ("POST", "/v1/subscriptions")])
async def test_other_requests_go_by(recorded: Recorded, method: str, path: str) -> None:
    assert b"traceparent" not in await asked(recorded, path, None, method=method)
    assert recorded.spans == ()


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "hooks"}, True),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=b,service.name=hooks"}, True),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=b"}, False),
    ],
)
def test_a_name_of_ones_own_is_kept(environ: dict[str, str], *, named: bool) -> None:
    assert is_named(environ) == named
