"""Asking before what cannot be undone."""

import sys
from typing import Annotated

import typer

from service.cli.exits import CommandError, Exit
from service.cli.render import printable

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
    if not typer.confirm(printable(question), err=True):
        raise CommandError("Nothing was done.", "Run it again when you mean it.")
