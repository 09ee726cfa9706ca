"""Help: every command has examples, which are of that command and of options that it has."""

import shlex
from collections.abc import Iterator

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

from service.cli.app import app
from service.cli.commanding import EXAMPLE
from tests.support.terminal import Terminal

ROOT = typer.main.get_group(app)


def commands(group: TyperGroup = ROOT, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command."""
    for name, each in group.commands.items():
        if isinstance(each, TyperGroup):
            yield from commands(each, (*above, name))
        else:
            yield (*above, name)


def command(words: tuple[str, ...]) -> TyperCommand:
    found: object = ROOT
    for word in words:
        assert isinstance(found, TyperGroup)
        found = found.commands[word]
    assert isinstance(found, TyperCommand)
    return found


def examples(words: tuple[str, ...]) -> list[str]:
    """The lines under the word "Example"."""
    shown = Terminal()(*words, "--help")
    assert (shown.code, shown.err) == (0, "")
    _, _, below = shown.out.partition(EXAMPLE)
    return [line.strip() for line in below.splitlines() if line.strip()]


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_example_is_of_its_command_and_its_options(words: tuple[str, ...]) -> None:
    own = command(words)
    lines = examples(words)
    options = {name for each in own.params for name in [*each.opts, *each.secondary_opts]}

    assert lines
    for line in lines:
        parts = shlex.split(line.removeprefix('eval "$(').removesuffix(')"'))
        assert parts[: len(words) + 1] == ["ringback", *words]
        given = parts[len(words) + 1 :]
        given = given[: given.index("|")] if "|" in given else given
        assert {part for part in given if part.startswith("-")} <= options


def test_every_command_and_option_says_what_it_is_for() -> None:
    for words in commands():
        own = command(words)
        assert own.help
        silent = [each.name for each in own.params if not getattr(each, "help", None)]
        assert set(silent) <= {"name", "names", "shell", "help"}


@pytest.mark.parametrize("noun", sorted({name for name, *verb in commands() if verb}))
def test_a_noun_alone_shows_its_verbs(noun: str) -> None:
    shown = Terminal()(noun)

    assert shown.code == 2
    assert "Commands:" in shown.out + shown.err
