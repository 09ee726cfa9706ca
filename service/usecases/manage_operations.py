"""Operations as people and producers handle them: describe one, cancel one, retry one."""

import json
from dataclasses import dataclass, field
from typing import Final

from service.domain.errors import Fault, Refusal, invalid, not_found
from service.domain.event import own_event
from service.domain.operation import END_TYPES, Operation, Status, is_own, refuse_expired
from service.ports import (
    AcceptRequest,
    Described,
    Note,
    Once,
    OperationPlan,
    OperationStore,
    Principal,
    ReadStore,
    Replayed,
    Retried,
    Retry,
    Waker,
)
from service.usecases.accept import Accept
from service.usecases.making import Maker
from service.usecases.manage_subscriptions import (
    ManageSubscriptions,
    Prepared,
    SubscriptionInput,
)

_CANCELLED: Final = Status.CANCELLED.value


@dataclass(frozen=True, slots=True)
class WebhookInput:
    """An operation's own subscription as it is asked for."""

    url: str
    #: The event types; ``None``: those that end it.
    events: tuple[str, ...] | None = None
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class NewOperation:
    """An operation as it is described, usually before anything happened in it. Times are ms."""

    type: str
    id: str | None = None
    metadata: bytes | None = None
    client_job_id: str | None = None
    expected_ms: int | None = None
    ttl_ms: int | None = None
    timeout_ms: int | None = None
    webhook: WebhookInput | None = None


@dataclass(frozen=True, slots=True)
class Created:
    """A described operation, and the secret made for its own subscription, to be shown this once.

    A secret that was given is known to who gave it, and the answer may be handed on.
    """

    described: Described
    secret: str | None = field(default=None, repr=False)


class ManageOperations:
    """Describes, cancels and retries operations."""

    def __init__(
        self,
        stores: tuple[OperationStore, ReadStore],
        accept: Accept,
        subscriptions: ManageSubscriptions,
        waker: Waker,
        maker: Maker,
    ) -> None:
        self._store, self._reads = stores
        self._accept = accept
        self._subscriptions = subscriptions
        self._waker = waker
        self._maker = maker

    async def create(
        self, who: Principal, new: NewOperation, once: Once | None
    ) -> Created | Refusal | Replayed:
        """Write an operation down, or describe the one that an event created already."""
        planned = self._plan(who.tenant_id, new)
        if isinstance(planned, Refusal):
            return planned
        plan, secret = planned
        described = await self._store.create(plan, who.key_id, _shown(once, secret))
        if not isinstance(described, Described):
            return described
        if described.waiting and described.webhook is not None:
            self._waker.wake([described.webhook.no])
        return _created(described, secret)

    def _plan(
        self, tenant_id: str, new: NewOperation
    ) -> tuple[OperationPlan, str | None] | Refusal:
        """What is to be made, and the secret that nobody knows yet; or all faults at once."""
        operation = self._described(tenant_id, new)
        fault = reserved_type(new.type, "/type")
        faults = [] if fault is None else [fault]
        webhook, named = None, new.id is not None
        if new.webhook is not None:
            webhook = self._webhook(operation, new.webhook)
            if not isinstance(webhook, Prepared):
                faults += webhook
        if faults:
            return invalid(*faults)
        if not isinstance(webhook, Prepared):
            return OperationPlan(operation, named), None
        secret = webhook.secret if webhook.secret_is_new else None
        return OperationPlan(operation, named, webhook.new), secret

    def _described(self, tenant_id: str, new: NewOperation) -> Operation:
        now, key, name = self._maker.name("op")
        return Operation(
            key=key,
            tenant_id=tenant_id,
            id=new.id or name,
            type=new.type,
            created_at=now,
            updated_at=now,
            metadata=new.metadata,
            described=True,
            client_job_id=new.client_job_id,
            expected_ms=new.expected_ms,
            ttl_ms=new.ttl_ms,
            timeout_ms=new.timeout_ms,
        )

    def _webhook(self, operation: Operation, wanted: WebhookInput) -> Prepared | list[Fault]:
        members = {
            "url": wanted.url,
            "event_types": END_TYPES if wanted.events is None else wanted.events,
            "operation_id": operation.id,
        }
        given = SubscriptionInput(members, secret=wanted.secret)
        prepared = self._subscriptions.prepare(operation.tenant_id, given)
        if isinstance(prepared, Prepared):
            return prepared
        return [Fault(f"/webhook{fault.pointer}", fault.detail) for fault in prepared]

    async def cancel(self, who: Principal, name: str, reason: str | None) -> Operation | Refusal:
        """Cancel an operation; one that is cancelled already stays as it is."""
        before = await self._found(who, name)
        if isinstance(before, Refusal) or before.status is Status.CANCELLED:
            return before
        refusal = await self._cancelled(who, before, reason)
        after = await self._reads.operation(who.tenant_id, name)
        if after is None:
            return not_found("operation", name)
        # Another request may have cancelled it in between: that is what was wanted.
        return after if after.status is Status.CANCELLED or refusal is None else refusal

    async def retry(
        self, who: Principal, name: str, once: Once | None
    ) -> Retried | Refusal | Replayed:
        """Try a failed operation once more, as a new one; asked again, it is the same one."""
        _, key, new = self._maker.name("op")
        _, _, webhook = self._maker.name("sub")
        detail = json.dumps({"operationId": new})
        request = AcceptRequest(
            who.tenant_id,
            (),
            once,
            note=Note(who.key_id, "operation.retried", name, detail),
            retry=Retry(name, key, new, webhook, self._subscriptions.reseal),
        )
        answer = await self._accept.request(request)
        if isinstance(answer, list):
            raise TypeError("A retry was asked for, and verdicts on events came of it.")
        return answer

    async def _found(self, who: Principal, name: str) -> Operation | Refusal:
        operation = await self._reads.operation(who.tenant_id, name)
        if operation is None:
            return not_found("operation", name)
        return refuse_expired(operation, self._maker.clock.now()) or operation

    async def _cancelled(
        self, who: Principal, operation: Operation, reason: str | None
    ) -> Refusal | None:
        event = own_event(_CANCELLED, operation.id, operation_type=operation.type, message=reason)
        detail = None if reason is None else json.dumps({"reason": reason})
        note = Note(who.key_id, "operation.cancelled", operation.id, detail)
        taken = await self._accept.request(AcceptRequest(who.tenant_id, [event], note=note))
        if isinstance(taken, Refusal):
            return taken
        if not isinstance(taken, list):
            raise TypeError("An event was posted, and something else came of it.")
        verdict = taken[0]
        return verdict if isinstance(verdict, Refusal) else None


def _created(described: Described, secret: str | None) -> Created:
    return Created(described, secret if described.made else None)


def _shown(once: Once | None, secret: str | None) -> Once | None:
    """The answer to be kept holds the secret, which the store itself never sees open."""
    if once is None:
        return None

    def render(described: Described) -> bytes | None:
        return once.render(_created(described, secret))

    return Once(once.key, once.fingerprint, render)


def reserved_type(kind: str | None, pointer: str) -> Fault | None:
    """The fault of a type that only Ringback's own operations have."""
    if not is_own(kind):
        return None
    return Fault(pointer, "begins with 'ringback.', which only Ringback's own operations do")
