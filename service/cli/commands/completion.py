"""`ringback completion`: what makes a shell complete commands and options."""

import os
from enum import StrEnum
from typing import Annotated, Final

import typer

from service.cli.commanding import command
from service.cli.render import write

_NAME: Final = "ringback"
#: Set by a shell that asks for completions.
_VARIABLE: Final = "_RINGBACK_COMPLETE"


class Shell(StrEnum):
    """The shells that are known."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def add_to(app: typer.Typer) -> None:
    """Make it a command of ``app``."""
    example = 'eval "$(ringback completion bash)"\nringback completion fish | source'
    command(app, "completion", example)(completion)


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish")],
) -> None:
    """Print what makes a shell complete commands and options."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # its home

    script = get_completion_script(prog_name=_NAME, complete_var=_VARIABLE, shell=shell.value)
    write(script)


def prepare() -> None:
    """Be ready to answer a shell that asks."""
    if _VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]  # its home

        completion_init()
