"""The operation that a path names, for whoever reads it or what is below it."""

from service.api.services import Services
from service.domain.errors import Refusal, not_found
from service.domain.operation import Operation, refuse_expired


async def readable_operation(services: Services, tenant_id: str, name: str) -> Operation | Refusal:
    """The operation as it is; a refusal of what is not there, or no longer readable."""
    operation = await services.reads.operation(tenant_id, name)
    if operation is None:
        return not_found("operation", name)
    return refuse_expired(operation, services.clock.now()) or operation
