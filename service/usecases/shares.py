"""How a worker's send slots are shared out: what hangs must leave some to what answers."""

from service.domain.concurrency import START
from service.usecases.lane_state import LaneState
from service.usecases.receivers import Receiver


class Shares:
    """What is left of the slots, and who may have how much of it.

    Half are for the first few sends of each lane. A quarter is for lanes, and those of receivers,
    that are relied on. All other lanes are guests of their receivers. Each receiver has a quarter
    for them, the first few only as long as nothing was heard of it, and unless it hangs half of
    what others leave besides. Parts may be overdrawn while states change.
    """

    def __init__(self, slots: int) -> None:
        #: For more than the first few sends of a lane.
        self.spare = max(slots // 2, 1)
        #: For guests.
        self.open = max(slots - slots // 4, 1)
        self._most_guests = max(slots // 4, START)

    def lane_room(self, state: LaneState, free: int) -> int:
        """How much of ``free`` slots a lane may take by itself; without room it has some in flight.

        Never more than it leaves to all others: a few lanes that hang take no slot from one that
        has nothing in flight yet.
        """
        held = state.in_flight
        fair = max((free - held) // 2, 0 if held else 1)
        return min(state.allowed - held, fair, max(START - held, 0) + max(self.spare, 0))

    def guest_room(self, receiver: Receiver, free: int) -> int:
        """How much more the guests of a receiver may take together."""
        room = min(self.own_room(receiver), free)
        return room if receiver.is_relied_on else min(room, self.open)

    def own_room(self, receiver: Receiver) -> int:
        """What its guests have left of their own; without, they have some in flight."""
        most = self._most_guests if receiver.is_known else START
        room = most - receiver.guests
        return max(room, self.open // 2) if receiver.is_calm else room

    def room(self, state: LaneState, free: int) -> int:
        """How much a lane may take as far as others are concerned."""
        if state.is_relied_on:
            return free
        if state.receiver is None:
            return 1  # enough to know more of it
        return self.guest_room(state.receiver, free)

    def take(self, state: LaneState, count: int) -> None:
        """Note that the lane is about to have so many more in flight; fewer, if negative."""
        held = state.in_flight
        state.in_flight = after = held + count
        self.spare += max(START, held) - max(START, after)  # of each what is beyond its first few
        if not state.is_relied_on:
            self._host(state, count)

    def host_or_release(self, state: LaneState) -> None:
        """Note that a lane has become a guest, or is none any more, by what it is now."""
        if state.receiver is not None:
            moved = -state.in_flight if state.is_relied_on else state.in_flight
            state.receiver.guests += moved
            self.open -= moved

    def before_change(self, state: LaneState) -> None:
        """Take a lane out of the books, because whose guest it is may change."""
        self._host(state, -state.in_flight)

    def after_change(self, state: LaneState) -> None:
        """Take it in again."""
        self._host(state, state.in_flight)

    def _host(self, state: LaneState, count: int) -> None:
        if state.receiver is not None and not state.is_relied_on:
            state.receiver.guests += count
            self.open -= count
