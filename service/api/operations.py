"""Operations: described by producers, read by consumers, cancelled by either."""

from typing import Annotated, Final

from msgspec import Raw
from pydantic import StringConstraints

from service.api import operation_shape
from service.api.fields import Metadata, NoteText
from service.api.links import Links
from service.api.reading import Body, body_of
from service.api.routing import Action
from service.api.services import Services
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, not_found
from service.domain.operation import Operation, Status, is_end
from service.ports import Once, OperationFilter, Replayed
from service.usecases.manage_operations import NewOperation
from service.web import answers, etags, queries
from service.web.answers import Answer
from service.web.calls import Call
from service.web.idempotency import Idempotency
from service.web.paging import Listing

_ID_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"
_TYPE_PATTERN: Final = r"^[A-Za-z0-9_.:/-]{1,128}$"
_RETRY_AFTER: Final = ("retry-after", str(operation_shape.POLL_RECOMMENDED))
#: A client may keep it if it asks each time whether it still holds: that is what the ETag is for.
_REVALIDATE: Final = ("cache-control", "private, no-cache")

HISTORY: Final = Listing(
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
            Action("GET", "/v1/operations/{id}", Scope.OPERATIONS_READ, self.get),
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
        """One operation as it is now."""
        asked = queries.read(call.request, {})
        if isinstance(asked, Refusal):
            return asked
        name = call.name()
        operation = await self._services.reads.operation(call.tenant, name)
        if operation is None:
            return not_found("operation", name)
        return self._current(call, operation)

    async def list(self, call: Call) -> Answer | Refusal:
        """The history of operations, newest first."""
        asked = HISTORY.read(call.request)
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
        return HISTORY.answer(call.request, page, self._shown, self._links.base)

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
        waits = () if is_end(operation.status) else (_RETRY_AFTER,)
        answer = answers.of(self._shown(operation))
        return etags.conditional(call.request, answer, _REVALIDATE, *waits)


def _bytes(metadata: Raw | None) -> bytes | None:
    return None if metadata is None else bytes(metadata)
