"""Bulk replays that somebody began who may not cancel operations: how far they are, and their end.

Whose they are is what the audit log says, so nothing else is kept of it.
"""

from dataclasses import replace
from operator import attrgetter
from typing import Final

from service.console.services import Services
from service.console.visits import Visit
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, not_found
from service.domain.operation import REPLAY_TYPE, Operation, Status
from service.ports import AuditFilter, OperationFilter, Span

_STARTED: Final = "replay.started"
#: As many of a tenant's replays are looked at that are under way.
_MANY: Final = Span(100)
_UNDER_WAY: Final = (Status.PENDING, Status.PROCESSING)


class OwnReplays:
    """What a visitor began, where its own pages are not for him."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def under_way(self, visit: Visit) -> list[Operation]:
        """Those that have not ended, newest first; none for who sees operations anyway."""
        if visit.leads("/operations") or not visit.may(Scope.DELIVERIES_REPLAY):
            return []
        found: list[Operation] = []
        for status in _UNDER_WAY:
            which = OperationFilter(status, REPLAY_TYPE)
            page = await self._services.reads.operations(visit.tenant, which, _MANY)
            found += [each for each in page.items if await self._began(visit, each.id)]
        return sorted(found, key=attrgetter("key"), reverse=True)

    async def ends(self, visit: Visit, operation: Operation) -> bool:
        """Whether it is one, and not over."""
        if operation.type != REPLAY_TYPE or operation.status not in _UNDER_WAY:
            return False
        return visit.may(Scope.DELIVERIES_REPLAY) and await self._began(visit, operation.id)

    async def cancel(self, visit: Visit, name: str) -> Operation | Refusal:
        """End one; those of others are not there."""
        if not await self._began(visit, name):
            return not_found("replay", name)
        return await self._services.operations.cancel(visit.principal, name, None)

    async def _began(self, visit: Visit, name: str) -> bool:
        which = AuditFilter(visit.principal.key_id, _STARTED, name)
        own = replace(visit.principal, named=True)  # of this tenant alone, which an index knows
        return bool((await self._services.audit_log.entries(own, which, Span(1))).items)
