"""Operations: described by producers, read by consumers, cancelled or retried by either."""

from typing import Final

from service.api import operation_shape
from service.api.finding import readable_operation
from service.api.links import Links
from service.api.operation_bodies import CancelBody, OperationBody, RetryBody
from service.api.reading import body_of
from service.api.routing import Action
from service.api.services import Services
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, not_found
from service.domain.operation import Operation, is_end
from service.domain.subscription import Subscription
from service.ports import Once, Replayed, Retried
from service.usecases.manage_operations import Created
from service.web import answers, etags, holding, queries
from service.web.answers import Answer, Headers
from service.web.authentication import TICKET
from service.web.calls import Call
from service.web.idempotency import Idempotency
from service.web.listings import OPERATIONS

#: A client may keep it if it asks each time whether it still holds: that is what the ETag is for.
_REVALIDATE: Final = ("cache-control", "private, no-cache")
#: ``false``: the operation itself, also where its result is elsewhere.
_REDIRECT: Final = "redirect"

#: What may be said of the operation that is asked for.
ONE: Final = {_REDIRECT: queries.flag, "wait": holding.wait, TICKET: queries.text}


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
            Action("POST", "/v1/operations/{id}/retry", Scope.OPERATIONS_WRITE, self.retry),
        ]

    async def create(self, call: Call) -> Answer | Refusal:
        """Write an operation down before its first event."""
        given = await body_of(call, OperationBody)
        if isinstance(given, Refusal):
            return given
        body, content = given
        new = body.given()

        async def act(once: Once | None) -> Created | Refusal | Replayed:
            return await self._services.operations.create(call.principal, new, once)

        return await self._idempotency.run(call, content, act, self._created, self._created)

    async def get(self, call: Call) -> Answer | Refusal:
        """One operation as it is now, or as soon as it is no more as the client knows it."""
        asked = queries.read(call.request, ONE)
        if isinstance(asked, Refusal):
            return asked
        patience = holding.patience(call.request, asked.get("wait"))
        operation = await readable_operation(self._services, call.tenant, call.name())
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
        body = answers.encode(self._shown(operation))
        return etags.has_none(call.request) or etags.has(call.request, etags.tag_of(body))

    async def _changed(
        self, call: Call, operation: Operation, seconds: float
    ) -> Operation | Refusal:
        """The operation after its next event; as it is when none comes in time."""
        reads, key_id = self._services.reads, call.principal.key_id
        following = self._services.watch.operation(operation, operation.sequence, key_id)
        async with following as follower:
            if isinstance(follower, Refusal):
                return follower
            async with holding.noticing(call.request.receive, follower.stop):
                if not await follower.next(seconds):
                    return operation
                after = await follower.operation(lambda: reads.operation(call.tenant, operation.id))
        return not_found("operation", operation.id) if after is None else after

    async def list(self, call: Call) -> Answer | Refusal:
        """The history of operations, newest first."""
        asked = OPERATIONS.read(call.request)
        if isinstance(asked, Refusal):
            return asked
        page = await self._services.reads.operations(call.tenant, asked.which, asked.span)
        return OPERATIONS.answer(call.request, page, self._shown, self._links.base)

    async def cancel(self, call: Call) -> Answer | Refusal:
        """Cancel an operation; once more gives the same answer."""
        given = await body_of(call, CancelBody)
        if isinstance(given, Refusal):
            return given
        reason = given[0].reason
        operation = await self._services.operations.cancel(call.principal, call.name(), reason)
        return operation if isinstance(operation, Refusal) else answers.of(self._shown(operation))

    async def retry(self, call: Call) -> Answer | Refusal:
        """Try a failed operation once more; asked again, the new one is the same."""
        given = await body_of(call, RetryBody)
        if isinstance(given, Refusal):
            return given

        async def act(once: Once | None) -> Retried | Refusal | Replayed:
            return await self._services.operations.retry(call.principal, call.name(), once)

        return await self._idempotency.run(call, given[1], act, self._retried, self._retried)

    def _shown(self, operation: Operation) -> operation_shape.OperationOut:
        return operation_shape.shown(operation, self._links)

    def _created(self, made: Created) -> Answer:
        """One that the client's own id names already is nothing new."""
        described = made.described
        status = 202 if described.made else 200
        return self._begun(described.operation, described.webhook, made.secret, status)

    def _retried(self, retried: Retried) -> Answer:
        return self._begun(retried.operation, retried.webhook, None, 202)

    def _begun(
        self, operation: Operation, webhook: Subscription | None, secret: str | None, status: int
    ) -> Answer:
        location = ("location", self._links.operation(operation.id))
        begun = operation_shape.created(operation, webhook, secret, self._links)
        return answers.of(begun, status, (location, *_retry_after(operation)))

    def _current(self, call: Call, operation: Operation) -> Answer:
        answer = answers.of(self._shown(operation))
        elsewhere = operation_shape.result_url(operation)
        if elsewhere is not None and call.request.query_params.get(_REDIRECT) != "false":
            # no precondition: those are for what would be a 2xx (RFC 9110, 13.2.1)
            return Answer(303, answer.body, (("location", elsewhere), _REVALIDATE))
        return etags.conditional(call.request, answer, _REVALIDATE, *_retry_after(operation))


def _retry_after(operation: Operation) -> Headers:
    """When to ask again, while there is something to wait for."""
    if is_end(operation.status):
        return ()
    return (("retry-after", str(operation_shape.poll_interval(operation).recommended)),)
