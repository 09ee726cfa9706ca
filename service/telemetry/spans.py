"""The spans themselves, each around a port: what is inside knows nothing of it.

Attributes are OpenTelemetry's semantic conventions for HTTP, and our own by ``ringback.*``.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from service.domain import trace, urls
from service.domain.acceptance import Accepted
from service.domain.certificates import TlsIdentity
from service.domain.errors import Refusal
from service.domain.outcome import Failed, Outcome
from service.domain.request import OutboundRequest
from service.domain.trace import Place
from service.ports import AcceptRequest, AcceptResult, AcceptStore, Foretell, Sender
from service.telemetry.tracing import Tracing

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADER: Final = b"traceparent"
_ROUTES: Final = (
    (re.compile(r"/v1/events"), "/v1/events"),
    (re.compile(r"/v1/operations/[^/]+/events"), "/v1/operations/{id}/events"),
)
_MOST_LINKS: Final = 100
_SERVER_ERRORS: Final = 500
_PORTS: Final = {"https": 443, "http": 80}
#: The header of an attempt that says what, and the attribute that it becomes.
_NAMED: Final = {
    "webhook-id": "ringback.event.id",
    "x-webhook-event": "ringback.event.type",
    "x-operation-id": "ringback.operation.id",
    "x-webhook-delivery": "ringback.delivery.id",
}


class TracedApp:
    """An application with a span for each request that posts events; others go by."""

    def __init__(self, app: App, tracing: Tracing) -> None:
        self._app = app
        self._tracer = tracing.tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what it posts is of its span."""
        route = _route(scope)
        if route is None:
            await self._app(scope, receive, send)
            return
        headers: list[tuple[bytes, bytes]] = list(scope["headers"])
        given = next((value.decode("latin-1") for name, value in headers if name == _HEADER), None)
        span = self._tracer.start_span(
            f"POST {route}",
            context=_inside(trace.of_header(given)),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": "POST",
                "http.route": route,
                "url.path": scope["path"],
                "url.scheme": scope.get("scheme", "http"),
            },
        )
        inner = [each for each in headers if each[0] != _HEADER]
        inner.append((_HEADER, str(_place(span)).encode()))

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                _note_answer(span, message["status"])
            await send(message)

        try:
            # answers come as messages that tell of their beginning
            await self._app({**scope, "headers": inner, "extensions": {}}, receive, noted)
        finally:
            span.end()


class TracedAccept:
    """See :class:`service.ports.AcceptStore`; a span for each request, until its commit."""

    def __init__(self, store: AcceptStore, tracing: Tracing) -> None:
        self._store = store
        self._tracer = tracing.tracer

    async def accept(
        self,
        group: Sequence[AcceptRequest],
        *,
        bounded: bool = True,
        foretell: Foretell | None = None,
    ) -> list[AcceptResult]:
        """Commit a whole group."""
        spans = [self._begun(request) for request in group]
        try:
            results = await self._store.accept(group, bounded=bounded, foretell=foretell)
        except BaseException as error:
            for begun in filter(None, spans):
                _fail(begun, type(error).__name__)
            raise
        else:
            for span, result in zip(spans, results, strict=True):
                _count(span, result)
            return results
        finally:
            for begun in filter(None, spans):
                begun.end()

    async def pending(self) -> int:
        """How many deliveries are open, over all tenants."""
        return await self._store.pending()

    def _begun(self, request: AcceptRequest) -> Span | None:
        """The span of a request, if it is of a trace: what Ringback itself posts is of none."""
        sound = [each for each in request.events if not isinstance(each, Refusal)]
        traced = list(dict.fromkeys(each.traceparent for each in sound if each.traceparent))
        if not traced:
            return None
        return self._tracer.start_span(
            "enqueue events",
            context=_inside(traced[0]),
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.system": "ringback",
                "messaging.operation.name": "enqueue",
                "messaging.operation.type": "send",
                "messaging.batch.message_count": len(sound),
                "ringback.tenant.id": request.tenant_id,
            },
            links=[Link(_context(trace.place_of(each))) for each in traced[1:_MOST_LINKS]],
        )


class TracedSender:
    """See :class:`service.ports.Sender`; a span for each attempt, the parent of the receiver's."""

    def __init__(self, sender: Sender, tracing: Tracing) -> None:
        self._sender = sender
        self._tracer = tracing.tracer
        self._ids = tracing.ids

    async def send(self, request: OutboundRequest) -> Outcome:
        """Send one attempt."""
        span = self._begun(request)
        try:
            outcome = await self._sender.send(request)
            _note_outcome(span, outcome)
            return outcome
        finally:
            span.end()

    def check_url(self, url: str) -> str | None:
        """Why this URL may not be called."""
        return self._sender.check_url(url)

    def check_identity(self, identity: TlsIdentity) -> str | None:
        """Why TLS takes no such certificates."""
        return self._sender.check_identity(identity)

    def _begun(self, request: OutboundRequest) -> Span:
        headers = dict(request.headers)
        self._ids.told = trace.place_of(headers["traceparent"])
        try:
            return self._tracer.start_span(
                request.method,
                context=_inside(trace.of_body(request.body)),
                kind=SpanKind.CLIENT,
                attributes=_of_request(request.url, headers),
            )
        finally:
            self._ids.told = None


def _route(scope: Scope) -> str | None:
    """The route by which events are posted, if they are."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    return next((route for path, route in _ROUTES if path.fullmatch(scope["path"])), None)


def _inside(traceparent: str | None) -> Context:
    """Where a span begins: in that one, or in a trace of its own."""
    if traceparent is None:
        return Context()
    parent = NonRecordingSpan(_context(trace.place_of(traceparent)))
    return set_span_in_context(parent, Context())


def _context(place: Place) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if place.is_sampled else TraceFlags.DEFAULT)
    return SpanContext(place.trace, place.span, is_remote=True, trace_flags=flags)


def _place(span: Span) -> Place:
    found = span.get_span_context()
    return Place(found.trace_id, found.span_id, found.trace_flags.sampled)


def _of_request(url: str, headers: dict[str, str]) -> dict[str, AttributeValue]:
    """What is known of an attempt before it is made; what may be secret in an address is not."""
    parts = urlsplit(url)
    found: dict[str, AttributeValue] = {
        "http.request.method": "POST",
        "server.address": parts.hostname or "",
        "server.port": parts.port or _PORTS[parts.scheme],
        "url.full": urls.told(url, "REDACTED"),
    }
    found |= {name: headers[header] for header, name in _NAMED.items() if header in headers}
    again = int(headers["x-webhook-attempt"]) - 1
    return {**found, "http.request.resend_count": again} if again else found


def _note_outcome(span: Span, outcome: Outcome) -> None:
    if isinstance(outcome, Failed):
        _fail(span, outcome.error.value)
        return
    span.set_attribute("http.response.status_code", outcome.status)
    if not outcome.succeeded:
        _fail(span, str(outcome.status))


def _note_answer(span: Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= _SERVER_ERRORS:
        _fail(span, str(status))


def _count(span: Span | None, result: AcceptResult) -> None:
    if span is None or not isinstance(result.answer, list):
        return
    accepted = sum(isinstance(each, Accepted) for each in result.answer)
    span.set_attribute("ringback.events.accepted", accepted)
    span.set_attribute("ringback.events.refused", len(result.answer) - accepted)


def _fail(span: Span, error: str) -> None:
    span.set_attribute("error.type", error)
    span.set_status(Status(StatusCode.ERROR))
