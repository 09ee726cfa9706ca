"""`ringback prune`: retention, done now."""

import os
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from service.cli import inputs
from service.cli.asking import Yes, confirm
from service.cli.commanding import command
from service.cli.counting import counting
from service.cli.render import Column, Form, Printed, say
from service.domain import times

if TYPE_CHECKING:
    from service.ports.pruning import Past

_COLUMNS: Final = (Column("what", "what"), Column("past", "past"), Column("left", "left"))
_NAMES: Final = {
    "events": "events",
    "open_deliveries": "open deliveries",
    "deliveries": "finished deliveries",
    "attempts": "attempts",
    "dead_letters": "resolved dead letters",
    "operations": "expired operations",
    "tombstones": "operations' tombstones",
}


def add_to(app: typer.Typer) -> None:
    """Make it a command of ``app``."""
    command(app, "prune", "ringback prune --dry-run\nringback prune --older-than 90d --yes")(prune)


def prune(
    out: Printed,
    older_than: Annotated[str | None, inputs.since("--older-than")] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what would be deleted.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Delete what is past its time, now.

    That is what is past RINGBACK_RETENTION, or older than is said with --older-than. The sweeper
    does the same little by little. It works on the database itself, whose settings it takes: a
    service with a SQLite file has to be stopped first, one with PostgreSQL need not.
    """
    from service import runtime, settings

    wanted = settings.load(os.environ)

    def agreed(past: "Past") -> bool:
        if dry_run or not past.total:
            return False
        confirm(_question(past), yes=yes)
        return True

    with counting("Deleted") as show:
        before, after = runtime.prune(
            wanted, _age(older_than), agreed, lambda rows: show(f"{rows} rows")
        )
    rows = [
        {"what": name, "past": getattr(before, key), "left": getattr(after, key)}
        for key, name in _NAMES.items()
    ]
    out.listed(rows, _COLUMNS, "")
    if dry_run and out.form is Form.TABLE:
        say("Nothing was deleted.")


def _question(past: "Past") -> str:
    also = f", and give up {past.open_deliveries} open deliveries" if past.open_deliveries else ""
    return f"Delete {past.events} events with all they have{also}, for good?"


def _age(moment: str | None) -> int | None:
    """Milliseconds since a moment."""
    at = None if moment is None else times.parse(moment)
    return None if at is None else max(round(time.time() * 1000) - at, 0)
