"""Events: producers post them, everybody with a key reads them."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from msgspec import Raw

from service.api import event_parsing
from service.api.event_parsing import EventParser, Posted
from service.api.finding import readable_operation, refuse_ahead
from service.api.routing import Action
from service.api.services import Services
from service.domain import trace
from service.domain.acceptance import Accepted, Verdict
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, RefusalKind, not_found
from service.domain.event import EventIn
from service.domain.operation import Operation, is_end
from service.ports import EventView, Once, Page, Replayed, Span
from service.web import answers, bodies, headers, holding, queries
from service.web.answers import Answer
from service.web.authentication import TICKET
from service.web.calls import Call
from service.web.idempotency import Idempotency
from service.web.paging import Listing
from service.web.problems import Problems

NDJSON: Final = "application/x-ndjson"
_TYPES: Final = (*bodies.JSON_TYPES, NDJSON)
#: Seconds after which a producer that was told to wait may ask again.
_BUSY_RETRY: Final = 5

LOG: Final = Listing("log", 1, {}, dict[str, Any]).also(
    {"after": queries.number, "wait": holding.wait, TICKET: queries.text}
)

_Taken = list[Verdict] | Replayed | Refusal


class Events:
    """Handlers of events."""

    def __init__(self, services: Services, idempotency: Idempotency, told: Problems) -> None:
        self._services = services
        self._idempotency = idempotency
        self._problems = told
        self._parser = EventParser(services.settings.max_event_bytes)

    def actions(self) -> list[Action]:
        """What is possible with events."""
        log, write = "/v1/operations/{id}/events", Scope.EVENTS_WRITE
        return [
            Action("POST", log, write, self.post_to_operation, is_confirmed=True),
            Action("POST", "/v1/events", write, self.post, is_confirmed=True),
            Action("GET", log, Scope.OPERATIONS_READ, self.of_operation, by_ticket=True),
            Action("GET", "/v1/events/{id}", Scope.OPERATIONS_READ, self.get),
        ]

    async def post(self, call: Call) -> Answer | Refusal:
        """Take events of any operations."""
        return await self._post(call, None)

    async def post_to_operation(self, call: Call) -> Answer | Refusal:
        """Take events of one operation."""
        name = call.name()
        return event_parsing.check_operation_id(name) or await self._post(call, name)

    async def get(self, call: Call) -> Answer | Refusal:
        """One event."""
        found = await self._services.reads.event(call.tenant, call.name())
        return not_found("event", call.name()) if found is None else Answer(200, found.body)

    async def of_operation(self, call: Call) -> Answer | Refusal:
        """The log of an operation, oldest event first; waits for the first where that is asked."""
        asked = LOG.read(call.request)
        if isinstance(asked, Refusal):
            return asked
        span, values = asked.span, asked.others
        patience = holding.patience(call.request, values.get("wait"))
        operation = await readable_operation(self._services, call.tenant, call.name())
        if isinstance(operation, Refusal):
            return operation
        after = span.after[0] if span.after else values.get("after", 0)
        found: Sequence[EventView] | Refusal
        found = await self._services.reads.log(operation.key, after, span.limit + 1)
        if not found and patience.seconds and not is_end(operation.status):
            found = refuse_ahead(operation, after) or await self._next(
                call, operation, after, patience.seconds
            )
        if isinstance(found, Refusal):
            return found
        page = _log_page(found, span)
        answer = LOG.answer(call.request, page, _raw_body, self._services.settings.public_url)
        return answers.with_headers(answer, *patience.headers)

    async def _next(
        self, call: Call, operation: Operation, after: int, seconds: float
    ) -> Sequence[EventView] | Refusal:
        """The next events of an operation that is under way; none when none come in time."""
        async with self._services.watch.operation(
            operation, after, call.principal.key_id
        ) as follower:
            if isinstance(follower, Refusal):
                return follower
            async with holding.noticing(call.request.receive, follower.stop):
                return [each.event for each in await follower.next(seconds)]

    async def _post(self, call: Call, operation_id: str | None) -> Answer | Refusal:
        refusal = self._busy()
        if refusal is not None:
            return refusal
        kind = bodies.media_type(call.request, _TYPES)
        if isinstance(kind, Refusal):
            return kind
        body = await bodies.read(call.request)
        if isinstance(body, Refusal):
            return body
        if kind != NDJSON and body.lstrip()[:1] != b"[":
            return await self._post_one(call, body, operation_id)
        parse = self._parser.lines if kind == NDJSON else self._parser.array
        posted = parse(body, operation_id)
        if isinstance(posted, Refusal):
            return posted
        return await self._post_batch(call, body, posted)

    async def _post_one(
        self, call: Call, body: bytes, operation_id: str | None
    ) -> Answer | Refusal:
        event = self._parser.one(body, operation_id)
        if isinstance(event, Refusal):
            return event

        def render(verdicts: list[Verdict]) -> Answer:
            verdict = verdicts[0]
            if isinstance(verdict, Refusal):
                return self._problems.answer(verdict, call.path)
            return answers.of({"data": verdicts}, 202)

        act = self._taking(call, [event])
        return await self._idempotency.run(call, body, act, render, partial(_kept, render))

    async def _post_batch(self, call: Call, body: bytes, posted: list[Posted]) -> Answer | Refusal:
        def render(verdicts: list[Verdict]) -> Answer:
            refused = any(isinstance(verdict, Refusal) for verdict in verdicts)
            pairs = enumerate(zip(posted, verdicts, strict=True))
            data = [self._shown(call, index, each, verdict) for index, (each, verdict) in pairs]
            return answers.of({"data": data}, 207 if refused else 202)

        items = [each.item for each in posted]
        act = self._taking(call, items)
        refused: list[Verdict] = [item for item in items if isinstance(item, Refusal)]
        if len(refused) == len(items):
            # nothing comes of it that could be done twice; a key that is presumed is to be seen
            seen = None if call.principal.unconfirmed is None else await act(None)
            return seen if isinstance(seen, Refusal) else render(refused)
        return await self._idempotency.run(call, body, act, render, partial(_kept, render))

    def _taking(
        self, call: Call, items: list[EventIn | Refusal] | list[EventIn]
    ) -> Callable[[Once | None], Awaitable[_Taken]]:
        traceparent = trace.of_header(headers.first(call.request.scope, b"traceparent"))
        for each in items if traceparent else ():
            if isinstance(each, EventIn) and each.traceparent is None:
                each.traceparent = traceparent
        credential = call.principal.unconfirmed
        return lambda once: self._services.accept.events(call.tenant, items, once, credential)

    def _shown(self, call: Call, index: int, posted: Posted, verdict: Verdict) -> object:
        if isinstance(verdict, Accepted):
            return verdict
        problem = self._problems.document(verdict, call.path)
        named = {} if posted.id is None else {"id": posted.id}
        return {**named, "index": index, "problem": problem}

    def _busy(self) -> Refusal | None:
        most = self._services.settings.max_pending
        if not most or self._services.pending() <= most:
            return None
        return Refusal(
            RefusalKind.UNAVAILABLE,
            f"More than {most} deliveries are waiting, which is more than this service takes on. "
            "Nothing was kept: send it again later.",
            retry_after=_BUSY_RETRY,
        )


def _kept(render: Callable[[list[Verdict]], Answer], verdicts: list[Verdict]) -> Answer | None:
    """The answer to keep: where every event was refused, nothing happened that could be doubled."""
    return render(verdicts) if any(isinstance(each, Accepted) for each in verdicts) else None


def _log_page(found: Sequence[EventView], span: Span) -> Page[EventView]:
    items = found[: span.limit]
    more = len(found) > span.limit and items[-1].sequence is not None
    return Page(items, (items[-1].sequence or 0,) if more else None)


def _raw_body(event: EventView) -> object:
    return Raw(event.body)
