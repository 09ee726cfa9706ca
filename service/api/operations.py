"""Operations: described by producers, read by consumers, cancelled by either."""

import hashlib
from typing import Annotated, Final

from msgspec import Raw
from pydantic import StringConstraints

from service.api import operation_shape
from service.api.fields import Metadata, NoteText
from service.api.following import readable
from service.api.links import Links
from service.api.reading import Body, body_of
from service.api.routing import Action
from service.api.services import Services
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, not_found
from service.domain.operation import Operation, Status, is_end
from service.ports import Once, OperationFilter, Replayed
from service.usecases.manage_operations import NewOperation
from service.web import answers, holding, queries
from service.web.answers import Answer
from service.web.authentication import TICKET
from service.web.calls import Call
from service.web.idempotency import Idempotency
from service.web.paging import Listing

_ID_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"
_TYPE_PATTERN: Final = r"^[A-Za-z0-9_.:/-]{1,128}$"
_RETRY_AFTER: Final = ("retry-after", str(operation_shape.POLL_RECOMMENDED))
#: A client may keep it if it asks each time whether it still holds: that is what the ETag is for.
_REVALIDATE: Final = ("cache-control", "private, no-cache")

_ONE: Final = {"wait": holding.wait, TICKET: queries.text}
_HISTORY: Final = Listing(
    "operations",
    1,
    {
        "status": queries.one_of(Status),
        "type": queries.text,
        "createdAfter": queries.moment,
        "createdBefore": queries.moment,
    },
)


class OperationBody(Body):
    """A new operation."""

    type: Annotated[str, StringConstraints(pattern=_TYPE_PATTERN)]
    operation_id: Annotated[str, StringConstraints(pattern=_ID_PATTERN)] | None = None
    metadata: Metadata = None


class CancelBody(Body):
    """Why an operation is cancelled."""

    reason: NoteText | None = None


class Operations:
    """Handlers of operations."""

    def __init__(self, services: Services, idempotency: Idempotency, links: Links) -> None:
        self._services = services
        self._idempotency = idempotency
        self._links = links

    def actions(self) -> list[Action]:
        """What is possible with operations."""
        return [
            Action("POST", "/v1/operations", Scope.EVENTS_WRITE, self.create),
            Action("GET", "/v1/operations", Scope.OPERATIONS_READ, self.list),
            Action("GET", "/v1/operations/{id}", Scope.OPERATIONS_READ, self.get, by_ticket=True),
            Action("POST", "/v1/operations/{id}/cancel", Scope.OPERATIONS_WRITE, self.cancel),
        ]

    async def create(self, call: Call) -> Answer | Refusal:
        """Write an operation down before its first event."""
        given = await body_of(call, OperationBody)
        if isinstance(given, Refusal):
            return given
        body, content = given
        new = NewOperation(body.type, body.operation_id, _bytes(body.metadata))

        async def act(once: Once | None) -> Operation | Refusal | Replayed:
            return await self._services.operations.create(call.principal, new, once)

        return await self._idempotency.run(call, content, act, self._created, self._created)

    async def get(self, call: Call) -> Answer | Refusal:
        """One operation as it is now, or as soon as it is no more as the client knows it."""
        asked = queries.read(call.request, _ONE)
        if isinstance(asked, Refusal):
            return asked
        patience = holding.patience(call.request, asked.get("wait"))
        operation = await readable(self._services, call.tenant, call.name())
        if isinstance(operation, Refusal):
            return operation
        if patience.seconds and self._is_news_to_come(call, operation):
            operation = await self._changed(call, operation, patience.seconds)
        if isinstance(operation, Refusal):
            return operation
        return answers.with_headers(self._current(call, operation), *patience.headers)

    def _is_news_to_come(self, call: Call, operation: Operation) -> bool:
        """Whether the client knows the operation as it is, and it may still change."""
        if is_end(operation.status):
            return False
        condition = call.request.headers.get("if-none-match")
        tag = _tag(answers.encode(self._shown(operation)))
        return condition is None or _is_known(condition, tag)

    async def _changed(
        self, call: Call, operation: Operation, seconds: float
    ) -> Operation | Refusal:
        """The operation after its next event; as it is when none comes in time."""
        reads = self._services.reads
        async with self._services.watch.operation(operation, operation.sequence) as follower:
            if isinstance(follower, Refusal):
                return follower
            async with holding.noticing(call.request.receive, follower.stop):
                if not await follower.next(seconds):
                    return operation
                after = await follower.operation(lambda: reads.operation(call.tenant, operation.id))
        return not_found("operation", operation.id) if after is None else after

    async def list(self, call: Call) -> Answer | Refusal:
        """The history of operations, newest first."""
        asked = _HISTORY.read(call.request)
        if isinstance(asked, Refusal):
            return asked
        span, values = asked
        which = OperationFilter(
            status=values.get("status"),
            type=values.get("type"),
            created_after=values.get("createdAfter"),
            created_before=values.get("createdBefore"),
        )
        page = await self._services.reads.operations(call.tenant, which, span)
        return _HISTORY.answer(call.request, page, self._shown, self._links.base)

    async def cancel(self, call: Call) -> Answer | Refusal:
        """Cancel an operation; once more gives the same answer."""
        given = await body_of(call, CancelBody)
        if isinstance(given, Refusal):
            return given
        reason = given[0].reason
        operation = await self._services.operations.cancel(call.principal, call.name(), reason)
        return operation if isinstance(operation, Refusal) else answers.of(self._shown(operation))

    def _shown(self, operation: Operation) -> operation_shape.OperationOut:
        return operation_shape.shown(operation, self._links)

    def _created(self, operation: Operation) -> Answer:
        location = ("location", self._links.operation(operation.id))
        made = operation_shape.created(operation, self._links)
        return answers.of(made, 202, (location, _RETRY_AFTER))

    def _current(self, call: Call, operation: Operation) -> Answer:
        answer = answers.of(self._shown(operation))
        tag = _tag(answer.body)
        headers = [("etag", tag), _REVALIDATE]
        if not is_end(operation.status):
            headers.append(_RETRY_AFTER)
        if _is_known(call.request.headers.get("if-none-match"), tag):
            return Answer(304, headers=tuple(headers))
        return answers.with_headers(answer, *headers)


def _tag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _is_known(condition: str | None, tag: str) -> bool:
    """Whether the client has this version (RFC 9110, 13.1.2: weak comparison)."""
    if condition is None:
        return False
    known = [each.strip().removeprefix("W/") for each in condition.split(",")]
    return tag in known or known == ["*"]


def _bytes(metadata: Raw | None) -> bytes | None:
    return None if metadata is None else bytes(metadata)
