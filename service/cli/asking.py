"""Asking before what cannot be undone."""

import sys
from typing import Annotated

import typer

from service.cli.exits import CommandError, Exit
from service.cli.render import printable, say

#: The option that answers the question in advance.
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def confirm(question: str, *, yes: bool) -> None:
    """Go on only after a yes; without a terminal only ``--yes`` is one."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(
            f"{question} Nobody can be asked: this is no terminal.",
            "Give --yes to do it without being asked.",
            Exit.MISUSE,
        )
    try:
        is_meant = typer.confirm(printable(question), err=True)
    except typer.Abort as error:
        say("")  # behind the question
        is_stopped = isinstance(error.__context__, KeyboardInterrupt)
        raise _undone(Exit.INTERRUPTED if is_stopped else Exit.FAILURE) from None
    if not is_meant:
        raise _undone()


def _undone(code: Exit = Exit.FAILURE) -> CommandError:
    return CommandError("Nothing was done.", "Run it again when you mean it.", code)
