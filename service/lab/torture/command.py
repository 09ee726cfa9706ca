"""`ringback torture`: one run, its figures, and an exit code that says whether promises held."""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from service.cli.interrupting import interruptible
from service.lab.processes import LabError
from service.lab.torture import report, running, scenarios
from service.lab.torture.plan import Kind, Mode, Plan

_EVENTS: Final = 50_000
_KILLS: Final = {Mode.EMBEDDED: 200, Mode.DISTRIBUTED: 100}
_DATABASES: Final = {Mode.EMBEDDED: "SQLite", Mode.DISTRIBUTED: "PostgreSQL"}
#: Events and kills of a quick run.
_QUICK: Final = (1_000, 6)

_BROKEN: Final = 1
_INTERRUPTED: Final = 130  # as shells count a program that Ctrl-C ended


def plan(
    mode: str,
    seed: int,
    amounts: tuple[int | None, int | None],
    without: str,
    *,
    quick: bool,
    duration: float | None,
) -> Plan:
    """The plan that options ask for; ``amounts`` are events and kills.

    Raises:
        ValueError: a kind of fault is not known.
    """
    chosen = Mode(mode)
    usual = _QUICK if quick else (_EVENTS, _KILLS[chosen])
    events, kills = (
        one if given is None else given for given, one in zip(amounts, usual, strict=True)
    )
    names = {name.strip() for name in without.split(",") if name.strip()}
    unknown = sorted(names - set(Kind))
    if unknown:
        raise ValueError(f"unknown: {', '.join(unknown)}; there are {', '.join(Kind)}")
    left_out = frozenset(map(Kind, names))
    return Plan(chosen, seed, events, kills, left_out, quick, duration)


def run(plan: Plan, *, as_json: bool, keep: Path | None) -> int:
    """Torture and print; what was written is left in ``keep``, or thrown away."""

    async def work(folder: Path) -> bool:
        result = await running.run(plan, folder)
        sys.stdout.write((report.as_json if as_json else report.as_table)(result) + "\n")
        return not result.violations

    return _finished(work, keep)


def run_failpoints(modes: tuple[str, ...], *, as_json: bool, keep: Path | None) -> int:
    """Come by every failpoint with every action, and print what came of it on each database."""

    async def work(folder: Path) -> bool:
        tables = {_DATABASES[Mode(mode)]: await _failpoints(Mode(mode), folder) for mode in modes}
        form = report.steps_as_json if as_json else report.steps_as_table
        sys.stdout.write(form(tables) + "\n")
        return all(came == scenarios.EXPECTED[name] for name, came in tables.items())

    return _finished(work, keep)


async def _failpoints(mode: Mode, folder: Path) -> report.Steps:
    own = folder / mode.value
    own.mkdir()
    with scenarios.ground(mode, own) as ground:
        return await scenarios.run(scenarios.EXPECTED[_DATABASES[mode]], ground, own)


def _finished(work: Callable[[Path], Coroutine[Any, Any, bool]], keep: Path | None) -> int:
    """Work in a folder; the exit code, 0 only when everything was as it is promised."""
    try:
        with interruptible(), tempfile.TemporaryDirectory(prefix="ringback-torture-") as scratch:
            folder = keep or Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            return 0 if asyncio.run(work(folder.absolute())) else _BROKEN
    except KeyboardInterrupt:
        return _INTERRUPTED
    except LabError as error:
        sys.stderr.write(f"ringback: {error}\n")
        return _BROKEN
