"""The operation that a path names, for whoever reads it or what is below it."""

from service.api.services import Services
from service.domain.errors import Refusal, not_found
from service.domain.operation import Operation, refuse_expired
from service.web.calls import Call


async def readable_operation(services: Services, call: Call) -> Operation | Refusal:
    """The operation as it is; a refusal of what is not there, or no longer readable."""
    name = call.name()
    operation = await services.reads.operation(call.tenant, name)
    if operation is None:
        return not_found("operation", name)
    return refuse_expired(operation, services.clock.now()) or operation
