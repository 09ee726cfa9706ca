"""Counters that processes on one machine share: a file of 64-bit numbers, mapped into memory.

Each number has one writer; everybody else reads it at any moment, at the cost of a memory access.
"""

import mmap
from enum import IntEnum
from pathlib import Path
from typing import Self

_BYTES = 8


class Slot(IntEnum):
    """The numbers on a board."""

    #: Events that the generator has posted, and that were accepted.
    POSTED = 0
    ACCEPTED = 1
    #: Requests that came to the receiver, and those of them that had come before.
    RECEIVED = 2
    DOUBLED = 3
    #: What the service gave its database: statements, those of them that are work (the rest begins
    #: and ends transactions), and commits.
    STATEMENTS = 4
    WORK = 5
    COMMITS = 6


class Board:
    """The numbers; ``board[slot]`` reads, ``board.add`` counts on."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), len(Slot) * _BYTES)
        self._numbers = memoryview(self._map).cast("q")

    @classmethod
    def make(cls, path: Path) -> Self:
        """A board of zeros."""
        path.write_bytes(bytes(len(Slot) * _BYTES))
        return cls(path)

    def __getitem__(self, slot: Slot) -> int:
        return self._numbers[slot]

    def add(self, slot: Slot, count: int = 1) -> None:
        """Count on; only for the one who writes this number."""
        self._numbers[slot] += count
