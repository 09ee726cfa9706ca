"""The ring of lanes: which subscriptions' queues a worker looks at next, and how much it may take.

1. A woken lane joins the end; each claim takes the lanes at the front and gives them equal quotas.
2. A lane that gave less than its quota, and than its limit leaves room for, has nothing more due
   and leaves; one that gave all joins the end again.
3. A lane woken while it is being claimed joins again whatever it gave.
4. A lane at its own limit waits aside until one of its sends is over.
5. A lane ahead of its rate leaves until it may send again; whoever asked for the plan wakes it.
6. Half of all slots is for the first few sends of each lane: what hangs takes none of those from
   the others.
7. A quarter of all slots is for lanes whose receivers answer. However many others there are, they
   wait aside when they have the rest, and so delay each other only.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from service.domain.outcome import Outcome
from service.ports import Claimed, LaneQuota
from service.usecases.lane_state import LaneState, LaneStates
from service.usecases.shares import Shares

#: Lanes in one claim: as many as one statement takes well.
_WIDTH: Final = 200


class Ring:
    """What this worker knows of lanes; nothing of it is needed to survive.

    ``limit`` is that of lanes that have none of their own; of all ``slots`` half may be used for
    more than the first few sends of a lane.
    """

    def __init__(self, limit: int, slots: int) -> None:
        self._states = LaneStates(limit)
        self._left = Shares.of(slots)
        self._crowded: dict[int, None] = {}
        self._ready: dict[int, None] = {}
        self._aside: set[int] = set()
        self._claiming: set[int] = set()
        self._woken_again: set[int] = set()
        self._pauses: dict[int, float] = {}

    def __bool__(self) -> bool:
        return bool(self._ready)

    def wake(self, lanes: Iterable[int]) -> None:
        """Look at these lanes soon."""
        for lane in lanes:
            if lane in self._claiming:
                self._woken_again.add(lane)
            elif lane not in self._aside and lane not in self._crowded:
                self._ready[lane] = None

    def plan(self, free: int, now: float) -> list[LaneQuota]:
        """Quotas for the next claim at ``now`` (monotonic), ``free`` deliveries in all at most."""
        rooms: list[tuple[int, int]] = []
        left = self._left.copy()
        while self._ready and len(rooms) < min(free, _WIDTH):
            lane = next(iter(self._ready))
            del self._ready[lane]
            state = self._states[lane]
            if left.are_closed_to(state):
                self._crowded[lane] = None
                continue
            paced = state.paced_room(now)
            room = min(left.room(state, free), paced)
            if room > 0:
                rooms.append((lane, room))
                left.take(state, room)
            elif paced:
                self._aside.add(lane)
            else:
                self._pauses[lane] = state.opens_at()
        share = max(1, free // len(rooms)) if rooms else 0
        self._claiming.update(lane for lane, _ in rooms)
        return [self._quota(lane, min(room, share)) for lane, room in rooms]

    def take_pauses(self) -> dict[int, float]:
        """The lanes that left to keep to their rates, and when (monotonic) each may send again."""
        pauses, self._pauses = self._pauses, {}
        return pauses

    def claimed(self, quotas: Sequence[LaneQuota], taken: Mapping[int, int], now: float) -> None:
        """Note what each lane of a plan gave; its limit, if that is new, is noted before."""
        for each in quotas:
            state, count = self._states[each.lane], taken.get(each.lane, 0)
            # as it was when they were claimed: what ended meanwhile made room only since
            possible = min(each.quota, max(state.most - each.in_flight, 0))
            self._claiming.discard(each.lane)
            self._spend(state, count, now)
            is_news = state.rate != each.rate  # then it gave one only
            if count >= possible or is_news or each.lane in self._woken_again:
                self._ready[each.lane] = None
            self._woken_again.discard(each.lane)
        self._let_in()  # a plan reckons with what lanes may give, and that is often more

    def limit(self, lane: int, sends: int | None, rate: float | None = None) -> None:
        """A lane's own limit of sends in flight, and per second; ``None`` for the default."""
        self._states[lane].limit(sends, rate)

    def over(self, lane: int) -> None:
        """One send of the lane is over."""
        state = self._states[lane]
        self._left.take(state, -1)
        state.in_flight -= 1
        if lane in self._aside:
            self._aside.discard(lane)
            self._ready[lane] = None
        self._let_in()

    def judge(self, claimed: Claimed, outcome: Outcome, now: int) -> None:
        """Let the lane of a send that is over at ``now`` (ms) have more, or less, in flight."""
        lane = claimed.ref.subscription_no
        state = self._states[lane]
        was_answering = state.is_answering
        state.judge(claimed.token, outcome, now)
        if state.is_answering is not was_answering:
            self._left.turn(state)
            if lane in self._crowded:
                del self._crowded[lane]
                self._ready[lane] = None

    def restart(self, lane: int, now: int) -> None:
        """Let a lane whose receiver has recovered at ``now`` (ms) begin slowly."""
        self._states[lane].restart(now)

    def allowed(self, lane: int) -> int:
        """How much the lane may have in flight now."""
        return self._states[lane].allowed

    def _quota(self, lane: int, quota: int) -> LaneQuota:
        state = self._states[lane]
        return LaneQuota(lane, quota, state.in_flight, state.rate)

    def _spend(self, state: LaneState, count: int, now: float) -> None:
        self._left.take(state, count)
        state.took(count, now)

    def _let_in(self) -> None:
        """Look again at lanes that were crowded out, as many as there is room for."""
        for _ in range(min(self._left.doubtful, len(self._crowded))):
            lane = next(iter(self._crowded))
            del self._crowded[lane]
            self._ready[lane] = None
