"""`ringback export`: a tenant's data as lines of JSON."""

import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import typer

from service.cli import exporting, inputs
from service.cli.client import Connected
from service.cli.commanding import command
from service.cli.counting import counting
from service.cli.exits import CommandError, Exit
from service.cli.exporting import SOURCES, Done, Plan, Write
from service.cli.interrupting import interruptible
from service.cli.render import say, write
from service.domain import times

_ALL: Final = ",".join(SOURCES)


def add_to(app: typer.Typer) -> None:
    """Make it a command of ``app``."""
    example = (
        "ringback export --to acme.jsonl --since 30d\n"
        "ringback export --to acme.jsonl --resume\n"
        "ringback export --only events | gzip > events.jsonl.gz"
    )
    command(app, "export", example)(export)


def export(
    api: Connected,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write here; to stdout, if not given.")
    ] = None,
    *,
    only: Annotated[
        str | None, typer.Option(metavar="KINDS", help=f"A comma list of {_ALL}; else all.")
    ] = None,
    since: Annotated[str | None, inputs.since()] = None,
    until: Annotated[str | None, inputs.since("--until")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the export to this file was cut off.")
    ] = False,
) -> None:
    """Write what a tenant has as lines of JSON.

    It asks the API alone, beside the work of a running service, and sees what the key may see; the
    audit log needs an admin key. Events are of a span of time by their own timestamps, and those
    that come meanwhile are written too; else it is as it was when it began.
    """
    if resume and (to is None or only or since or until):
        raise typer.BadParameter("--resume goes with --to alone: the file says what is in it")
    plan = Plan(_kinds(only), since, until, times.render(round(time.time() * 1000)))
    written: Counter[str] = Counter()
    with ExitStack() as closing:
        closing.enter_context(interruptible())
        put, done = _opened(closing, to, resume=resume)
        show = closing.enter_context(counting("Exported"))

        def told(kind: str, count: int) -> None:
            written[kind] = count
            show(_summary(written))

        try:
            exporting.run(api, put, done.plan if done else plan, told, done)
        except CommandError as error:
            raise _cut(error, to) from None
    say(f"Exported {_summary(written)}." if written else "It was complete already.")


def _kinds(only: str | None) -> tuple[str, ...]:
    kinds = inputs.words(only) or list(SOURCES)
    unknown = [kind for kind in kinds if kind not in SOURCES]
    if unknown:
        raise typer.BadParameter(f"unknown: {unknown[0]}; there are {_ALL}", param_hint="--only")
    return tuple(dict.fromkeys(kinds))


def _opened(closing: ExitStack, to: Path | None, *, resume: bool) -> tuple[Write, Done | None]:
    """What writes a line, and what is there already."""
    if to is None:
        return write, None
    file, done = exporting.opened(to, resume=resume)
    closing.enter_context(file)

    def put(line: str) -> None:
        file.write(line.encode() + b"\n")

    return put, done


def _summary(written: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in written.items())


def _cut(error: CommandError, to: Path | None) -> CommandError:
    """The same failure, with how to go on where there is something to go on from."""
    if to is None or error.code is not Exit.UNAVAILABLE:
        return error
    return CommandError(
        str(error), f"`ringback export --to {to} --resume` goes on from here.", error.code
    )
