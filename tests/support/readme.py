"""README.md as tests read it, and its tables."""

import re
from pathlib import Path
from typing import Final

from tests.support.prose import Prose, free_port, with_ports

__all__ = [
    "ROOT",
    "TEXT",
    "anchors",
    "block",
    "blocks",
    "free_port",
    "links",
    "table",
    "with_ports",
]

ROOT: Final = Path(__file__).parents[2]
_README: Final = Prose.read(ROOT / "README.md")
TEXT: Final = _README.text

blocks: Final = _README.blocks
block: Final = _README.block
links: Final = _README.links
anchors: Final = _README.anchors


def table(name: str) -> list[str]:
    """The rows of the table between the marks of that name."""
    between = re.search(rf"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", TEXT, re.DOTALL)
    assert between is not None
    _, _, *rows = between[1].splitlines()
    return rows
