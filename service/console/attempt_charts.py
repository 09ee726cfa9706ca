"""How one subscription's attempts went over time: what its page draws, and as numbers."""

from collections.abc import Mapping
from typing import Final

from service.console.charts import RANGE, Chart, Line, Shown, range_of
from service.console.receivers import of_address
from service.console.services import Services
from service.console.visits import Action, Visit
from service.domain import tallies
from service.domain.api_keys import Scope
from service.domain.errors import Refusal
from service.domain.subscription import Subscription
from service.domain.tallies import Tally
from service.domain.traffic import Range
from service.web import answers
from service.web.answers import Answer
from service.web.problems import instance_of

_PATH: Final = "/subscriptions/{id}/traffic"
_USUAL: Final = "24h"
#: What is kept of a subscription that is for one operation: it is over with that.
_SHORT: Final = {name: each for name, each in tallies.RANGES.items() if each.span <= tallies.KEPT}
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


class AttemptCharts:
    """Reads what is drawn."""

    def __init__(self, services: Services) -> None:
        self._reads = services.reads
        self._stats = services.stats

    def actions(self) -> list[Action]:
        """The numbers are for the script that draws them, and for whoever wants them."""
        return [Action("GET", _PATH, Scope.DELIVERIES_READ, self.data)]

    async def data(self, visit: Visit) -> Answer | Refusal:
        """The points of a range, a list of values for each line."""
        found = await of_address(visit, self._reads)
        if isinstance(found, Refusal):
            return found
        chosen = range_of(visit, _ranges(found), _USUAL)
        if isinstance(chosen, Refusal):
            return chosen
        points = await self._stats.subscription_attempts(found.no, chosen)
        return answers.of(
            {
                "range": chosen.name,
                "step": chosen.step,
                "at": [each.at // 1000 for each in points],
                "lines": {
                    "succeeded": [each.succeeded for each in points],
                    "failed": [each.failed for each in points],
                    "p50": [each.percentile(0.5) for each in points],
                    "p95": [each.percentile(0.95) for each in points],
                },
            }
        )

    async def shown(self, subscription: Subscription, visit: Visit) -> Shown[Tally] | Refusal:
        """What of it stands on the page that is visited."""
        ranges = _ranges(subscription)
        chosen = range_of(visit, ranges, _USUAL)
        if isinstance(chosen, Refusal):
            return chosen
        points = await self._stats.subscription_attempts(subscription.no, chosen)
        total = tallies.added(points[0].at, points)
        path = visit.site.root + _PATH.format(id=subscription.id)
        return Shown(
            page=instance_of(visit.request.scope),
            chosen=chosen,
            ranges=tuple(ranges.values()),
            charts=_CHARTS,
            address=f"{path}?{RANGE}={chosen.name}",
            newest=points[-1].at,
            total=total,
            lines=tallies.lines(points, chosen)[::-1] if total.took else (),
        )


def _ranges(subscription: Subscription) -> Mapping[str, Range]:
    return tallies.RANGES if subscription.operation_id is None else _SHORT
