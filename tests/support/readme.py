"""README.md as tests read it: its blocks, its tables, its links, and ports that are free."""

import re
import socket
from collections import defaultdict
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "README.md").read_text()

_BLOCK: Final = re.compile(r"^```(?P<info>[^\n`]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (?P<words>.+)$", re.MULTILINE)
_PORT: Final = re.compile(r"\b(?:8080|9000|9001)\b")


def blocks(name: str) -> list[str]:
    """The code blocks that have ``name`` behind their language, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    for block in _BLOCK.finditer(TEXT):
        _, _, label = block["info"].partition(" ")
        found[label].append(block["text"])
    assert found[name], f"README.md has no block named {name}"
    return found[name]


def block(name: str) -> str:
    """The one block of that name."""
    (only,) = blocks(name)
    return only


def with_ports(text: str, ports: dict[str, int]) -> str:
    """The text as printed, but for the numbers of the ports."""
    return _PORT.sub(lambda printed: str(ports[printed[0]]), text)


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def table(name: str) -> list[str]:
    """The rows of the table between the marks of that name."""
    between = re.search(rf"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", TEXT, re.DOTALL)
    assert between is not None
    _, _, *rows = between[1].splitlines()
    return rows


def links() -> list[str]:
    """Where the links point to."""
    without_code = _BLOCK.sub("", TEXT)
    return [link["target"] for link in _LINK.finditer(without_code)]


def anchors() -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    headings = (heading["words"].lower() for heading in _HEADING.finditer(_BLOCK.sub("", TEXT)))
    return {re.sub(r"[^\w\- ]", "", words).replace(" ", "-") for words in headings}
