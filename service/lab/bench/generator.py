"""The generator: posts events, as many as are taken or so many a second.

python -m service.lab.bench.generator BOARD
"""

import asyncio
import gc
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from service.lab.bench import tools
from service.lab.bench.board import Board
from service.lab.bench.loads import Closed, Load, Open, Polls
from service.lab.bench.posting import Author, Connection, Route, Tally, connections
from service.lab.bench.shares import shares

#: Seconds for the last answers to come.
_PATIENCE: Final = 10.0
_OK: Final = 200


class Generator:
    """The tool: one load at a time."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._runs = 0
        self._load: Load | None = None
        self._author: Author | None = None
        self._open: list[Connection] = []
        self._tally = Tally()
        gc.disable()  # nothing here refers to itself, and a collection would be seen as a delay

    def skills(self) -> tools.Skills:
        """What it can do."""
        return {
            "closed": self.closed,
            "open": self.open,
            "poll": self.poll,
            "polled": self.polled,
            "stop": self.stop,
        }

    async def closed(
        self, route: Mapping[str, Any], connections: int, window: int
    ) -> Mapping[str, Any]:
        """Begin a closed loop."""
        author = await self._prepare(Route(**route), connections)
        return self._start(Closed(author, self._open, self._board, window))

    async def open(
        self, route: Mapping[str, Any], connections: int, rate: float
    ) -> Mapping[str, Any]:
        """Begin an open loop."""
        author = await self._prepare(Route(**route), connections)
        return self._start(Open(author, self._open, rate))

    async def poll(self, route: Mapping[str, Any], connections: int) -> Mapping[str, Any]:
        """Wait for the second event of an operation on each connection, then for the next ones."""
        await self._prepare(Route(**route), connections)
        return self._start(Polls(Route(**route), self._open))

    async def polled(self, since: int) -> Mapping[str, Any]:
        """What was answered since it was asked last: how many, and how long after ``since``."""
        answered, self._tally.answered = self._tally.answered, []
        return {
            "answered": len(answered),
            "refused": sum(n for status, n in self._tally.statuses.items() if status != _OK),
            "delays": shares([at - since for at in answered]),
        }

    async def stop(self) -> Mapping[str, Any]:
        """End the load; what came of it: events posted, statuses, shares of the times (ms)."""
        if self._load is not None:
            self._load.stop()
        if not isinstance(self._load, Polls):  # nothing more may come of those
            answers = [each.idle.wait() for each in self._open]
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.gather(*answers), _PATIENCE)
        for each in self._open:
            each.hang_up()
        self._open = []
        return {
            "posted": 0 if self._author is None else self._author.written,
            "statuses": self._tally.statuses,
            "answered": shares(self._tally.answered),
            "late": shares(self._tally.late),
        }

    async def _prepare(self, route: Route, count: int) -> Author:
        self._runs += 1
        self._tally = Tally()
        self._open = await connections(count, route, self._board, self._tally)
        self._author = Author(f"r{self._runs}", route, self._board)
        return self._author

    def _start(self, load: Load) -> Mapping[str, Any]:
        self._load = load
        load.start()
        return {}


async def _make(path: Path) -> tools.Skills:
    return Generator(Board(path)).skills()


if __name__ == "__main__":
    tools.serve(_make)
