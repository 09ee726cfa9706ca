"""The operation that a path names, for whoever reads it or what is below it."""

from service.api.services import Services
from service.domain.errors import Fault, Refusal, invalid, not_found
from service.domain.operation import Operation, is_end, refuse_expired


async def readable_operation(services: Services, tenant_id: str, name: str) -> Operation | Refusal:
    """The operation as it is; a refusal of what is not there, or no longer readable."""
    operation = await services.reads.operation(tenant_id, name)
    if operation is None:
        return not_found("operation", name)
    return refuse_expired(operation, services.clock.now()) or operation


def refuse_ahead(operation: Operation, after: int) -> Refusal | None:
    """Why nobody can wait for what comes behind ``after``: the log is not as long as that."""
    if is_end(operation.status) or after <= operation.sequence:
        return None
    said = f"The operation has {operation.sequence} events so far; this is the place in another."
    return invalid(Fault("/after", said))


async def is_over(services: Services, operation: Operation, after: int) -> bool:
    """Whether nothing will ever come behind ``after``; retention may have taken the last event."""
    if not is_end(operation.status):
        return False
    if after >= operation.sequence:
        return True
    return not await services.reads.log(operation.key, after, 1)
