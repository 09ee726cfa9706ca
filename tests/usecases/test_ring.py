"""The ring of lanes against a model of lanes with work and limits."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.domain.delivery import Trigger
from service.domain.ids import DeliveryRef, key_floor
from service.domain.outcome import ErrorClass, Outcome
from service.ports import Claimed, LaneQuota
from service.usecases import lane_state
from service.usecases.ring import Ring
from service.usecases.shares import Shares
from tests.support.world import answer, fault

DEFAULT = 4
SLOTS = 6
NOW = 0.0
lanes = st.integers(1, 5)


class RingMachine(RuleBasedStateMachine):
    """Work comes and is claimed as the store would give it; sends end in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = Ring(DEFAULT, SLOTS)
        self.due: Counter[int] = Counter()
        self.in_flight: Counter[int] = Counter()
        self.answering: set[int] = set()
        #: The limit of each lane as its subscription has it now, and as the last claim found it.
        self.limits: dict[int, int] = {}
        self.quotas: list[LaneQuota] = []
        self.told: dict[int, int] = {}
        self.found: Counter[int] = Counter()

    def limit(self, lane: int) -> int:
        return self.limits.get(lane, DEFAULT)

    @rule(lane=lanes, count=st.integers(0, 5))
    def comes(self, lane: int, count: int) -> None:
        self.due[lane] += count
        self.ring.wake([lane])

    @rule(lane=lanes, limit=st.none() | st.integers(1, 3))
    def is_limited(self, lane: int, limit: int | None) -> None:
        if limit is None:
            self.limits.pop(lane, None)
        else:
            self.limits[lane] = limit

    @precondition(lambda self: not self.quotas)
    @rule()
    def begins_a_claim(self) -> None:
        free = SLOTS - self.in_flight.total()
        self.quotas = self.ring.plan(free, NOW)
        self.found, self.told = Counter(), dict(self.limits)
        assert sum(each.quota for each in self.quotas) <= free
        assert len({each.lane for each in self.quotas}) == len(self.quotas)
        for each in self.quotas:
            assert each.quota > 0
            assert each.in_flight == self.in_flight[each.lane]
            room = max(self.limit(each.lane) - each.in_flight, 0)
            taken = min(self.due[each.lane], each.quota, room)
            self.due[each.lane] -= taken
            self.found[each.lane] = taken

    @precondition(lambda self: self.quotas)
    @rule(lost=st.booleans())
    def ends_a_claim(self, *, lost: bool) -> None:
        """A lost one gave nothing: the sweep wakes what is due, as it does every second."""
        if lost:
            self.due += self.found
            self.ring.claimed(self.quotas, {}, NOW)
            self.ring.wake(lane for lane in self.due if self.due[lane])
        else:
            for each in self.quotas:
                self.ring.limit(each.lane, self.told.get(each.lane))
            self.ring.claimed(self.quotas, self.found, NOW)
            self.in_flight += self.found
        self.quotas = []

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), is_answered=st.booleans())
    def ends_a_send(self, data: st.DataObject, *, is_answered: bool) -> None:
        lane = data.draw(st.sampled_from(sorted(self.in_flight)))
        outcome = answer(200) if is_answered else fault(ErrorClass.TIMEOUT)
        self.ring.judge(sent(lane), outcome, 1)
        (self.answering.add if is_answered else self.answering.discard)(lane)
        self.in_flight[lane] -= 1
        self.in_flight += Counter()  # without what is zero
        self.ring.over(lane)

    @invariant()
    def no_more_is_in_flight_than_slots(self) -> None:
        assert self.in_flight.total() <= SLOTS

    @invariant()
    def the_books_are_right(self) -> None:
        doubtful = sum(n for lane, n in self.in_flight.items() if lane not in self.answering)
        assert vars(self.ring)["_left"] == Shares(SLOTS // 2, SLOTS - SLOTS // 4 - doubtful)

    def teardown(self) -> None:
        """No lane is lost: what is due is all sent without a further wake."""
        if self.quotas:
            self.ends_a_claim(lost=False)
        for _ in range(200):
            self.begins_a_claim()
            before = self.due.total()
            planned = bool(self.quotas)
            self.ends_a_claim(lost=False) if self.quotas else None
            for lane in list(self.in_flight.elements()):
                self.in_flight[lane] -= 1
                self.ring.over(lane)
            self.in_flight += Counter()
            if not planned and not self.ring:
                break
            assert self.due.total() <= before
        assert self.due.total() == 0


TestRing = RingMachine.TestCase
TestRing.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def full_claims(ring: Ring, turns: int, free: int) -> list[list[int]]:
    """The lanes of each of several claims that take whole quotas, whose sends end at once."""
    seen = []
    for _ in range(turns):
        quotas = ring.plan(free, NOW)
        taken = {each.lane: each.quota for each in quotas}
        seen.append([each.lane for each in quotas])
        ring.claimed(quotas, taken, NOW)
        for lane, count in taken.items():
            for _ in range(count):
                ring.over(lane)
    return seen


def test_lanes_take_turns() -> None:
    ring = Ring(DEFAULT, SLOTS)
    ring.wake([1, 2, 3, 4, 5])

    assert full_claims(ring, 5, free=2) == [[1, 2], [3, 4], [5, 1], [2, 3], [4, 5]]


def test_free_slots_are_shared_equally() -> None:
    ring = Ring(64, 512)
    ring.wake([1, 2, 3])

    assert [each.quota for each in ring.plan(9, NOW)] == [3, 3, 3]


def test_a_lane_without_more_leaves_and_one_woken_meanwhile_stays() -> None:
    ring = Ring(DEFAULT, SLOTS)
    ring.wake([1, 2])
    quotas = ring.plan(8, NOW)
    ring.wake([2])

    ring.claimed(quotas, {1: 1, 2: 1}, NOW)

    assert [each.lane for each in ring.plan(6, NOW)] == [2]


def test_a_lane_at_its_limit_waits_for_one_of_its_sends() -> None:
    ring = Ring(DEFAULT, SLOTS)
    ring.limit(1, 1)
    ring.wake([1])
    ring.claimed(ring.plan(8, NOW), {1: 1}, NOW)
    assert ring.plan(8, NOW) == []
    assert not ring

    ring.wake([1])
    assert ring.plan(8, NOW) == []
    ring.over(1)

    assert ring.plan(8, NOW) == [LaneQuota(1, 1)]


def test_a_lane_aside_is_ready_as_soon_as_one_of_its_sends_is_over() -> None:
    ring = Ring(2, 8)
    ring.wake([1])
    ring.claimed(ring.plan(8, NOW), {1: 2}, NOW)
    assert ring.plan(8, NOW) == []

    ring.over(1)

    assert ring.plan(8, NOW) == [LaneQuota(1, 1, in_flight=1)]


def test_a_limit_that_was_taken_back_no_longer_holds() -> None:
    ring = Ring(DEFAULT, SLOTS)
    ring.limit(1, 1)
    ring.limit(1, None)
    ring.wake([1])

    assert ring.plan(8, NOW) == [LaneQuota(1, DEFAULT)]


def test_one_claim_is_of_so_many_lanes_only() -> None:
    ring = Ring(DEFAULT, 5_000)
    ring.wake(range(1_000))

    assert len(ring.plan(5_000, NOW)) == 200
    assert ring


def test_lanes_that_hang_leave_slots_for_others() -> None:
    """Ten times 64 is more than there is; a lane with nothing in flight is claimed for at once."""
    slots, limit = 512, 64
    ring, free = Ring(limit, slots), slots
    for lane in range(10):
        ring.wake([lane])
        while ring and free:
            quotas = ring.plan(free, NOW)
            ring.claimed(quotas, {each.lane: each.quota for each in quotas}, NOW)
            free -= sum(each.quota for each in quotas)
    assert free >= 1
    ring.wake([1000])
    assert [each.lane for each in ring.plan(free, NOW)] == [1000]


def test_a_quarter_of_all_slots_is_for_lanes_that_answer() -> None:
    ring = Ring(64, 40)
    ring.wake([99])
    claim(ring, ring.plan(40, NOW))
    ring.judge(sent(99), answer(200), 1)
    ring.over(99)
    ring.wake(range(30))  # nobody knows them yet; eight of them get 30 slots

    held = Counter[int]()
    while ring:
        held += claim(ring, ring.plan(40 - held.total(), NOW))
    assert held.total() == 30
    ring.wake([99, *range(30)])
    assert [each.lane for each in ring.plan(10, NOW)] == [99]


def test_who_was_crowded_out_comes_as_soon_as_there_is_room() -> None:
    ring = Ring(64, 8)
    ring.wake(range(5))
    held = Counter[int]()
    while ring:
        held += claim(ring, ring.plan(8 - held.total(), NOW))
    crowded = {0, 1, 2, 3, 4} - held.keys()
    assert held.total() == 6
    assert crowded

    one = next(iter(held))
    ring.judge(sent(one), fault(ErrorClass.TIMEOUT), 1)
    ring.over(one)

    (next_,) = ring.plan(3, NOW)
    assert next_.lane in crowded
    assert next_.quota == 1


def claim(ring: Ring, quotas: list[LaneQuota]) -> Counter[int]:
    """All that a plan has room for is there, once."""
    taken = Counter({each.lane: each.quota for each in quotas})
    ring.claimed([replace(each, quota=each.quota + 1) for each in quotas], taken, NOW)
    return taken


def sent(lane: int, claimed_at: int = 0) -> Claimed:
    """A delivery of a lane, as far as the ring looks at it."""
    return Claimed(
        tenant_id="",
        ref=DeliveryRef(1, lane),
        token=key_floor(claimed_at),
        attempt=1,
        step=1,
        trigger=Trigger.SCHEDULE,
        event_id="",
        event_type="",
        operation_id=None,
        sequence=None,
        body=b"",
    )


def a_round(ring: Ring, free: int, outcome: Outcome, at: int = 1_000) -> list[int]:
    """One claim of all that the lanes may have, whose sends end alike; the quotas."""
    quotas = ring.plan(free, NOW)
    ring.claimed(quotas, {each.lane: each.quota for each in quotas}, NOW)
    for each in quotas:
        for _ in range(each.quota):
            ring.judge(sent(each.lane, at), outcome, at + 1)
            ring.over(each.lane)
    return [each.quota for each in quotas]


def test_a_lane_earns_all_that_its_limit_allows() -> None:
    ring = Ring(64, 512)
    ring.wake([1])

    assert [a_round(ring, 512, answer(200)) for _ in range(6)] == [[4], [8], [16], [32], [64], [64]]


def test_a_lane_that_hangs_loses_what_it_earned_and_begins_slowly_when_it_recovers() -> None:
    ring = Ring(64, 512)
    ring.wake([1])
    for _ in range(5):
        a_round(ring, 512, answer(200))
    at = iter(range(2 * 10**12, 3 * 10**12, 10))
    timeout = fault(ErrorClass.TIMEOUT)
    assert [a_round(ring, 512, timeout, next(at)) for _ in range(8)] == [
        [each] for each in (64, 32, 16, 8, 4, 2, 1, 1)
    ]

    ring.restart(1, next(at))
    assert [a_round(ring, 512, answer(200), next(at)) for _ in range(5)] == [
        [each] for each in (1, 2, 4, 8, 16)
    ]


def test_only_a_lane_that_uses_all_it_may_is_allowed_more() -> None:
    ring = Ring(64, 512)
    for _ in range(100):
        ring.wake([1])
        ring.claimed(ring.plan(512, NOW), {1: 2}, NOW)
        for _ in range(2):
            ring.judge(sent(1), answer(200), 0)
            ring.over(1)

    assert ring.allowed(1) == 4


def test_what_others_earned_leaves_half_the_slots_to_the_first_few_of_each() -> None:
    ring, free = Ring(64, 512), 512
    for lane in range(40):
        ring.wake([lane])
        for _ in range(5):
            a_round(ring, free, answer(200))
        ring.claimed(ring.plan(free, NOW), {}, NOW)  # it has no more, and leaves
        assert ring.allowed(lane) == 64
    ring.wake(range(40))
    while ring and (quotas := ring.plan(free, NOW)):
        ring.claimed(quotas, {each.lane: each.quota for each in quotas}, NOW)
        free -= sum(each.quota for each in quotas)

    # now all of them hang
    assert free >= 512 // 2 - 40 * 4
    for new in range(1_000, 1_000 + free // 8):
        ring.wake([new])
        (quota,) = ring.plan(free, NOW)
        assert (quota.lane, quota.quota) == (new, 4)


def test_a_lane_with_a_rate_is_paused_until_it_may_send_again() -> None:
    ring = Ring(64, 512)
    ring.limit(1, None, 2.0)
    ring.wake([1])

    quotas = ring.plan(512, 100.0)
    assert [(each.quota, each.rate) for each in quotas] == [(1, 2.0)]
    ring.claimed(quotas, {1: 1}, 100.0)
    assert ring.plan(512, 100.0) == []
    assert not ring
    assert ring.take_pauses() == {1: 100.5}
    assert ring.take_pauses() == {}
    ring.wake([1])  # however often: it is looked at, and leaves again
    assert ring.plan(512, 100.4) == []
    ring.wake([1])
    assert [each.quota for each in ring.plan(512, 100.5)] == [1]


def test_a_rate_that_stays_keeps_its_place() -> None:
    ring = Ring(64, 512)
    for rate, room in ((2.0, 1), (2.0, 0), (4.0, 1)):
        ring.limit(1, None, rate)
        ring.wake([1])
        quotas = ring.plan(512, 100.0)
        assert len(quotas) == room
        ring.claimed(quotas, {1: 1}, 100.0) if quotas else None


def test_idle_lanes_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_state, "_REMEMBERED", 3)
    ring = Ring(64, 512)
    ring.limit(1, 9)
    ring.wake([2])
    ring.claimed(ring.plan(512, NOW), {2: 3}, NOW)
    for lane in range(3, 20):
        ring.limit(lane, 9)

    ring.over(2)  # what is in flight is remembered
    ring.wake([2])
    assert ring.plan(512, NOW)[0].in_flight == 2
