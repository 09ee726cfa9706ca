"""`ringback torture`: one run, its figures, and an exit code that says whether promises held."""

import asyncio
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from service.lab.processes import LabError
from service.lab.torture import report, running
from service.lab.torture.plan import Kind, Mode, Plan

_EVENTS: Final = 50_000
_KILLS: Final = {Mode.EMBEDDED: 200, Mode.DISTRIBUTED: 100}
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
    try:
        with _interruptible(), tempfile.TemporaryDirectory(prefix="ringback-torture-") as scratch:
            folder = keep or Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            result = asyncio.run(running.run(plan, folder.absolute()))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except LabError as error:
        sys.stderr.write(f"ringback: {error}\n")
        return _BROKEN
    sys.stdout.write((report.as_json if as_json else report.as_table)(result) + "\n")
    return _BROKEN if result.violations else 0


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let what asks a program to end do so the way Ctrl-C does: everything is put away first."""
    asked = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in asked}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
