"""The ring of lanes: which subscriptions' queues a worker looks at next, and how much it may take.

1. A woken lane joins the end; each claim takes the lanes at the front and gives them equal quotas.
2. A lane that gave less than its quota, and than its limit leaves room for, has nothing more due
   and leaves; one that gave all joins the end again.
3. A lane woken while it is being claimed joins again whatever it gave.
4. A lane at its own limit waits aside until one of its sends is over.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from service.ports import LaneQuota

#: Lanes in one claim: as many as one statement takes well.
_WIDTH: Final = 200


class Ring:
    """What this worker knows of lanes; nothing of it is needed to survive."""

    def __init__(self, limit: int) -> None:
        self._default = limit
        self._ready: dict[int, None] = {}
        self._aside: set[int] = set()
        self._claiming: set[int] = set()
        self._woken_again: set[int] = set()
        self._in_flight: dict[int, int] = {}
        self._limits: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._ready)

    def wake(self, lanes: Iterable[int]) -> None:
        """Look at these lanes soon."""
        for lane in lanes:
            if lane in self._claiming:
                self._woken_again.add(lane)
            elif lane not in self._aside:
                self._ready[lane] = None

    def plan(self, free: int) -> list[LaneQuota]:
        """Quotas for the next claim, ``free`` deliveries in all at most."""
        rooms: list[tuple[int, int]] = []
        while self._ready and len(rooms) < min(free, _WIDTH):
            lane = next(iter(self._ready))
            del self._ready[lane]
            held = self._in_flight.get(lane, 0)
            # never more than it leaves to all others: a few lanes that hang take no slot from one
            # that has nothing in flight yet
            fair = max((free - held) // 2, 0 if held else 1)
            room = min(self._limits.get(lane, self._default) - held, fair)
            if room > 0:
                rooms.append((lane, room))
            else:
                self._aside.add(lane)
        share = max(1, free // len(rooms)) if rooms else 0
        self._claiming.update(lane for lane, _ in rooms)
        return [
            LaneQuota(lane, min(room, share), self._in_flight.get(lane, 0)) for lane, room in rooms
        ]

    def claimed(self, quotas: Sequence[LaneQuota], taken: Mapping[int, int]) -> None:
        """Note what each lane of a plan gave; its limit, if that is new, is noted before."""
        for each in quotas:
            count = taken.get(each.lane, 0)
            # as it was when they were claimed: what ended meanwhile made room only since
            limit = self._limits.get(each.lane, self._default)
            possible = min(each.quota, max(limit - each.in_flight, 0))
            self._claiming.discard(each.lane)
            if count:
                self._in_flight[each.lane] = self._in_flight.get(each.lane, 0) + count
            if count >= possible or each.lane in self._woken_again:
                self._ready[each.lane] = None
            self._woken_again.discard(each.lane)

    def limit(self, lane: int, sends: int | None) -> None:
        """A lane's own limit of sends in flight; ``None`` for the default."""
        if sends is None:
            self._limits.pop(lane, None)
        else:
            self._limits[lane] = sends

    def over(self, lane: int) -> None:
        """One send of the lane is over."""
        left = self._in_flight[lane] - 1
        if left:
            self._in_flight[lane] = left
        else:
            del self._in_flight[lane]
        if lane in self._aside:
            self._aside.discard(lane)
            self._ready[lane] = None
