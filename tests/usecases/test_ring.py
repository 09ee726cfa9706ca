"""The ring of lanes against a model of lanes with work and limits."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.ports import LaneQuota
from service.usecases.ring import Ring

DEFAULT = 4
SLOTS = 6
lanes = st.integers(1, 5)


class RingMachine(RuleBasedStateMachine):
    """Work comes and is claimed as the store would give it; sends end in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = Ring(DEFAULT)
        self.due: Counter[int] = Counter()
        self.in_flight: Counter[int] = Counter()
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
        self.quotas = self.ring.plan(free)
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
            self.ring.claimed(self.quotas, {})
            self.ring.wake(lane for lane in self.due if self.due[lane])
        else:
            for each in self.quotas:
                self.ring.limit(each.lane, self.told.get(each.lane))
            self.ring.claimed(self.quotas, self.found)
            self.in_flight += self.found
        self.quotas = []

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def ends_a_send(self, data: st.DataObject) -> None:
        lane = data.draw(st.sampled_from(sorted(self.in_flight)))
        self.in_flight[lane] -= 1
        self.in_flight += Counter()  # without what is zero
        self.ring.over(lane)

    @invariant()
    def no_more_is_in_flight_than_slots(self) -> None:
        assert self.in_flight.total() <= SLOTS

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
        quotas = ring.plan(free)
        taken = {each.lane: each.quota for each in quotas}
        seen.append([each.lane for each in quotas])
        ring.claimed(quotas, taken)
        for lane, count in taken.items():
            for _ in range(count):
                ring.over(lane)
    return seen


def test_lanes_take_turns() -> None:
    ring = Ring(DEFAULT)
    ring.wake([1, 2, 3, 4, 5])

    assert full_claims(ring, 5, free=2) == [[1, 2], [3, 4], [5, 1], [2, 3], [4, 5]]


def test_free_slots_are_shared_equally() -> None:
    ring = Ring(64)
    ring.wake([1, 2, 3])

    assert [each.quota for each in ring.plan(100)] == [33, 33, 33]


def test_a_lane_without_more_leaves_and_one_woken_meanwhile_stays() -> None:
    ring = Ring(DEFAULT)
    ring.wake([1, 2])
    quotas = ring.plan(8)
    ring.wake([2])

    ring.claimed(quotas, {1: 1, 2: 1})

    assert [each.lane for each in ring.plan(6)] == [2]


def test_a_lane_at_its_limit_waits_for_one_of_its_sends() -> None:
    ring = Ring(DEFAULT)
    ring.limit(1, 1)
    ring.wake([1])
    ring.claimed(ring.plan(8), {1: 1})
    assert ring.plan(8) == []
    assert not ring

    ring.wake([1])
    assert ring.plan(8) == []
    ring.over(1)

    assert ring.plan(8) == [LaneQuota(1, 1)]


def test_a_lane_aside_is_ready_as_soon_as_one_of_its_sends_is_over() -> None:
    ring = Ring(2)
    ring.wake([1])
    ring.claimed(ring.plan(8), {1: 2})
    assert ring.plan(8) == []

    ring.over(1)

    assert ring.plan(8) == [LaneQuota(1, 1, in_flight=1)]


def test_a_limit_that_was_taken_back_no_longer_holds() -> None:
    ring = Ring(DEFAULT)
    ring.limit(1, 1)
    ring.limit(1, None)
    ring.wake([1])

    assert ring.plan(8) == [LaneQuota(1, DEFAULT)]


def test_one_claim_is_of_so_many_lanes_only() -> None:
    ring = Ring(DEFAULT)
    ring.wake(range(1_000))

    assert len(ring.plan(5_000)) == 200
    assert ring


def test_lanes_that_hang_leave_slots_for_others() -> None:
    """Ten times 64 is more than there is; a lane with nothing in flight is claimed for at once."""
    slots, limit = 512, 64
    ring, free = Ring(limit), slots
    for lane in range(10):
        ring.wake([lane])
        while ring and free:
            quotas = ring.plan(free)
            ring.claimed(quotas, {each.lane: each.quota for each in quotas})
            free -= sum(each.quota for each in quotas)
    assert free >= 1
    ring.wake([1000])
    assert [each.lane for each in ring.plan(free)] == [1000]


def test_a_lane_alone_gets_all_that_its_limit_allows() -> None:
    ring = Ring(64)
    ring.wake([1])
    assert ring.plan(512) == [LaneQuota(1, 64, 0)]
