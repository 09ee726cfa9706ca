"""How it scales: what a delivery costs as the store, the subscriptions and the workers grow."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from service.lab.bench import filling
from service.lab.bench.board import Slot
from service.lab.bench.databases import fill
from service.lab.bench.faults import BenchError
from service.lab.bench.figures import Values
from service.lab.bench.hosting import Service, running
from service.lab.bench.plotting import Panel
from service.lab.bench.session import Session
from service.lab.bench.stamps import event_type
from service.lab.bench.throughput import delivering

_AGO_MS: Final = 2 * 3_600_000
_TOGETHER: Final = 20
_COST: Final = "service cpu"


@dataclass(frozen=True, slots=True)
class Axis:
    """Something that grows."""

    title: str
    x_title: str
    steps: Sequence[int]
    #: Those that take under three minutes together.
    quick: Sequence[int]
    measure: Callable[[Session, int], Awaitable[Values]]
    modes: frozenset[str] = frozenset(("embedded", "distributed"))


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured at one step of an axis in one mode."""

    axis: str
    mode: str
    step: int
    rounds: Sequence[Values]

    @property
    def medians(self) -> dict[str, float]:
        """The middle of all rounds, by figure."""
        return {name: median(each[name] for each in self.rounds) for name in self.rounds[0]}


async def _store(session: Session, count: int) -> Values:
    """Deliveries in a store that holds so many."""
    folder = session.copy_of_installed()
    with running(session.mode, folder) as service:
        await service.subscribe(session.url())
    since = time.time_ns() // 1_000_000 - _AGO_MS
    await asyncio.to_thread(fill, service.store, filling.history, count, since)
    with session.service(folder) as service:
        return await _steady(session, service)


async def _subscriptions(session: Session, count: int) -> Values:
    """Deliveries to so many subscriptions in turn, each of which wants events of its own."""
    gate = asyncio.Semaphore(_TOGETHER)
    with session.service() as service:
        async with service.client() as client:

            async def subscribe(number: int) -> None:
                own = {"url": session.url(), "eventTypes": [event_type(number, count)]}
                async with gate:
                    answer = await client.post("/v1/subscriptions", json=own)
                if not answer.is_success:
                    raise BenchError(f"A subscription was refused: {answer.text}")

            await asyncio.gather(*map(subscribe, range(count)))
        return await _steady(session, service, count)


async def _workers(session: Session, count: int) -> Values:
    """Deliveries by so many worker processes."""
    with session.service(workers=count) as service:
        await service.subscribe(session.url())
        return await _steady(session, service)


async def _steady(session: Session, service: Service, types: int = 1) -> Values:
    steady = await delivering(session, service, types)
    window = steady.window
    return {
        "rate": window.rate(Slot.RECEIVED),
        **session.cpu_values(window, service.pids, Slot.RECEIVED),
        "statements each": window.each(Slot.WORK, Slot.RECEIVED),
        "commits each": window.each(Slot.COMMITS, Slot.RECEIVED),
        **steady.delays,
    }


_HOLDS: Final = "deliveries in the store"
AXES: Final = {
    "store": Axis(
        "The store grows", _HOLDS, (10_000, 100_000, 1_000_000), (10_000, 50_000), _store
    ),
    "large-store": Axis("The store is large", _HOLDS, (10_000_000,), (100_000,), _store),
    "subscriptions": Axis(
        "More subscriptions", "subscriptions", (1, 100, 10_000), (1, 100, 500), _subscriptions
    ),
    "workers": Axis(
        "More workers",
        "worker processes",
        (1, 2, 4),
        (1, 2, 4),
        _workers,
        frozenset(("distributed",)),
    ),
}
#: What takes long has to be asked for.
_USUAL: Final = ("store", "subscriptions", "workers")
#: What is drawn in the panel of another.
_SAME_PANEL: Final = {"large-store": "store"}


def chosen(names: Sequence[str]) -> dict[str, Axis]:
    """The axes of these names, or the usual ones.

    Raises:
        BenchError: there is none of a name.
    """
    wanted = set(names or _USUAL)
    unknown = sorted(wanted - AXES.keys())
    if unknown:
        raise BenchError(f"Nothing grows by {', '.join(unknown)}; there are {', '.join(AXES)}.")
    return {name: axis for name, axis in AXES.items() if name in wanted}


def panels(points: Sequence[Point]) -> list[Panel]:
    """What is drawn: processor time for each delivery, a line for each mode."""
    drawn: dict[str, list[Point]] = {}
    for point in points:
        drawn.setdefault(_SAME_PANEL.get(point.axis, point.axis), []).append(point)
    return [_panel(AXES[name], some) for name, some in drawn.items()]


def _panel(axis: Axis, points: Sequence[Point]) -> Panel:
    lines: dict[str, dict[int, float]] = {}
    for point in points:
        lines.setdefault(point.mode, {})[point.step] = point.medians[_COST]
    steps = sorted({point.step for point in points})
    return Panel(axis.title, axis.x_title, "CPU µs per delivery", steps, lines)


def table(points: Sequence[Point]) -> str:
    """The points as text."""
    names = f"{'axis':<14}{'mode':<13}{'step':>12}"
    head = f"{names}{'cpu us':>10}{'/s':>9}{'statements':>12}{'p99 ms':>9}"
    return "\n".join((head, *(_line(point, point.medians) for point in points)))


def _line(point: Point, medians: Mapping[str, float]) -> str:
    return (
        f"{point.axis:<14}{point.mode:<13}{point.step:>12,}{medians[_COST]:>10.0f}"
        f"{medians['rate']:>9,.0f}{medians['statements each']:>12.2f}{medians['p99']:>9.1f}"
    )


def document(points: Sequence[Point]) -> list[dict[str, object]]:
    """The points as JSON."""
    return [
        {
            "axis": point.axis,
            "mode": point.mode,
            "step": point.step,
            "rounds": [{name: round(value, 3) for name, value in r.items()} for r in point.rounds],
        }
        for point in points
    ]
