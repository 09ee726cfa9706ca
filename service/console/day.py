"""How one subscription's attempts went over the last day: what its page draws, and as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from service.console.charts import Chart, Line
from service.console.receivers import of_address
from service.console.services import Services
from service.console.visits import Action, Visit
from service.domain import tallies
from service.domain.api_keys import Scope
from service.domain.errors import Refusal
from service.domain.subscription import Subscription
from service.domain.tallies import OWN_SLICE, Tally
from service.web import answers
from service.web.answers import Answer

_PATH: Final = "/subscriptions/{id}/traffic"
_HOUR: Final = 3_600_000
_CHARTS: Final = (
    Chart(
        "Attempts",
        "count",
        (Line("succeeded", "good", "ok"), Line("failed", "failed", "bad")),
        by_step=True,
    ),
    Chart(
        "Attempt time",
        "ms",
        (Line("p50", "half within", "busy"), Line("p95", "19 of 20 within", "warn")),
    ),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows of the day."""

    charts: Sequence[Chart]
    #: Milliseconds between two points.
    step: int
    #: Where the points are as JSON.
    address: str
    #: When the newest point begins (ms): there is another one after a while.
    newest: int
    #: The hours, newest first; none, if nothing was counted.
    lines: Sequence[Tally]


class Day:
    """Reads what is drawn."""

    def __init__(self, services: Services) -> None:
        self._reads = services.reads
        self._stats = services.stats

    def actions(self) -> list[Action]:
        """The numbers are for the script that draws them, and for whoever wants them."""
        return [Action("GET", _PATH, Scope.DELIVERIES_READ, self.data)]

    async def data(self, visit: Visit) -> Answer | Refusal:
        """The points of the day, a list of values for each line."""
        found = await of_address(visit, self._reads)
        if isinstance(found, Refusal):
            return found
        day = await self._stats.subscription_day(found.no)
        return answers.of(
            {
                "step": OWN_SLICE,
                "at": [each.at // 1000 for each in day],
                "lines": {
                    "succeeded": [each.succeeded for each in day],
                    "failed": [each.failed for each in day],
                    "p50": [each.percentile(0.5) for each in day],
                    "p95": [each.percentile(0.95) for each in day],
                },
            }
        )

    async def shown(self, subscription: Subscription, visit: Visit) -> Shown:
        """What of it stands on the page."""
        day = await self._stats.subscription_day(subscription.no)
        lines = tallies.every(day, _HOUR, day[-1].at)[::-1]
        return Shown(
            charts=_CHARTS,
            step=OWN_SLICE,
            address=visit.site.root + _PATH.format(id=subscription.id),
            newest=day[-1].at,
            lines=lines if any(each.took for each in day) else (),
        )
