"""Printing rows: a table for a terminal, tab-separated lines or JSON for a program."""

import json
import sys
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.runtime.doctor import Finding
    from service.settings import Row


def show(rows: "Sequence[Row] | Sequence[Finding]", *, as_json: bool) -> None:
    """Write rows to stdout: JSON if asked for, else a table on a terminal, else plain lines."""
    if as_json:
        typer.echo(json.dumps([row._asdict() for row in rows], indent=2))
    elif sys.stdout.isatty():
        Console().print(_table(rows))
    else:
        typer.echo("\n".join("\t".join(row) for row in rows))


def _table(rows: "Sequence[Row] | Sequence[Finding]") -> Table:
    table = Table()
    first, *_ = rows
    for heading in first._fields:
        table.add_column(heading, no_wrap=heading == first._fields[0], overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # Text: a bracket in a value is no markup
    return table
