"""What becomes of operations by the clock: time-outs, expiry, and the end of their tombstones."""

import asyncio
from typing import Final

from service.domain.lifetime import refuse_unless_silent, timeout_event
from service.domain.operation import TIMEOUT_PROBLEM
from service.ports import AcceptRequest, LifetimeStore, SilentOperation
from service.usecases.accept import Accept
from service.usecases.sweep import Chore

#: Seconds between looks: at silent operations, at expired ones, at tombstones.
_SILENT: Final = 1.0
_EXPIRED: Final = 5.0
_OLD: Final = 30.0


class Lifetimes:
    """Looks after operations whose time has come; ``retention`` (ms) is that of events."""

    def __init__(
        self, store: LifetimeStore, accept: Accept, public_url: str, retention: int
    ) -> None:
        self._store = store
        self._accept = accept
        self._problem = f"{public_url}/problems/{TIMEOUT_PROBLEM}"
        self._retention = retention
        #: How far the walk over what an earlier version left has come; ``None`` when it is over.
        self._walked: int | None = 0

    def chores(self) -> tuple[Chore, ...]:
        """What the sweep is to do."""
        return (
            Chore("adopt", _OLD, self._adopt),
            Chore("silent", _SILENT, self._time_out),
            Chore("expired", _EXPIRED, self._store.strip),
            Chore("tombstones", _OLD, lambda: self._store.remove_tombstones(self._retention)),
        )

    async def _adopt(self) -> int:
        while self._walked is not None:
            self._walked = await self._store.adopt(self._walked)
        return 0

    async def _time_out(self) -> int:
        silent = await self._store.silent()
        await asyncio.gather(*(self._fail(each) for each in silent))
        return len(silent)

    async def _fail(self, silent: SilentOperation) -> None:
        """Let an operation fail; refused when something has come from it meanwhile."""
        event = timeout_event(silent.id, silent.type, silent.timeout_ms, self._problem)
        request = AcceptRequest(silent.tenant_id, [event], guard=refuse_unless_silent)
        await self._accept.request(request)
