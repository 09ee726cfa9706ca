"""How things went over time."""

from collections.abc import Sequence
from typing import Protocol

from service.domain.traffic import Gauges, Point, Range


class TrafficStore(Protocol):
    """Reads what was counted over time, and keeps looks at the queue beside it."""

    async def points(self, tenant_id: str | None, wanted: Range) -> Sequence[Point]:
        """What was counted of a tenant (``None``: of all) over a range up to now, oldest first."""

    async def sample(self, gauges: Gauges) -> None:
        """Keep how the queue stands, where it did not stand fuller in the same slice."""
