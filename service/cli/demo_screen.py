"""How the demo looks: a column of steps, one line for each thing as it happens, 80 columns wide."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.status import Status
from rich.text import Text

from service.cli.demo_receiver import Arrival

_WIDTH: Final = 78
_INDENT: Final = "     "
#: Heading, width, and whether the column is set flush right.
_COLUMNS: Final = (
    ("event", 15, False),
    ("operation", 10, False),
    ("sequence", 9, True),
    ("attempt", 9, True),
    ("answer", 8, True),
    ("   signature", 14, False),
    ("after", 8, True),
)
_SUCCESS: Final = 2  # the first digit of a status that means success


class Screen:
    """Writes to the terminal; in plain words and without colour where there is none."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, soft_wrap=True)
        self._began = time.monotonic()
        # A terminal that knows no UTF-8 gets signs that it knows.
        fancy = self._console.encoding.startswith("utf")
        self._yes, self._no, self._line = ("✓", "✗", "─") if fancy else ("+", "x", "-")

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def title(self, version: str) -> None:
        """The first line."""
        right = f"version {version}"
        name = "Ringback, start to finish"
        self._say()
        self._say(("  " + name.ljust(_WIDTH - 2 - len(right)), "bold"), (right, "dim"))
        self._say(("  " + self._line * (_WIDTH - 2), "dim"))

    def fact(self, name: str, value: str, note: str) -> None:
        """Something that stands ready."""
        self._say(("  " + name.ljust(12), "dim"), (value.ljust(26), "cyan"), (note, "dim"))

    def step(self, number: int, name: str, meaning: str) -> None:
        """The head of a step."""
        self._say()
        self._say((f"  {number}  ", "bold blue"), (name, "bold"))
        self._say((_INDENT + meaning, "dim"))
        self._say()

    def columns(self) -> None:
        """The heads of the columns that :meth:`arrival` fills."""
        self._say((_INDENT + _row(*(name for name, _, _ in _COLUMNS)), "dim"))

    def arrival(self, arrival: Arrival, after: str) -> None:
        """One delivery that came in."""
        good = arrival.answer // 100 == _SUCCESS
        sign, says = (self._yes, "verified") if arrival.fault is None else (self._no, arrival.fault)
        cells = (
            (arrival.event_type, "bold"),
            (arrival.operation_id, "cyan"),
            (arrival.sequence, ""),
            (arrival.attempt, "" if arrival.attempt == "1" else "yellow"),
            (str(arrival.answer.value), "green" if good else "red"),
            (f"   {sign} {says}", "green" if arrival.fault is None else "red"),
            (after, "dim"),
        )
        placed = zip(cells, _COLUMNS, strict=True)
        self._say(_INDENT, *((_cell(text, column), style) for (text, style), column in placed))

    def seen(self, *parts: str | tuple[str, str]) -> None:
        """Something that is as it should be."""
        self._say((f"{_INDENT}{self._yes} ", "green"), *parts)

    def bad(self, *parts: str | tuple[str, str]) -> None:
        """Something that went wrong, as it was meant to here."""
        self._say((f"{_INDENT}{self._no} ", "red"), *parts)

    def detail(self, name: str, note: str) -> None:
        """What belongs to the line above."""
        self._say((f"{_INDENT}  {name}", "cyan"), (f"  {note}", "dim"))

    def gap(self) -> None:
        """An empty line."""
        self._say()

    def summary(self, *lines: str) -> None:
        """What was seen."""
        self._say()
        self._say(("  " + self._line * (_WIDTH - 2), "dim"))
        first, *others = lines
        self._say((f"  {self._yes}  ", "bold green"), (first, "bold"))
        for line in others:
            self._say((_INDENT + line, "dim"))

    def advice(self, heading: str, lines: tuple[str, ...]) -> None:
        """What to do next, to be copied."""
        self._say()
        self._say(("  " + heading, "bold"))
        self._say()
        for line in lines:
            self._say((_INDENT + line).rstrip())
        self._say()

    def failed(self, message: str) -> None:
        """Why the demo did not come to its end."""
        self._say()
        self._say((f"  {self._no}  ", "bold red"), (message, "red"))
        self._say()

    def stopped(self) -> None:
        """Somebody pressed Ctrl-C."""
        self._say()
        self._say(("  Stopped. Nothing is left behind.", "dim"))

    @contextmanager
    def waiting(self, words: str) -> Iterator[Status]:
        """A turning sign while something takes its time; on a terminal only."""
        text = Text(f"  {words}", "dim")
        with self._console.status(text, spinner="dots", spinner_style="blue") as status:
            yield status

    def _say(self, *parts: str | tuple[str, str]) -> None:
        self._console.print(Text.assemble(*parts))


def _cell(text: str, column: tuple[str, int, bool]) -> str:
    _, width, right = column
    return text.rjust(width) if right else text.ljust(width)


def _row(*cells: str) -> str:
    return "".join(map(_cell, cells, _COLUMNS)).rstrip()
