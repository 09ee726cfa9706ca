"""Operations as people and producers handle them: describe one, cancel one."""

from dataclasses import dataclass
from typing import Final

from service.domain.errors import Fault, Refusal, invalid, not_found
from service.domain.event import EventIn, own_event
from service.domain.operation import Operation, Status, is_own
from service.ports import ManageStore, Once, Principal, ReadStore, Replayed
from service.usecases.accept import Accept
from service.usecases.making import Maker

_CANCELLED: Final = Status.CANCELLED.value


@dataclass(frozen=True, slots=True)
class NewOperation:
    """An operation as it is described before anything happened in it."""

    type: str
    id: str | None = None
    metadata: bytes | None = None


class ManageOperations:
    """Describes and cancels operations."""

    def __init__(self, store: ManageStore, reads: ReadStore, accept: Accept, maker: Maker) -> None:
        self._store = store
        self._reads = reads
        self._accept = accept
        self._maker = maker

    async def create(
        self, who: Principal, new: NewOperation, once: Once | None
    ) -> Operation | Refusal | Replayed:
        """Write an operation down, or describe the one that an event created already."""
        fault = reserved_type(new.type, "/type")
        if fault is not None:
            return invalid(fault)
        now, key, name = self._maker.name("op")
        operation = Operation(
            key=key,
            tenant_id=who.tenant_id,
            id=new.id or name,
            type=new.type,
            created_at=now,
            updated_at=now,
            metadata=new.metadata,
            described=True,
        )
        return await self._store.create_operation(operation, once)

    async def cancel(self, who: Principal, name: str, reason: str | None) -> Operation | Refusal:
        """Cancel an operation; one that is cancelled already stays as it is."""
        before = await self._reads.operation(who.tenant_id, name)
        if before is None:
            return not_found("operation", name)
        if before.status is Status.CANCELLED:
            return before
        event = own_event(_CANCELLED, name, operation_type=before.type, message=reason)
        refusal = await self._taken(who.tenant_id, event)
        after = await self._reads.operation(who.tenant_id, name)
        if after is None:
            return not_found("operation", name)
        # Another request may have cancelled it in between: that is what was wanted.
        return after if after.status is Status.CANCELLED or refusal is None else refusal

    async def _taken(self, tenant_id: str, event: EventIn) -> Refusal | None:
        taken = await self._accept.events(tenant_id, [event], None)
        if isinstance(taken, Refusal):
            return taken
        if isinstance(taken, Replayed):
            raise TypeError("An answer was replayed for a request without an Idempotency-Key.")
        verdict = taken[0]
        return verdict if isinstance(verdict, Refusal) else None


def reserved_type(kind: str | None, pointer: str) -> Fault | None:
    """The fault of a type that only Ringback's own operations have."""
    if not is_own(kind):
        return None
    return Fault(pointer, "begins with 'ringback.', which only Ringback's own operations do")
