"""Watching an operation to its end: a bar on a terminal, a line for each event elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from service.cli import exact, shown
from service.cli.client import Api, named
from service.cli.exits import CommandError
from service.cli.following import operation_events
from service.cli.render import Form, Out, printable

Json = Any
_WHOLE: Final = 100.0
_GOOD: Final = frozenset({"COMPLETED", "COMPLETED_WITH_ERRORS"})


def watch(api: Api, out: Out, name: str, total: int | None = None) -> Json:
    """Follow an operation until it ends, and show it then.

    ``total``: of how many things it is, where it may not know that itself.

    Raises:
        CommandError: it failed or was cancelled.
    """
    if out.form is Form.TABLE and sys.stderr.isatty():
        with _bar(name, total) as advance:
            for event in operation_events(api, name):
                advance(event)
    else:
        for event in operation_events(api, name):
            if out.form is not Form.JSON:
                out.line(event, shown.EVENT)
    operation = api.get(named("/v1/operations/{}", name), {"redirect": False})
    if out.form is Form.JSON:
        out.document(operation)
    elif out.form is Form.TABLE and sys.stderr.isatty():
        out.one(operation, shown.OPERATION_CARD)
    if operation["status"] not in _GOOD:
        raise CommandError(
            f"The operation {name} ended as {operation['status']}.",
            f"`ringback operation get {name}` shows why.",
        )
    return operation


def percentage(progress: Json, total: int | None = None) -> float | None:
    """How far an event says its operation is, from 0 to 100; ``None``: it does not say."""
    if total and isinstance(progress, dict) and "percentage" not in progress:
        current = exact.plain(progress.get("current"))
        return min(_WHOLE * current / total, _WHOLE) if isinstance(current, int | float) else None
    number = exact.plain(progress.get("percentage") if isinstance(progress, dict) else progress)
    return float(number) if isinstance(number, int | float) else None


@contextmanager
def _bar(name: str, total: int | None) -> Iterator[Callable[[Json], None]]:
    """A bar that events move."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True, highlight=False)) as progress:
        task = progress.add_task(printable(name), total=_WHOLE)

        def advance(event: Json) -> None:
            said = event.get("message") or event["type"]
            done = _WHOLE if event["status"] in _GOOD else percentage(event.get("progress"), total)
            words = f"{printable(name)}  {printable(said)}"
            if done is None:
                progress.update(task, description=words)
            else:
                progress.update(task, description=words, completed=done)

        yield advance
