"""The ring of lanes: which subscriptions' queues a worker looks at next, and how much it may take.

1. A woken lane joins the end; each claim takes the lanes at the front and gives them equal quotas.
2. A lane that gave less than its quota, and than its limit leaves room for, has nothing more due
   and leaves; one that gave all joins the end again.
3. A lane woken while it is being claimed joins again whatever it gave.
4. A lane at its own limit waits aside until one of its sends is over.
5. A lane ahead of its rate leaves until it may send again; whoever asked for the plan wakes it.
6. A lane for which others leave no room (:mod:`service.usecases.shares`) waits with its receiver.
   Receivers take turns, a lane each, however many lanes wait with them; who comes while others
   wait for their turn waits behind them, also who has had one.
7. Where a lane leads is known once something of it was claimed, and that is one at first. If there
   is no room for it after all, it goes back, and the lane waits.
8. A lane that is to begin slowly while it is being claimed keeps of that what it may have now.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from service.domain import reliance
from service.domain.outcome import Outcome
from service.domain.subscription import Subscription
from service.ports import Claimed, LaneQuota
from service.usecases.lane_state import LaneState, LaneStates
from service.usecases.receivers import Receiver, Receivers
from service.usecases.shares import Shares

#: Lanes in one claim: as many as one statement takes well.
_WIDTH: Final = 200
#: Lanes that may wait with their receivers; more leave, and the sweep wakes them again.
_WAITING: Final = 100_000


class Ring:
    """What this worker knows of lanes; nothing of it is needed to survive.

    ``limit`` is that of lanes that have none of their own, ``slots`` are the worker's.
    """

    def __init__(self, limit: int, slots: int) -> None:
        self._states = LaneStates(limit)
        self._receivers = Receivers()
        self._shares = Shares(slots)
        self._ready: dict[int, None] = {}
        self._aside: set[int] = set()
        #: Lanes in the claim under way, and whether it is not known yet where each leads.
        self._claiming: dict[int, bool] = {}
        self._woken_again: set[int] = set()
        self._restarted: set[int] = set()
        self._pauses: dict[int, float] = {}
        #: Lanes that wait with their receivers, and receivers that may have room for one now.
        self._waiting: dict[int, Receiver] = {}
        self._stirred: dict[Receiver, None] = {}
        #: Receivers that others leave no room, in the order of their turns; lanes that have one.
        self._crowded: OrderedDict[Receiver, None] = OrderedDict()
        self._turns: set[int] = set()

    def __bool__(self) -> bool:
        has_turns = self._crowded and self._shares.open > 0
        return bool(self._ready or self._stirred or has_turns)

    def wake(self, lanes: Iterable[int]) -> None:
        """Look at these lanes soon."""
        for lane in lanes:
            if lane in self._claiming:
                self._woken_again.add(lane)
            elif lane not in self._aside and lane not in self._waiting:
                self._ready[lane] = None

    def plan(self, free: int, now: float) -> list[LaneQuota]:
        """Quotas for the next claim at ``now`` (monotonic), ``free`` deliveries in all at most."""
        rooms: list[tuple[int, int]] = []
        self._let_in(free)
        while len(rooms) < min(free, _WIDTH) and (self._ready or self._let_in(free)):
            lane = next(iter(self._ready))
            del self._ready[lane]
            room = self._room(lane, free, now)
            if room > 0:
                rooms.append((lane, room))
                self._shares.take(self._states[lane], room)
        for lane, room in rooms:  # planned, not taken
            self._shares.take(self._states[lane], -room)
        # who was not reached, because others were before it, still has its turn
        self._turns = {lane for lane in self._turns if lane in self._ready}
        share = max(1, free // len(rooms)) if rooms else 0
        self._claiming.update((lane, self._states[lane].receiver is None) for lane, _ in rooms)
        return [self._quota(lane, min(room, share)) for lane, room in rooms]

    def take_pauses(self) -> dict[int, float]:
        """The lanes that left to keep to their rates, and when (monotonic) each may send again."""
        pauses, self._pauses = self._pauses, {}
        return pauses

    def claimed(
        self, quotas: Sequence[LaneQuota], taken: Mapping[int, int], free: int, now: float
    ) -> dict[int, int]:
        """Note what each lane of a plan gave; how much of it has to go back, by lane.

        What was seen of a lane (:meth:`meet`) is noted before. ``free`` is as it was for the plan.
        """
        back: dict[int, int] = {}
        for each in quotas:
            state, count = self._states[each.lane], taken.get(each.lane, 0)
            # as it was when they were claimed: what ended meanwhile made room only since
            possible = min(each.quota, max(state.most - each.in_flight, 0))
            is_first = self._claiming.pop(each.lane)
            kept = min(count, self._others_room(each.lane, state, free)) if is_first else count
            if is_restarted := each.lane in self._restarted:
                kept = min(kept, max(state.allowed - state.in_flight, 0))
            free -= kept
            is_news = state.rate != each.rate  # then it gave one only
            self._shares.take(state, kept)
            state.took(kept, each.in_flight, now)
            if kept < count:
                back[each.lane] = count - kept
            if kept < count and not is_restarted:
                self._wait(each.lane, state)
            elif kept < count or count >= possible or is_news or each.lane in self._woken_again:
                self._ready[each.lane] = None
            self._woken_again.discard(each.lane)
            self._restarted.discard(each.lane)
            self._stir(state.receiver)  # a plan reckons with what lanes may give: often more
        return back

    def meet(self, lane: int, subscription: Subscription) -> None:
        """See a lane's subscription: its own limits, and where it leads."""
        state, receiver = self._states[lane], self._receivers.of(subscription)
        state.limit(subscription.max_concurrency, subscription.rate)
        if state.receiver is not receiver:
            self._shares.before_change(state)
            self._stir(state.receiver)
            state.receiver = receiver
            self._shares.after_change(state)

    def over(self, lane: int) -> None:
        """One send of the lane is over."""
        self._over(lane, self._states[lane])

    def judge(self, claimed: Claimed, outcome: Outcome, now: int) -> None:
        """Let the lane of a send that is over at ``now`` (ms) have more, or less, in flight."""
        self._judge(self._states[claimed.ref.subscription_no], claimed, outcome, now)

    def taken(self, claimed: Claimed, outcome: Outcome, now: int) -> bool:
        """The same of one that was delivered; whether the send is over, and its lane goes on.

        A limit of its own holds for all workers together: the store knows of it.
        """
        lane = claimed.ref.subscription_no
        state = self._states[lane]
        self._judge(state, claimed, outcome, now)
        if state.has_own_limit:
            return False
        self._over(lane, state)
        return True

    def restart(self, lane: int, now: int) -> None:
        """Let a lane whose receiver has recovered at ``now`` (ms) begin slowly."""
        self._states[lane].restart(now)
        if lane in self._claiming:
            self._restarted.add(lane)

    def has_own_limit(self, lane: int) -> bool:
        """Whether its subscription says how much it may have in flight."""
        return self._states[lane].has_own_limit

    def allowed(self, lane: int) -> int:
        """How much the lane may have in flight now."""
        return self._states[lane].allowed

    def _over(self, lane: int, state: LaneState) -> None:
        self._shares.take(state, -1)
        if lane in self._aside:
            self._aside.discard(lane)
            self._ready[lane] = None
        self._stir(state.receiver)

    def _judge(self, state: LaneState, claimed: Claimed, outcome: Outcome, now: int) -> None:
        receiver, was_relied_on = state.receiver, state.is_relied_on
        if (
            state.is_at_best
            and receiver is not None
            and receiver.is_at_best
            and reliance.is_prompt_success(outcome)
        ):
            return  # as it is nearly always
        state.judge(claimed.token, outcome, now)
        if state.is_relied_on is not was_relied_on:
            self._shares.host_or_release(state)
        if receiver is not None:
            receiver.judge(outcome)
        lane = claimed.ref.subscription_no
        if lane in self._waiting and state.is_relied_on:
            self._go_on(lane)

    def _quota(self, lane: int, quota: int) -> LaneQuota:
        state = self._states[lane]
        return LaneQuota(lane, quota, state.in_flight, state.rate)

    def _room(self, lane: int, free: int, now: float) -> int:
        """What the lane may take; where that is nothing, it is put where it belongs."""
        state = self._states[lane]
        own, paced = self._shares.lane_room(state, free), state.paced_room(now)
        if not paced:
            self._pauses[lane] = state.opens_at()
            return 0
        if own <= 0:
            self._aside.add(lane)
            return 0
        room = self._others_room(lane, state, free)
        if not room:
            self._wait(lane, state)
        return min(own, paced, room)

    def _others_room(self, lane: int, state: LaneState, free: int) -> int:
        """What others leave it, who may have been there before."""
        if self._crowded and lane not in self._turns and state.is_guest:
            return 0
        return max(self._shares.room(state, free), 0)

    def _wait(self, lane: int, state: LaneState) -> None:
        receiver = state.receiver
        if receiver is None or len(self._waiting) >= _WAITING:
            return
        self._waiting[lane] = receiver
        receiver.waiting[lane] = None
        self._set_aside(receiver)
        if lane in self._turns and receiver in self._crowded:
            self._crowded.move_to_end(receiver, last=False)  # it was its turn, and still is

    def _set_aside(self, receiver: Receiver) -> None:
        """Look at it again when one of its guests is gone, or when it is its turn."""
        self._stirred.pop(receiver, None)
        if receiver.is_relied_on or self._shares.own_room(receiver) <= 0:
            self._crowded.pop(receiver, None)
        elif self._shares.open <= 0 or self._crowded:
            self._crowded[receiver] = None

    def _go_on(self, lane: int) -> None:
        del self._waiting.pop(lane).waiting[lane]
        self._ready[lane] = None

    def _let_in(self, free: int) -> bool:
        """Let a lane of each receiver join that has room; whether there are any."""
        for receiver in list(self._stirred):
            if not receiver.waiting:
                del self._stirred[receiver]
            elif self._shares.guest_room(receiver, free) <= 0:
                self._set_aside(receiver)
            else:
                self._go_on(next(iter(receiver.waiting)))
        for _ in range(min(self._shares.open, len(self._crowded))):
            receiver, _ = self._crowded.popitem(last=False)
            if receiver.waiting:
                lane = next(iter(receiver.waiting))
                self._turns.add(lane)
                self._go_on(lane)
            if receiver.waiting:
                self._crowded[receiver] = None
        return bool(self._ready)

    def _stir(self, receiver: Receiver | None) -> None:
        """Look at a receiver again, of which a guest may be gone."""
        if receiver is None or not receiver.waiting:
            return
        if self._crowded and not receiver.is_relied_on:
            self._crowded[receiver] = None  # where it is, or behind the others
        else:
            self._stirred[receiver] = None
            self._crowded.pop(receiver, None)


def parted(
    deliveries: Sequence[Claimed], back: dict[int, int]
) -> tuple[Sequence[Claimed], list[Claimed]]:
    """What is kept, and what goes back, by how much that is of each lane."""
    if not back:
        return deliveries, []
    kept, surplus = list[Claimed](), list[Claimed]()
    for each in deliveries:
        lane = each.ref.subscription_no
        left = back.get(lane, 0)
        back[lane] = left - 1
        (surplus if left > 0 else kept).append(each)
    return kept, surplus
