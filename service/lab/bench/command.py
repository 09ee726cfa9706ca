"""The run: modes and rows one after the other, as often as was asked, then the report."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from service.lab.bench import plotting, reporting, scaling, session
from service.lab.bench.faults import BenchError
from service.lab.bench.machine import facts
from service.lab.bench.modes import MODES
from service.lab.bench.rows import Row, chosen

if TYPE_CHECKING:
    from service.lab.bench.figures import Values


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured."""

    #: Empty: all, and so for rows.
    modes: Sequence[str] = ()
    rows: Sequence[str] = ()
    quick: bool = False
    #: How long each load lasts, where not as long as usual.
    seconds: float | None = None
    #: How often all of it.
    rounds: int = 1
    #: Where the plot goes of what grows, which is then measured in place of the rows.
    plot: Path | None = None

    def sizes(self, usual: session.Sizes) -> session.Sizes:
        """How long, and how much."""
        sizes = session.QUICK if self.quick else usual
        return sizes if self.seconds is None else sizes.lasting(self.seconds)


@dataclass(slots=True)
class _Found:
    """What came of one mode so far."""

    rounds: list[Mapping[str, "Values"]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def check(plan: Plan) -> None:
    """Make sure that there is what the plan names.

    Raises:
        BenchError: there is not.
    """
    if plan.plot is None:
        chosen(plan.rows)
    else:
        scaling.chosen(plan.rows)
    unknown = [name for name in plan.modes if name not in MODES]
    if unknown:
        raise BenchError(f"There is no mode {unknown[0]}; there are {', '.join(MODES)}.")


def run(plan: Plan, *, as_json: bool) -> int:
    """Measure and print; 0 when every row has figures and none of them missed a must."""
    if plan.plot is not None:
        return _scale(plan, plan.plot, as_json=as_json)
    with tempfile.TemporaryDirectory(prefix="ringback-bench-", ignore_cleanup_errors=True) as place:
        reports = asyncio.run(_measure(plan, Path(place)))
    text = (
        json.dumps({"reports": [reporting.document(each) for each in reports]})
        if as_json
        else "\n\n".join(map(reporting.table, reports))
    )
    sys.stdout.write(text + "\n")
    figures = [figure for each in reports for figure in each.figures]
    is_short = any(each.reached == "missed" for each in figures)
    return 1 if is_short or any(each.failures for each in reports) else 0


def _scale(plan: Plan, plot: Path, *, as_json: bool) -> int:
    """Measure what grows, print it and draw it."""
    with tempfile.TemporaryDirectory(prefix="ringback-bench-", ignore_cleanup_errors=True) as place:
        machine = facts(Path(place))
        points = asyncio.run(_grown(plan, Path(place)))
    about = (
        f"CPU time of all its processes, databases included, for each delivery of 1 KB; "
        f"{machine['cores']} cores ({machine['cpu']}), median of {plan.rounds}"
    )
    plot.write_text(plotting.svg("How Ringback scales", about, scaling.panels(points)))
    found = {"quick": plan.quick, "machine": machine, "points": scaling.document(points)}
    sys.stdout.write((json.dumps(found) if as_json else scaling.table(points)) + "\n")
    return 0


async def _grown(plan: Plan, place: Path) -> list[scaling.Point]:
    sizes = plan.sizes(session.SCALED)
    points = []
    for mode_name in plan.modes or MODES:
        folder = place / mode_name
        folder.mkdir()
        with MODES[mode_name](folder) as mode:
            async with session.opened(mode, sizes, folder) as opened:
                points += await _axes(plan, opened)
    return points


async def _axes(plan: Plan, opened: session.Session) -> list[scaling.Point]:
    """Every step of every axis that one mode has."""
    points = []
    for name, axis in scaling.chosen(plan.rows).items():
        if opened.mode.name not in axis.modes:
            continue
        for step in axis.quick if plan.quick else axis.steps:
            sys.stderr.write(f"{opened.mode.name}: {axis.title}: {step} {axis.x_title} ...\n")
            rounds = [await axis.measure(opened, step) for _ in range(plan.rounds)]
            points.append(scaling.Point(name, opened.mode.name, step, rounds))
    return points


async def _measure(plan: Plan, place: Path) -> list[reporting.Report]:
    machine = facts(place)
    found = {name: _Found() for name in plan.modes or MODES}
    for number in range(plan.rounds):
        for name, each in found.items():
            folder = place / f"{name}-{number}"
            folder.mkdir()
            try:
                await _round(plan, name, folder, each)
            except BenchError as error:
                each.failures[name] = str(error)
    return [
        reporting.Report(
            name, plan.quick, machine, reporting.figures(name, each.rounds), each.failures
        )
        for name, each in found.items()
    ]


async def _round(plan: Plan, name: str, folder: Path, found: _Found) -> None:
    """Measure all rows in one mode once."""
    sizes = plan.sizes(session.FULL)
    with MODES[name](folder) as mode:
        async with session.opened(mode, sizes, folder) as opened:
            for row_name, row in chosen(plan.rows).items():
                if name in row.modes:
                    await _row(opened, row_name, row, found.failures)
            found.rounds.append(opened.found)


async def _row(opened: session.Session, name: str, row: Row, failures: dict[str, str]) -> None:
    """Measure one row; why it could not be is noted, and the next one may."""
    sys.stderr.write(f"{opened.mode.name}: {row.title} ...\n")
    if row.needs is not None and row.needs not in opened.found:
        failures[name] = f"the row {row.needs}, which it is compared with, has none"
        return
    try:
        opened.found[name] = await row.measure(opened)
    except BenchError as error:
        failures[name] = str(error)
    finally:
        # a load that a failed row left behind would be in the next one's figures
        await opened.generator.ask("stop")
