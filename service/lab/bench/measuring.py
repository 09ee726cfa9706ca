"""From two looks at everything to figures per delivery."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from service.lab.bench.board import Board, Slot
from service.lab.bench.processes import cpu_of

Pids = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Look:
    """How far everything had come at one moment."""

    at: float
    #: Seconds of processor time, by process.
    cpu: Mapping[str, float]
    counts: Mapping[Slot, int]


def look(pids: Pids, *boards: Board) -> Look:
    """Look at processes, and at boards, each of which counts something else."""
    counts = {slot: sum(board[slot] for board in boards) for slot in Slot}
    used = {name: cpu_of(some) for name, some in pids.items()}
    return Look(time.monotonic(), used, counts)


@dataclass(frozen=True, slots=True)
class Window:
    """What happened between two looks."""

    before: Look
    after: Look

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.after.at - self.before.at

    def count(self, slot: Slot) -> int:
        """How far a counter went."""
        return self.after.counts[slot] - self.before.counts[slot]

    def rate(self, slot: Slot) -> float:
        """How far a counter went in a second."""
        return self.count(slot) / self.seconds

    def micros(self, name: str, per: Slot) -> float:
        """Microseconds of a process's time for each of what is counted."""
        used = self.after.cpu[name] - self.before.cpu[name]
        return used * 1_000_000 / max(self.count(per), 1)

    def share(self, name: str) -> float:
        """Percent of one core's time that a process used."""
        return (self.after.cpu[name] - self.before.cpu[name]) / self.seconds * 100

    def each(self, slot: Slot, per: Slot) -> float:
        """How many of one for each of the other."""
        return self.count(slot) / max(self.count(per), 1)
