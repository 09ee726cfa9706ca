"""The run: rows one after the other, as often as was asked, then the report."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from service.lab.bench import reporting, session
from service.lab.bench.faults import BenchError
from service.lab.bench.hosting import EMBEDDED, Mode
from service.lab.bench.machine import facts
from service.lab.bench.rows import Row, chosen

if TYPE_CHECKING:
    from service.lab.bench.figures import Values

MODES: Final[Mapping[str, Mode]] = {EMBEDDED.name: EMBEDDED}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured."""

    mode: str = EMBEDDED.name
    #: Empty: all.
    rows: Sequence[str] = ()
    quick: bool = False
    #: How often all of it.
    rounds: int = 1


def check(plan: Plan) -> None:
    """Make sure that there is what the plan names.

    Raises:
        BenchError: there is not.
    """
    chosen(plan.rows)
    if plan.mode not in MODES:
        raise BenchError(f"There is no mode {plan.mode}; there is {', '.join(MODES)}.")


def run(plan: Plan, *, as_json: bool) -> int:
    """Measure and print; 0 when every row has figures and none of them missed a must."""
    rows = chosen(plan.rows)
    with tempfile.TemporaryDirectory(prefix="ringback-bench-", ignore_cleanup_errors=True) as place:
        report = asyncio.run(_measure(plan, rows, Path(place)))
    text = json.dumps(reporting.document(report)) if as_json else reporting.table(report)
    sys.stdout.write(text + "\n")
    is_short = any(each.reached == "missed" for each in report.figures)
    return 1 if report.failures or is_short else 0


async def _measure(plan: Plan, rows: Mapping[str, Row], place: Path) -> reporting.Report:
    sizes = session.QUICK if plan.quick else session.FULL
    machine = facts(place)
    rounds: list[Mapping[str, Values]] = []
    failures: dict[str, str] = {}
    for number in range(plan.rounds):
        folder = place / f"round-{number}"
        folder.mkdir()
        async with session.opened(MODES[plan.mode], sizes, folder) as opened:
            for name, row in rows.items():
                await _row(opened, name, row, failures)
            rounds.append(opened.found)
    found = reporting.figures(plan.mode, rounds)
    return reporting.Report(plan.mode, plan.quick, machine, found, failures)


async def _row(opened: session.Session, name: str, row: Row, failures: dict[str, str]) -> None:
    """Measure one row; why it could not be is noted, and the next one may."""
    sys.stderr.write(f"{row.title} ...\n")
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
