"""The command line in the tests' own process: what people type, what they get to see."""

import io
import os
import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any
from unittest.mock import patch

import typer

from service.cli import exact, main

#: Made once: it takes longer than most commands.
_command = cache(typer.main.get_command)
_ID = re.compile(r"\b(op|evt|sub|dlv|dl|key|pl)_[0-9a-f]{16,}\b")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{3})?Z?")
#: What NO_COLOR leaves: bold and dim.
_EMPHASIS = re.compile(r"\x1b\[[0-9;]*m")


class Screen(io.StringIO):
    """Output that says whether it is a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


class Keyboard(io.TextIOWrapper):
    """Input that says whether it is a terminal."""

    def __init__(self, typed: bytes, *, is_terminal: bool) -> None:
        super().__init__(io.BytesIO(typed))
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command said, and what it ended with."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """The lines of ``-o jsonl``."""
        return [exact.loads(line) for line in self.out.splitlines()]

    @property
    def json(self) -> Any:  # noqa: ANN401  JSON is what it is
        """The document of ``-o json``."""
        return exact.loads(self.out)


@dataclass(frozen=True, slots=True)
class Terminal:
    """A shell with these variables; ``arguments`` stand behind what is typed.

    Attributes:
        width: of the terminal that stdout is; 0: it is none.
        is_manned: whether somebody sits there, to answer questions and see bars.
    """

    environ: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    width: int = 0
    is_manned: bool = False

    def __call__(self, *typed: str, stdin: bytes = b"") -> Ended:
        """Run a command to its end."""
        out, err = Screen(is_terminal=self.width > 0), Screen(is_terminal=self.is_manned)
        shell = {"COLUMNS": str(self.width or 80), "TERM": "xterm", "NO_COLOR": "1", **self.environ}
        kept = {name: text for name, text in os.environ.items() if not name.startswith("RINGBACK")}
        with (
            patch.dict(os.environ, {**kept, **shell}, clear=True),
            patch.object(typer.main, "get_command", _command),
            patch.object(sys, "argv", ["ringback", *typed, *self.arguments]),
            patch.object(sys, "stdin", Keyboard(stdin, is_terminal=self.is_manned)),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = _exit_code()
        return Ended(code, _EMPHASIS.sub("", out.getvalue()), err.getvalue())


def frozen(text: str) -> str:
    """The text with ids numbered by their first appearance, and times and durations replaced."""
    numbers: dict[str, str] = {}
    counters: dict[str, count[int]] = {}

    def number(found: re.Match[str]) -> str:
        kind = found[1]
        counter = counters.setdefault(kind, count(1))
        if found[0] not in numbers:
            numbers[found[0]] = f"{kind}_{next(counter)}".ljust(len(found[0]), "_")
        return numbers[found[0]]

    text = _TIME.sub(lambda found: "T" * len(found[0]), _ID.sub(number, text))
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _exit_code() -> int:
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    raise AssertionError("The command line did not exit.")
