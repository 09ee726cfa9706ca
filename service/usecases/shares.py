"""How a worker's send slots are shared out: what hangs must leave some to what answers."""

from dataclasses import dataclass
from typing import Self

from service.domain.concurrency import START
from service.usecases.lane_state import LaneState


@dataclass(slots=True)
class Shares:
    """What is left of two parts of the slots. Either may be overdrawn while states change."""

    #: For more than the first few sends of a lane.
    spare: int
    #: For lanes whose receivers do not answer, or did not yet.
    doubtful: int

    @classmethod
    def of(cls, slots: int) -> Self:
        """All of so many slots: half are spare, a quarter is for lanes that answer only."""
        return cls(max(slots // 2, 1), max(slots - slots // 4, 1))

    def copy(self) -> "Shares":
        """The same, to plan with."""
        return Shares(self.spare, self.doubtful)

    def are_closed_to(self, state: LaneState) -> bool:
        """Whether the lane has to wait until others of its kind give slots back."""
        return not state.is_answering and self.doubtful <= 0

    def room(self, state: LaneState, free: int) -> int:
        """How much of ``free`` slots a lane may take."""
        held = state.in_flight
        # never more than it leaves to all others: a few lanes that hang take no slot from one that
        # has nothing in flight yet
        fair = max((free - held) // 2, 0 if held else 1)
        room = min(state.allowed - held, fair, max(START - held, 0) + max(self.spare, 0))
        return room if state.is_answering else min(room, self.doubtful)

    def take(self, state: LaneState, count: int) -> None:
        """Note that the lane is about to have so many more in flight; fewer, if negative."""
        self.spare -= _beyond(state.in_flight + count) - _beyond(state.in_flight)
        if not state.is_answering:
            self.doubtful -= count

    def turn(self, state: LaneState) -> None:
        """Note that the lane answers now and did not before, or the other way round."""
        self.doubtful += state.in_flight if state.is_answering else -state.in_flight


def _beyond(in_flight: int) -> int:
    """How many of a lane's sends are beyond its first few."""
    return max(in_flight - START, 0)
