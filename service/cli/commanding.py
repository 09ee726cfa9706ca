"""Commands whose common options are declared once.

A parameter annotated with :class:`Needs` is made by a function whose own parameters become options
of the command, so that ``--url`` or ``--output`` are written in one place and work the same behind
every command. Every command has an example.
"""

import inspect
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, get_args, runtime_checkable

import typer

Function = Callable[..., None]
EXAMPLE: Final = "Example:"


@runtime_checkable
class Closes(Protocol):
    """What a command closes at its end."""

    def close(self) -> None:
        """Let go of what is held."""


@dataclass(frozen=True, slots=True)
class Needs:
    """How a parameter is made; the parameters of ``make`` are options of the command.

    Attributes:
        last: help shows these options behind the others.
    """

    make: Callable[..., object]
    last: bool = False


def group(name: str, about: str) -> typer.Typer:
    """A noun with verbs below it."""
    return typer.Typer(
        name=name,
        help=about,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def command(app: typer.Typer, name: str, example: str) -> Callable[[Function], Function]:
    """Make a function a command of ``app``; of several examples each is on a line of its own."""

    def register(function: Function) -> Function:
        app.command(name, epilog=epilog(example))(_opened(function))
        return function

    return register


def epilog(example: str) -> str:
    """What stands below the options: lines to copy, left as they are."""
    lines = "".join(f"\n  {line}" for line in example.splitlines())
    return f"\b\n{EXAMPLE}{lines}"


def _opened(function: Function) -> Function:
    """The function with the options of what it needs in the place of what it needs."""
    needed: dict[str, Needs] = {}
    shown: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        needs = _needs(parameter)
        if needs is None:
            shown.append(parameter)
        else:
            needed[name] = needs
    for needs in sorted(needed.values(), key=lambda each: each.last):
        shown += inspect.signature(needs.make).parameters.values()
    run = partial(_run, function, needed)
    named = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in shown]
    vars(run).update(
        __name__=function.__name__,
        __doc__=function.__doc__,
        __signature__=inspect.Signature(named),
        __annotations__={each.name: each.annotation for each in named},
    )
    return run


def _run(function: Function, needed: Mapping[str, Needs], **given: Any) -> None:  # noqa: ANN401  options are what they are
    with ExitStack() as opened:
        for name, needs in needed.items():
            own = inspect.signature(needs.make).parameters
            made = needs.make(**{each: given.pop(each) for each in own})
            if isinstance(made, Closes):
                opened.callback(made.close)
            given[name] = made
        function(**given)


def _needs(parameter: inspect.Parameter) -> Needs | None:
    hints = get_args(parameter.annotation)
    return next((hint for hint in hints if isinstance(hint, Needs)), None)
