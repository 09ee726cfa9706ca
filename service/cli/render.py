"""How commands print: a table for people, JSON for programs. The one place where output is made.

Data goes to stdout, talk to stderr. Nothing that came from elsewhere reaches a terminal with
control characters in it.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

import typer

from service.cli import exact
from service.cli.commanding import Needs

if TYPE_CHECKING:
    from rich.console import Console

Json = Any


class Form(StrEnum):
    """How a command prints."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


class Record(Protocol):
    """A named tuple."""

    @property
    def _fields(self) -> tuple[str, ...]: ...

    def _asdict(self) -> dict[str, Any]: ...


class Column:
    """A heading, and what stands below it: the value at a path, or what a function makes of it."""

    def __init__(
        self,
        heading: str,
        path: str,
        shown: Callable[[str], str] | None = None,
        *,
        is_text: bool = False,
        is_needed: bool = False,
    ) -> None:
        self.heading = heading
        #: It may go over several lines; ids, which people copy, may not.
        self.is_text = is_text
        #: Without it the table says nothing: it is there however narrow the terminal is.
        self.is_needed = is_needed
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


#: Between two columns.
_GAP: Final = 2
#: What a column of words is folded to where there is little room.
_FOLDED: Final = 30
_COLOURED: Final = frozenset({"status", "state", "verdict", "circuit"})
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

    def cut(
        self,
        items: Iterator[Json],
        columns: Sequence[Column],
        empty: str,
        limit: int,
        onward: Callable[[], str] = str,
    ) -> None:
        """So many items of a list, and a word where there are more; ``onward``: how to go on."""
        self.listed(islice(items, limit), columns, empty)
        behind = onward()
        if next(items, None) is not None:
            say(f"There are more than these {limit}. A larger --limit shows them{behind}.")

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
                _print_table(page, columns)
            return
        for item in chain(first, remaining):
            self.line(item, columns)

    def records(self, rows: Sequence[Record], needed: Collection[str] = ()) -> None:
        """Named tuples; a heading for each of their members, of which some are needed."""
        first, *others = rows[0]._fields
        columns = [
            Column(first, first),
            *(Column(each, each, is_text=True, is_needed=each in needed) for each in others),
        ]
        self.listed([row._asdict() for row in rows], columns, "")

    def line(self, item: Json, columns: Sequence[Column]) -> None:
        """One item as it comes: a line of JSON, or tab-separated."""
        if self.form is Form.TABLE:
            cells = [column.cell(item) for column in columns]
            write("  ".join(filter(None, cells)) if sys.stdout.isatty() else "\t".join(cells))
        else:
            write(exact.dumps(item))

    def one(self, item: Json, columns: Sequence[Column]) -> None:
        """One thing with its members; empty ones are left out of the table."""
        if self.form is not Form.TABLE:
            self.document(item)
            return
        pairs = [(each, each.cell(item)) for each in columns]
        filled = [(column, cell) for column, cell in pairs if cell]
        if sys.stdout.isatty():
            _print_card(filled)
        else:
            write("\n".join(f"{column.heading}\t{cell}" for column, cell in filled))

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


def fitting(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Which columns to show: not the empty ones, and of the others the first that have room.

    Columns stand in the order of their worth; the first and those needed are shown in any case.
    """
    widths: dict[int, int] = {}
    for number, column in enumerate(columns):
        cells = [row[number] for row in rows]
        if any(cells):
            widest = max(map(len, [column.heading, *cells]))
            widths[number] = _GAP + (min(widest, _FOLDED) if column.is_text else widest)
    shown = {each for each in widths if columns[each].is_needed} | {*list(widths)[:1]}
    left = width + _GAP - sum(widths[each] for each in shown)
    for number, needed in widths.items():
        if number not in shown and needed <= left:
            shown.add(number)
            left -= needed
    return sorted(shown)


def _print_table(items: Sequence[Json], columns: Sequence[Column]) -> None:
    from rich.table import Table
    from rich.text import Text

    console = _console()
    rows = [[column.cell(item) for column in columns] for item in items]
    shown = fitting(columns, rows, console.width)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    for number in shown:
        is_text = columns[number].is_text
        table.add_column(columns[number].heading, no_wrap=not is_text, overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[each], _style(columns[each], row[each])) for each in shown))
    console.print(table)


def _print_card(pairs: Sequence[tuple[Column, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    console = _console()
    width = max(len(column.heading) for column, _ in pairs) + _GAP
    for column, cell in pairs:
        text = Text(cell, _style(column, cell))
        if " " in cell:
            row = Table.grid()
            row.add_column(style="dim", no_wrap=True, width=width)
            row.add_column(overflow="fold")
            row.add_row(column.heading, text)
            console.print(row)
        else:  # a link or a key may be longer than the line: people copy it
            head = Text(column.heading.ljust(width), "dim")
            console.print(Text.assemble(head, text), soft_wrap=True)


def _style(column: Column, cell: str) -> str:
    return _STYLES.get(cell, "") if column.heading in _COLOURED else ""


def _console() -> "Console":
    from rich.console import Console

    return Console(highlight=False, markup=False)
