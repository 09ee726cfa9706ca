"""An operation as it happens, by Server-Sent Events; and tickets for those who send no headers."""

from functools import partial
from typing import Final

import msgspec

from service.api.event_names import ends, event_name
from service.api.fields import Id
from service.api.finding import is_over, readable_operation, refuse_ahead
from service.api.reading import Body, body_of
from service.api.routing import Action
from service.api.services import Services
from service.domain import times
from service.domain.api_keys import Scope
from service.domain.errors import Fault, Refusal, RefusalKind, invalid
from service.ports import Once, Replayed
from service.usecases.following import Followed
from service.usecases.tickets import Issued
from service.web import answers, queries
from service.web.answers import Answer
from service.web.authentication import TICKET
from service.web.calls import Call, Streamed
from service.web.idempotency import Idempotency
from service.web.problems import Problems
from service.web.streams import EventStream, View, message

_LAST_EVENT_ID: Final = "last-event-id"
_KIND: Final = "operation"
#: What may stand in the query of a stream.
WHERE: Final = {"after": queries.number, TICKET: queries.text}


class TicketBody(Body):
    """What a ticket is for."""

    operation_id: Id | None = None


class TicketOut(msgspec.Struct, frozen=True, rename="camel"):
    """A ticket, until when it must be used first, and until when it is good."""

    ticket: str
    expires_at: str
    reconnect_until: str


class Following:
    """Handlers of streams and tickets."""

    def __init__(self, services: Services, idempotency: Idempotency, told: Problems) -> None:
        self._services = services
        self._idempotency = idempotency
        self._problems = told

    def actions(self) -> list[Action]:
        """What is possible."""
        one, read = "/v1/operations/{id}", Scope.OPERATIONS_READ
        return [
            Action("GET", f"{one}/stream", read, self.stream, by_ticket=True),
            Action("GET", f"{one}/status", read, self.no_socket, by_ticket=True),
            Action("POST", "/v1/stream-tickets", read, self.ticket),
        ]

    async def stream(self, call: Call) -> Answer | Refusal | Streamed:
        """The log from a sequence on, then what comes, to the end."""
        values = queries.read(call.request, WHERE)
        if isinstance(values, Refusal):
            return values
        after = _resumed(call, values.get("after", 0))
        if isinstance(after, Refusal):
            return after
        operation = await readable_operation(self._services, call.tenant, call.name())
        if isinstance(operation, Refusal):
            return operation
        ahead = refuse_ahead(operation, after)
        if ahead is not None:
            return ahead
        if await is_over(self._services, operation, after):
            return Answer(204)  # which tells an EventSource not to come again
        following = self._services.watch.operation(operation, after, call.principal.key_id)
        refuse = partial(self._problems.answer, instance=call.path)
        return EventStream(following, _VIEW, refuse, self._services.dice.random)

    async def no_socket(self, call: Call) -> Answer | Refusal:
        """Say how to connect."""
        values = queries.read(call.request, WHERE)
        if isinstance(values, Refusal):
            return values
        return Refusal(
            RefusalKind.UPGRADE_REQUIRED,
            "This address speaks WebSocket. Connect with a WebSocket client (ws:// or wss://), or "
            "read .../stream, which is plain HTTP.",
        )

    async def ticket(self, call: Call) -> Answer | Refusal:
        """A ticket for one operation, or for the feed."""
        given = await body_of(call, TicketBody)
        if isinstance(given, Refusal):
            return given
        body, content = given
        if body.operation_id is not None:
            operation = await readable_operation(self._services, call.tenant, body.operation_id)
            if isinstance(operation, Refusal):
                return operation

        async def act(once: Once | None) -> Issued | Refusal | Replayed:
            return await self._services.tickets.issue(call.principal, body.operation_id, once)

        return await self._idempotency.run(call, content, act, _issued, _issued)


def _resumed(call: Call, after: int) -> int | Refusal:
    """Where to go on: what the client saw last counts more than where it once began."""
    text = call.request.headers.get(_LAST_EVENT_ID)
    if not text:
        return after
    try:
        return queries.number(text)
    except ValueError as error:
        return invalid(Fault("/Last-Event-ID", f"The header {error}."))


def _message(followed: Followed) -> bytes:
    text = followed.rendered.get(_KIND)
    if text is None:
        event = followed.event
        text = message(str(followed.place), event_name(event.type), event.body)
        followed.rendered[_KIND] = text
    return text


_VIEW: Final = View(_message, lambda _: b":\n\n", lambda followed: ends(followed.event.type))


def _issued(made: Issued) -> Answer:
    shown = TicketOut(
        ticket=made.text,
        expires_at=times.render(made.first_use_until),
        reconnect_until=times.render(made.good_until),
    )
    return answers.of(shown, 201)
