"""How far long work is whose end nobody knows: a line that changes, on a terminal only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.cli.render import printable


@contextmanager
def counting(doing: str) -> Iterator[Callable[[str], None]]:
    """What is given shows what has been done so far."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False)
    with console.status(doing) as status:
        yield lambda done: status.update(f"{doing} {printable(done)}")
