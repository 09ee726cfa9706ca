"""How commands print: a table for people, JSON for programs. The one place where output is made.

Data goes to stdout, talk to stderr. Nothing that came from elsewhere reaches a terminal with
control characters in it.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from service.cli import exact
from service.cli.commanding import Needs

if TYPE_CHECKING:
    from rich.table import Table

Json = Any


class Form(StrEnum):
    """How a command prints."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


class Column:
    """A heading, and what stands below it: the value at a path, or what a function makes of it."""

    def __init__(self, heading: str, path: str, shown: Callable[[str], str] | None = None) -> None:
        self.heading = heading
        self._path = path.split(".")
        self._shown = shown

    def cell(self, item: Json) -> str:
        """The text in the row of an item; nothing for what is not there."""
        for name in self._path:
            item = item.get(name) if isinstance(item, dict) else None
        if item is None:
            return ""
        text = item if isinstance(item, str) else exact.dumps(item)
        return printable(self._shown(text) if self._shown else text)


#: Items after which a table is set: its widths are of what it holds.
_TABLE_ROWS: Final = 100
_STYLES: Final = {
    **dict.fromkeys(("delivered", "active", "COMPLETED", "ok", "closed"), "green"),
    **dict.fromkeys(("dead", "disabled", "FAILED", "fault", "open"), "red"),
    **dict.fromkeys(("pending", "delivering", "paused", "PROCESSING"), "yellow"),
    **dict.fromkeys(("cancelled", "CANCELLED", "PENDING"), "dim"),
}


class Out:
    """Prints in the form that was asked for."""

    def __init__(self, form: Form) -> None:
        self.form = form

    def listed(self, items: Iterable[Json], columns: Sequence[Column], empty: str) -> None:
        """Items of a list; ``empty`` tells people what to do when there are none."""
        if self.form is Form.JSON:
            self.document(list(items))
            return
        remaining = iter(items)
        first = list(islice(remaining, 1))
        if not first and self.form is Form.TABLE:
            say(empty)
        if self.form is Form.TABLE and sys.stdout.isatty():
            rows = chain(first, remaining)
            while page := list(islice(rows, _TABLE_ROWS)):
                _console_print(_table(page, columns))
            return
        for item in chain(first, remaining):
            self.line(item, columns)

    def line(self, item: Json, columns: Sequence[Column]) -> None:
        """One item as it comes: a line of JSON, or tab-separated."""
        if self.form is Form.TABLE:
            write("\t".join(column.cell(item) for column in columns))
        else:
            write(exact.dumps(item))

    def one(self, item: Json, columns: Sequence[Column]) -> None:
        """One thing with its members; empty ones are left out of the table."""
        if self.form is not Form.TABLE:
            self.document(item)
            return
        pairs = [(each.heading, each.cell(item)) for each in columns]
        filled = [(heading, cell) for heading, cell in pairs if cell]
        if sys.stdout.isatty():
            _console_print(_card(filled))
        else:
            write("\n".join("\t".join(pair) for pair in filled))

    def document(self, value: Json) -> None:
        """A JSON document."""
        write(exact.dumps(value, pretty=self.form is Form.JSON))

    def done(self, sentence: str, value: Mapping[str, object]) -> None:
        """What was done: a sentence for people, a document for programs."""
        if self.form is Form.TABLE:
            write(printable(sentence))
        else:
            self.document(value)


def printed(
    form: Annotated[
        Form, typer.Option("--output", "-o", help="A table for people, or JSON.")
    ] = Form.TABLE,
) -> Out:
    """The output that an option names."""
    return Out(form)


#: The output, as a parameter of a command.
Printed = Annotated[Out, Needs(printed, last=True)]


def write(text: str) -> None:
    """A line of data, at once: somebody may be watching."""
    typer.echo(text)
    sys.stdout.flush()


def say(text: str) -> None:
    """A line of talk, which does not mix with data."""
    typer.echo(printable(text, keep="\n"), err=True)


def printable(text: str, keep: str = "") -> str:
    """The text with what a terminal would obey, and what would break a row, as escapes."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode()
        for each in text
    )


def _table(items: Sequence[Json], columns: Sequence[Column]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.heading, overflow="fold")
    for item in items:
        cells = (column.cell(item) for column in columns)
        table.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in cells))
    return table


def _card(pairs: Sequence[tuple[str, str]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for heading, cell in pairs:
        table.add_row(heading, Text(cell, _STYLES.get(cell, "")))
    return table


def _console_print(table: "Table") -> None:
    from rich.console import Console

    Console(highlight=False, markup=False).print(table)
