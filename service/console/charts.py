"""How things went over time: what the overview draws, and the same as numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeVar

from service.console.services import Services
from service.console.visits import Action, Visit
from service.domain import traffic
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, invalid
from service.domain.traffic import RANGES, Gauges, Point, Range
from service.web import answers, queries
from service.web.answers import Answer

_PATH: Final = "/traffic"
#: The parameter that says which range.
RANGE: Final = "range"
_USUAL: Final = "1h"
#: Those who may see how deliveries go may see how they went.
NEEDED: Final = Scope.DELIVERIES_READ
Counted = TypeVar("Counted")


class Line(NamedTuple):
    """A line of a chart: what is drawn, what it is called, and what it looks like."""

    name: str
    label: str
    look: str


class Chart(NamedTuple):
    """A few lines that share a unit: ``rate`` (per minute), ``count`` or ``ms``."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    #: Whether it is known of all tenants together only.
    of_all: bool = False
    #: Whether it counts by the point.
    by_step: bool = False


_CHARTS: Final = (
    Chart(
        "Per minute",
        "rate",
        (
            Line("delivered", "delivered", "ok"),
            Line("accepted", "accepted", "busy"),
            Line("failed", "attempts failed", "bad"),
        ),
    ),
    Chart(
        "Delivery time, from the event on",
        "ms",
        (Line("p50", "half within", "busy"), Line("p95", "19 of 20 within", "warn")),
    ),
    Chart("New dead letters", "count", (Line("dead", "made", "bad"),), by_step=True),
    Chart(
        "Waiting and in flight",
        "count",
        (Line("due", "due now", "warn"), Line("in_flight", "in flight", "busy")),
        of_all=True,
    ),
    Chart("Oldest due", "ms", (Line("oldest_due_age", "due for", "warn"),), of_all=True),
    Chart("Dead letters open", "count", (Line("dead_letters_open", "open", "bad"),), of_all=True),
)


@dataclass(frozen=True, slots=True)
class Shown(Generic[Counted]):
    """What a page shows of a range, and what is counted in each of its parts."""

    #: The page itself.
    page: str
    chosen: Range
    ranges: Sequence[Range]
    charts: Sequence[Chart]
    #: Where the points are as JSON.
    address: str
    #: When the newest point begins (ms): there is another one after a while.
    newest: int
    #: Of the whole range, and of its parts, newest first; those are empty if nothing was counted.
    total: Counted
    lines: Sequence[Counted]
    #: Whether it is about all tenants together.
    of_all: bool = False


def range_of(visit: Visit, ranges: Mapping[str, Range], usual: str) -> Range | Refusal:
    """The range that the address says."""
    name = visit.given[RANGE] or usual
    known = ", ".join(ranges)
    return ranges.get(name) or invalid(queries.fault(RANGE, f"must be one of {known}"))


class Charts:
    """Reads what is drawn."""

    def __init__(self, services: Services) -> None:
        self._traffic = services.traffic

    def actions(self) -> list[Action]:
        """The numbers are for the script that draws them, and for whoever wants them."""
        return [Action("GET", _PATH, NEEDED, self.data, whole=True)]

    async def data(self, visit: Visit) -> Answer | Refusal:
        """The points of a range, a list of values for each line."""
        chosen = range_of(visit, RANGES, _USUAL)
        if isinstance(chosen, Refusal):
            return chosen
        points = await self._points(visit, chosen)
        drawn = [_drawn(each) for each in points]
        names = [line.name for chart in _charts(visit) for line in chart.lines]
        return answers.of(
            {
                "range": chosen.name,
                "step": chosen.step,
                "at": [each.at // 1000 for each in points],
                "lines": {name: [each[name] for each in drawn] for name in names},
            }
        )

    async def shown(self, visit: Visit) -> Shown[Point] | Refusal | None:
        """What of it stands on the page; ``None``: it is not for the visitor."""
        if not visit.sees_all or not visit.may(NEEDED):
            return None
        chosen = range_of(visit, RANGES, _USUAL)
        if isinstance(chosen, Refusal):
            return chosen
        points = await self._points(visit, chosen)
        total = traffic.added(traffic.first_of(chosen, 0), chosen.span, points)
        is_empty = total.is_empty and total.gauges == Gauges()
        return Shown(
            page=visit.site.root,
            chosen=chosen,
            ranges=tuple(RANGES.values()),
            charts=_charts(visit),
            address=f"{visit.site.root}{_PATH}?{RANGE}={chosen.name}",
            newest=points[-1].at,
            total=total,
            lines=() if is_empty else traffic.lines(points, chosen)[::-1],
            of_all=_sees_everybody(visit),
        )

    async def _points(self, visit: Visit, chosen: Range) -> Sequence[Point]:
        tenant = None if _sees_everybody(visit) else visit.tenant
        return await self._traffic.points(tenant, chosen)


def _sees_everybody(visit: Visit) -> bool:
    """Whether the visitor is shown all tenants together: he may, and has chosen none of them."""
    return visit.may(Scope.ADMIN) and not visit.principal.named


def _charts(visit: Visit) -> Sequence[Chart]:
    return [each for each in _CHARTS if _sees_everybody(visit) or not each.of_all]


def _drawn(point: Point) -> Mapping[str, Any]:
    """The values of all lines at a point; ``None``: there is none."""
    gauges = point.gauges
    return {
        "accepted": point.per_minute(point.accepted),
        "delivered": point.per_minute(point.delivered),
        "failed": point.per_minute(point.failed),
        "dead": point.dead,
        "p50": point.percentile(0.5),
        "p95": point.percentile(0.95),
        "due": gauges.due,
        "in_flight": gauges.in_flight,
        "oldest_due_age": gauges.oldest_due_age,
        "dead_letters_open": gauges.dead_letters_open,
    }
