"""The run: modes and rows one after the other, as often as was asked, then the report."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from service.lab.bench import reporting, session
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
    #: How often all of it.
    rounds: int = 1


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
    chosen(plan.rows)
    unknown = [name for name in plan.modes if name not in MODES]
    if unknown:
        raise BenchError(f"There is no mode {unknown[0]}; there are {', '.join(MODES)}.")


def run(plan: Plan, *, as_json: bool) -> int:
    """Measure and print; 0 when every row has figures and none of them missed a must."""
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
    sizes = session.QUICK if plan.quick else session.FULL
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
