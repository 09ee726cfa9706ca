"""Markdown as tests read it: its blocks, its links, the anchors of its headings."""

import re
import socket
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BLOCK: Final = re.compile(r"^```(?P<info>[^\n`]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (?P<words>.+)$", re.MULTILINE)
_PORT: Final = re.compile(r"\b(?:8080|9000|9001)\b")


@dataclass(frozen=True)
class Prose:
    """A text in Markdown, and what it is called."""

    name: str
    text: str

    @classmethod
    def read(cls, file: Path) -> "Prose":
        return cls(file.name, file.read_text("utf-8"))

    @property
    def fenced(self) -> list[tuple[str, str, str]]:
        """Language, name (or nothing) and text of each code block."""
        found = []
        for block in _BLOCK.finditer(self.text):
            language, _, name = block["info"].partition(" ")
            found.append((language, name, block["text"]))
        return found

    def blocks(self, name: str) -> list[str]:
        """The code blocks that have ``name`` behind their language, in order."""
        found = [text for _, label, text in self.fenced if label == name]
        assert found, f"{self.name} has no block named {name}"
        return found

    def block(self, name: str) -> str:
        """The one block of that name."""
        (only,) = self.blocks(name)
        return only

    @property
    def without_code(self) -> str:
        return _BLOCK.sub("", self.text)

    def links(self) -> list[str]:
        """Where the links point to."""
        return [link["target"] for link in _LINK.finditer(self.without_code)]

    def anchors(self) -> Counter[str]:
        """The anchors of the headings, as GitHub makes them."""
        headings = (found["words"].lower() for found in _HEADING.finditer(self.without_code))
        return Counter(re.sub(r"[^\w\- ]", "", words).replace(" ", "-") for words in headings)


def with_ports(text: str, ports: dict[str, int]) -> str:
    """The text as printed, but for the numbers of the ports."""
    return _PORT.sub(lambda printed: str(ports[printed[0]]), text)


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
