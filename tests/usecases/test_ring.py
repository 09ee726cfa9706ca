"""The ring of lanes against a model of lanes with work and limits."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.domain import values
from service.domain.concurrency import START
from service.domain.delivery import Trigger
from service.domain.ids import DeliveryRef, key_floor
from service.domain.outcome import ErrorClass, Outcome, Timing
from service.domain.reliance import judged
from service.domain.subscription import Subscription
from service.ports import Claimed, LaneQuota
from service.usecases import lane_state, receivers
from service.usecases import ring as ring_module
from service.usecases.deliver import Pace
from service.usecases.ring import Ring
from tests.support.world import answer, fault

SLOW = values.replace(answer(200), timing=Timing(5_000.0))
TIMEOUT = fault(ErrorClass.TIMEOUT)
outcomes = st.sampled_from([answer(200), answer(404), TIMEOUT, SLOW])


def to(host: object, **members: Any) -> Subscription:  # noqa: ANN401  members of many types
    """A subscription that leads there."""
    plain: dict[str, Any] = {
        "no": 0,
        "id": "sub",
        "tenant_id": "t",
        "created_at": 0,
        "updated_at": 0,
    }
    return Subscription(url=f"https://{host}/hook", **plain, **members)


def heard(ring: Ring, *lanes: int, **members: Any) -> Ring:  # noqa: ANN401  members of many types
    """Each lane leads to a host of its own, which is there but slow; the lane sent nothing yet."""
    for lane in lanes:
        for one in (lane, lane + 10_000):
            ring.meet(one, to(lane, **members))
        ring.judge(sent(lane + 10_000), SLOW, 1)
    return ring


DEFAULT = 4
SLOTS = 12
NOW = 0.0
lanes = st.integers(1, 5)
hosts = st.sampled_from("ab")


class RingMachine(RuleBasedStateMachine):
    """Work comes and is claimed as the store would give it; sends end in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = Ring(DEFAULT, SLOTS)
        self.due: Counter[int] = Counter()
        self.in_flight: Counter[int] = Counter()
        self.scores: Counter[int] = Counter()
        #: The limit and the host of each lane as its subscription has them now, and as the last
        #: claim found them; the hosts that the ring has seen.
        self.limits: dict[int, int] = {}
        self.hosts = {lane: "a" if lane < 4 else str(lane) for lane in range(1, 6)}
        self.seen: dict[int, str] = {}
        self.quotas: list[LaneQuota] = []
        self.told: dict[int, Subscription] = {}
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

    @rule(lane=lanes, host=hosts)
    def moves(self, lane: int, host: str) -> None:
        self.hosts[lane] = host

    @precondition(lambda self: not self.quotas)
    @rule()
    def begins_a_claim(self) -> None:
        free = SLOTS - self.in_flight.total()
        self.quotas = self.ring.plan(free, NOW)
        self.found = Counter()
        self.told = {
            lane: to(host, max_concurrency=self.limits.get(lane))
            for lane, host in self.hosts.items()
        }
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
        free = SLOTS - self.in_flight.total()
        if lost:
            self.due += self.found
            assert self.ring.claimed(self.quotas, {}, free, NOW) == {}
            self.ring.wake(lane for lane in self.due if self.due[lane])
        else:
            for lane in self.found:
                self.ring.meet(lane, self.told[lane])
                self.seen[lane] = self.told[lane].url
            back = self.ring.claimed(self.quotas, self.found, free, NOW)
            assert all(0 < count <= self.found[lane] for lane, count in back.items())
            self.due.update(back)
            self.found.subtract(back)
            self.in_flight += self.found
        self.quotas = []

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), outcome=outcomes)
    def ends_a_send(self, data: st.DataObject, outcome: Outcome) -> None:
        lane = data.draw(st.sampled_from(sorted(self.in_flight)))
        self.ring.judge(sent(lane), outcome, 1)
        self.scores[lane] = judged(self.scores[lane], outcome)
        self.in_flight[lane] -= 1
        self.in_flight += Counter()  # without what is zero
        self.ring.over(lane)

    @invariant()
    def no_more_is_in_flight_than_slots(self) -> None:
        assert self.in_flight.total() <= SLOTS

    @invariant()
    def the_books_are_right(self) -> None:
        guests = Counter[str]()
        for lane, count in self.in_flight.items():
            guests[self.seen[lane]] += count if self.scores[lane] <= 0 else 0
        books, states = vars(self.ring)["_shares"], vars(self.ring)["_states"]
        assert books.open == SLOTS - SLOTS // 4 - guests.total()
        assert books.spare == SLOTS // 2
        for lane, url in self.seen.items():
            assert states[lane].receiver.guests == guests[url]

    def teardown(self) -> None:
        """No lane is lost: what is due is all sent without a further wake."""
        if self.quotas:
            self.ends_a_claim(lost=False)
        for _ in range(400):
            before = self.due.total()
            self.begins_a_claim()
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


def claimed(
    ring: Ring, quotas: list[LaneQuota], taken: Mapping[int, int], now: float = NOW
) -> dict[int, int]:
    """End a claim for which nobody else left too little room; what has to go back."""
    return ring.claimed(quotas, taken, 10_000, now)


def full_claims(ring: Ring, turns: int, free: int) -> list[list[int]]:
    """The lanes of each of several claims that take whole quotas, whose sends end at once."""
    seen = []
    for _ in range(turns):
        quotas = ring.plan(free, NOW)
        taken = {each.lane: each.quota for each in quotas}
        seen.append([each.lane for each in quotas])
        claimed(ring, quotas, taken)
        for lane, count in taken.items():
            for _ in range(count):
                ring.over(lane)
    return seen


def test_lanes_take_turns() -> None:
    ring = heard(Ring(DEFAULT, SLOTS), 1, 2, 3, 4, 5)
    ring.wake([1, 2, 3, 4, 5])

    assert full_claims(ring, 5, free=2) == [[1, 2], [3, 4], [5, 1], [2, 3], [4, 5]]


def test_free_slots_are_shared_equally() -> None:
    ring = heard(Ring(64, 512), 1, 2, 3)
    ring.wake([1, 2, 3])

    assert [each.quota for each in ring.plan(9, NOW)] == [3, 3, 3]


def test_a_lane_without_more_leaves_and_one_woken_meanwhile_stays() -> None:
    ring = heard(Ring(DEFAULT, SLOTS), 1, 2)
    ring.wake([1, 2])
    quotas = ring.plan(8, NOW)
    ring.wake([2])

    claimed(ring, quotas, {1: 1, 2: 1})

    assert [each.lane for each in ring.plan(6, NOW)] == [2]


def test_a_lane_at_its_limit_waits_for_one_of_its_sends() -> None:
    ring = heard(Ring(DEFAULT, SLOTS), 1, max_concurrency=1)
    ring.wake([1])
    claimed(ring, ring.plan(8, NOW), {1: 1})
    assert ring.plan(8, NOW) == []
    assert not ring

    ring.wake([1])
    assert ring.plan(8, NOW) == []
    ring.over(1)

    assert ring.plan(8, NOW) == [LaneQuota(1, 1)]


def test_a_lane_aside_is_ready_as_soon_as_one_of_its_sends_is_over() -> None:
    ring = heard(Ring(2, SLOTS), 1)
    ring.wake([1])
    claimed(ring, ring.plan(8, NOW), {1: 2})
    assert ring.plan(8, NOW) == []

    ring.over(1)

    assert ring.plan(8, NOW) == [LaneQuota(1, 1, in_flight=1)]


def test_a_limit_that_was_taken_back_no_longer_holds() -> None:
    ring = heard(Ring(DEFAULT, 4 * DEFAULT), 1, max_concurrency=1)
    ring.meet(1, to(1))
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
    ring, free = heard(Ring(limit, slots), *range(10)), slots
    for lane in range(10):
        ring.wake([lane])
        while ring and free:
            quotas = ring.plan(free, NOW)
            claimed(ring, quotas, {each.lane: each.quota for each in quotas})
            free -= sum(each.quota for each in quotas)
    assert free >= 1
    ring.wake([1000])
    assert [each.lane for each in ring.plan(free, NOW)] == [1000]


def test_a_quarter_of_all_slots_is_for_lanes_that_answer() -> None:
    ring = heard(Ring(64, 40), *range(30), 99)
    ring.judge(sent(99), answer(200), 1)
    ring.wake(range(30))  # nobody knows them yet; eight of them get 30 slots

    held = Counter[int]()
    while ring:
        held += claim(ring, ring.plan(40 - held.total(), NOW))
    assert held.total() == 30
    ring.wake([99, *range(30)])
    assert [each.lane for each in ring.plan(10, NOW)] == [99]


def test_who_was_crowded_out_comes_as_soon_as_there_is_room() -> None:
    ring = heard(Ring(64, 8), *range(5))
    ring.wake(range(5))
    held = Counter[int]()
    while ring:
        held += claim(ring, ring.plan(8 - held.total(), NOW))
    crowded = {0, 1, 2, 3, 4} - held.keys()
    assert held.total() == 6
    assert crowded

    one = next(iter(held))
    ring.judge(sent(one), TIMEOUT, 1)
    ring.over(one)

    (next_,) = ring.plan(3, NOW)
    assert next_.lane in crowded
    assert next_.quota == 1


@pytest.mark.parametrize(("successes", "most"), [(0, 10), (3, 29)])
def test_a_lane_that_always_answers_makes_up_for_what_another_did_to_their_url(
    successes: int, most: int
) -> None:
    ring, held = Ring(64, 40), Counter[int]()
    for lane in range(30):
        ring.meet(lane, to("x"))
    ring.judge(sent(0), answer(200), 1)
    ring.judge(sent(1), TIMEOUT, 1)
    for _ in range(successes):
        ring.judge(sent(0), answer(200), 1)

    ring.wake(range(2, 30))
    while ring:
        held += claim(ring, ring.plan(40 - held.total(), NOW))
    assert held.total() == most


def test_a_quick_sign_of_distress_halves_what_a_lane_at_its_best_may_have_in_flight() -> None:
    ring = heard(Ring(8, 40), 1)
    for _ in range(2):
        ring.judge(sent(1), answer(200), 1)
    before = ring.allowed(1)

    ring.judge(sent(1, 2), answer(503), 3)

    assert ring.allowed(1) == before // 2


def test_four_lanes_that_hang_leave_others_more_than_their_first_few() -> None:
    pace = Pace((1.0,), 30.0)
    ring = heard(Ring(pace.per_lane, pace.slots), *range(5))
    for lane in range(5):
        ring.wake([lane])
        for _ in range(6):  # until it may have all that there is for one
            a_round(ring, pace.slots, answer(200))
        claimed(ring, ring.plan(pace.slots, NOW), {})

    ring.wake(range(4))
    held = claim_all(ring, pace.slots)
    assert held == 4 * pace.per_lane

    ring.wake([4])
    (other,) = ring.plan(pace.slots - held, NOW)
    assert other.quota == START + 16


def test_the_many_lanes_of_one_url_that_hangs_have_a_quarter() -> None:
    ring, free = heard(Ring(64, 40), 0, 99), 40
    ring.judge(sent(10_000), TIMEOUT, 1)
    for lane in range(1, 30):
        ring.meet(lane, to(0))  # a webhook for each operation
    ring.wake(range(30))
    while ring:
        free -= claim(ring, ring.plan(free, NOW)).total()
    assert free == 30

    ring.wake([99])  # as unknown as they are, but elsewhere
    assert [each.lane for each in ring.plan(free, NOW)] == [99]
    assert ring.plan(free, NOW) == []


def test_the_many_lanes_of_one_url_that_is_slow_leave_half_of_what_is_left() -> None:
    ring, free = heard(Ring(64, 40), 0, 99), 40
    for lane in range(1, 30):
        ring.meet(lane, to(0))
    ring.wake(range(30))
    while ring:
        free -= claim(ring, ring.plan(free, NOW)).total()
    assert 10 < free < 14

    ring.wake([99])
    assert [each.lane for each in ring.plan(free, NOW)] == [99]


def test_who_waits_joins_while_others_are_busy() -> None:
    """A backlog of those that answer is never ahead of all who wait with their receivers."""
    ring = heard(Ring(64, 40), *range(30), 60)
    ring.judge(sent(10_060), TIMEOUT, 1)  # a URL that hangs, with a quarter for its many lanes
    for lane in range(30):
        ring.judge(sent(lane), answer(200), 1)
    for lane in range(50, 70):
        ring.meet(lane, to(60))
    ring.wake([*range(50, 70), *range(30)])
    hanging, seen = Counter[int](), set[int]()
    for _ in range(60):
        quotas = ring.plan(8, NOW)
        held = {each.lane: each.quota for each in quotas}
        claimed(ring, quotas, held)  # and all of them have more
        for lane, count in held.items():
            seen.add(lane)
            for _ in range(count if lane < 50 else 0):
                ring.over(lane)
            hanging[lane] += count if lane >= 50 else 0
        for one in list(hanging.elements())[:1]:
            ring.over(one)
            hanging[one] -= 1
    assert seen >= {*range(50, 70)}


def test_a_turn_that_a_plan_does_not_come_to_is_not_lost() -> None:
    """More of those that answer are ready than there are free slots, and all of them have more."""
    ring, hosts, held = Ring(64, 64), range(1_000, 1_010), Counter[int]()
    for host in hosts:
        heard(ring, host)
        for lane in range(host * 20, host * 20 + 20):
            ring.meet(lane, to(host))
    ring.wake(lane for host in hosts for lane in range(host * 20, host * 20 + 20))
    while ring and held.total() < 64:
        held += claim(ring, ring.plan(64 - held.total(), NOW))
    assert held.total() == 48
    heard(ring, *range(100))
    for lane in range(100):
        ring.judge(sent(lane), answer(200), 1)
    ring.wake(range(100))

    served = 0
    for _ in range(200):
        for lane in list(held.elements())[:4]:
            ring.over(lane)
            held[lane] -= 1
        quotas = ring.plan(4, NOW)
        taken = {each.lane: each.quota for each in quotas}
        claimed(ring, quotas, taken)
        for lane, count in taken.items():
            served += count if lane >= 100 else 0
            held[lane] += count
    assert served > 100


def test_what_is_known_of_a_host_is_known_of_its_new_lanes() -> None:
    """Nobody waits for who was never heard where the host answers, however full it is."""
    ring, free = heard(Ring(64, 40), *range(30)), 40
    ring.meet(98, to("there"))
    ring.judge(sent(98), answer(200), 1)
    ring.wake(range(30))
    while ring:
        free -= claim(ring, ring.plan(free, NOW)).total()
    assert free == 10

    ring.wake([99])  # of which nothing is known, not even where it leads
    quotas = ring.plan(free, NOW)
    assert quotas == [LaneQuota(99, 1)]
    ring.meet(99, to("there"))
    assert claimed(ring, quotas, {99: 1}) == {}
    assert ring.plan(free, NOW) == [LaneQuota(99, 3, in_flight=1)]


def test_what_there_is_no_room_for_goes_back_and_waits() -> None:
    """Until a URL was heard of, a few sends are under way to it, however many lanes lead there."""
    ring = Ring(64, 40)
    ring.wake(range(6))
    quotas = ring.plan(40, NOW)
    assert [(each.lane, each.quota) for each in quotas] == [(lane, 1) for lane in range(6)]
    for lane in range(6):
        ring.meet(lane, to("new"))

    assert claimed(ring, quotas, dict.fromkeys(range(6), 1)) == {4: 1, 5: 1}
    assert ring.plan(36, NOW) == []
    ring.wake(range(6))
    assert ring.plan(36, NOW) == []
    assert not ring

    ring.judge(sent(0), answer(200), 1)
    ring.over(0)
    assert [each.lane for each in ring.plan(37, NOW)] == [0, 4, 5, 1, 2, 3]


def test_a_lane_that_fails_every_other_time_is_not_relied_on() -> None:
    ring = heard(Ring(64, 40), 1)
    for _ in range(20):
        for outcome in (answer(200), TIMEOUT):
            ring.judge(sent(1), outcome, 1)
    ring.judge(sent(1), answer(200), 1)
    state = vars(ring)["_states"][1]
    assert not state.is_relied_on

    for _ in range(20):
        ring.judge(sent(1), answer(200), 1)
    assert state.is_relied_on


def test_receivers_take_turns_however_many_lanes_wait_with_them() -> None:
    ring, free = heard(Ring(64, 8), *range(10), 50), 8
    for lane in range(100, 300):
        ring.meet(lane, to(0))
    ring.wake([*range(10), *range(100, 300)])
    held = Counter[int]()
    while ring:
        held += claim(ring, ring.plan(free - held.total(), NOW))
    ring.wake([50])
    assert ring.plan(free - held.total(), NOW) == []

    turns = 0
    while not held[50]:
        turns += 1
        lane = next(iter(held))
        ring.over(lane)
        held -= Counter([lane])
        held += claim(ring, ring.plan(free - held.total(), NOW))
    assert turns <= 3 * 11


def claim(ring: Ring, quotas: list[LaneQuota]) -> Counter[int]:
    """All that a plan has room for is there, once."""
    taken = Counter({each.lane: each.quota for each in quotas})
    assert not claimed(ring, [replace(each, quota=each.quota + 1) for each in quotas], taken)
    return taken


def claim_all(ring: Ring, free: int) -> int:
    """How much is taken until there is no more room."""
    held = 0
    while ring and free - held:
        held += claim(ring, ring.plan(free - held, NOW)).total()
    return held


def sent(lane: int, claimed_at: int = 0) -> Claimed:
    """A delivery of a lane, as far as the ring looks at it."""
    return Claimed(
        tenant_id="",
        subscription_id="",
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
    claimed(ring, quotas, {each.lane: each.quota for each in quotas})
    for each in quotas:
        for _ in range(each.quota):
            ring.judge(sent(each.lane, at), outcome, at + 1)
            ring.over(each.lane)
    return [each.quota for each in quotas]


def test_a_lane_earns_all_that_its_limit_allows() -> None:
    ring = heard(Ring(64, 512), 1)
    ring.wake([1])

    assert [a_round(ring, 512, answer(200)) for _ in range(6)] == [[4], [8], [16], [32], [64], [64]]


def test_a_lane_that_hangs_loses_what_it_earned_and_begins_slowly_when_it_recovers() -> None:
    ring = heard(Ring(64, 512), 1)
    ring.wake([1])
    for _ in range(5):
        a_round(ring, 512, answer(200))
    at = iter(range(2 * 10**12, 3 * 10**12, 10))
    assert [a_round(ring, 512, TIMEOUT, next(at)) for _ in range(8)] == [
        [each] for each in (64, 32, 16, 8, 4, 2, 1, 1)
    ]

    ring.restart(1, next(at))
    assert [a_round(ring, 512, answer(200), next(at)) for _ in range(5)] == [
        [each] for each in (1, 2, 4, 8, 16)
    ]


def test_a_lane_that_restarts_while_it_is_claimed_gives_back_what_is_too_much() -> None:
    ring = heard(Ring(64, 512), 1)
    ring.wake([1])
    plan = ring.plan(512, NOW)
    ring.restart(1, 5)

    assert ring.claimed(plan, {1: 4}, 512, NOW) == {1: 3}

    assert ring.plan(511, NOW) == []  # it waits for the one that is under way
    ring.over(1)
    assert [each.quota for each in ring.plan(511, NOW)] == [1]
    assert ring.claimed(plan, {1: 1}, 511, NOW) == {}


def test_only_a_lane_that_uses_all_it_may_is_allowed_more() -> None:
    ring = heard(Ring(64, 512), 1)
    for _ in range(100):
        ring.wake([1])
        claimed(ring, ring.plan(512, NOW), {1: 2})
        for _ in range(2):
            ring.judge(sent(1), answer(200), 0)
            ring.over(1)

    assert ring.allowed(1) == 4


def test_a_lane_used_all_it_may_though_some_of_it_is_over_before_the_claim_is() -> None:
    ring = heard(Ring(64, 512), 1)
    ring.wake([1])
    claimed(ring, ring.plan(512, NOW), {1: 4})
    ring.over(1)
    plan = ring.plan(512, NOW)
    ring.over(1)
    claimed(ring, plan, {1: 1})

    ring.judge(sent(1), answer(200), 0)

    assert ring.allowed(1) == 5


def test_what_others_earned_leaves_half_the_slots_to_the_first_few_of_each() -> None:
    ring, free = heard(Ring(64, 512), *range(40), *range(1_000, 1_100)), 512
    for lane in range(40):
        ring.wake([lane])
        for _ in range(5):
            a_round(ring, free, answer(200))
        claimed(ring, ring.plan(free, NOW), {})  # it has no more, and leaves
        assert ring.allowed(lane) == 64
    ring.wake(range(40))
    while ring and (quotas := ring.plan(free, NOW)):
        claimed(ring, quotas, {each.lane: each.quota for each in quotas})
        free -= sum(each.quota for each in quotas)

    # now all of them hang
    assert free >= 512 // 2 - 40 * 4
    for new in range(1_000, 1_000 + free // 8):
        ring.wake([new])
        (quota,) = ring.plan(free, NOW)
        assert (quota.lane, quota.quota) == (new, 4)


def test_a_lane_with_a_rate_is_paused_until_it_may_send_again() -> None:
    ring = heard(Ring(64, 512), 1, rate_limit_per_second=2.0)
    ring.wake([1])

    quotas = ring.plan(512, 100.0)
    assert [(each.quota, each.rate) for each in quotas] == [(1, 2.0)]
    claimed(ring, quotas, {1: 1}, 100.0)
    assert ring.plan(512, 100.0) == []
    assert not ring
    assert ring.take_pauses() == {1: 100.5}
    assert ring.take_pauses() == {}
    ring.wake([1])  # however often: it is looked at, and leaves again
    assert ring.plan(512, 100.4) == []
    ring.wake([1])
    assert [each.quota for each in ring.plan(512, 100.5)] == [1]


def test_a_rate_that_stays_keeps_its_place() -> None:
    ring = heard(Ring(64, 512), 1)
    for rate, room in ((2.0, 1), (2.0, 0), (4.0, 1)):
        ring.meet(1, to(1, rate_limit_per_second=rate))
        ring.wake([1])
        quotas = ring.plan(512, 100.0)
        assert len(quotas) == room
        claimed(ring, quotas, {1: 1}, 100.0) if quotas else None


def test_idle_lanes_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = heard(Ring(64, 512), 1, 2)
    monkeypatch.setattr(lane_state, "_REMEMBERED", 3)
    monkeypatch.setattr(receivers, "_REMEMBERED", 3)
    ring.wake([2])
    claimed(ring, ring.plan(512, NOW), {2: 3})
    heard(ring, *range(3, 20))

    ring.over(2)  # what is in flight is remembered
    ring.wake([2])
    assert ring.plan(512, NOW)[0].in_flight == 2
    assert 1 not in vars(vars(ring)["_states"])["_states"]
    assert ("t", "https://1/hook") not in vars(vars(ring)["_receivers"])["_known"]


def test_only_so_many_lanes_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others leave: when they are woken next, there may be room."""
    monkeypatch.setattr(ring_module, "_WAITING", 2)
    ring = Ring(64, 40)
    for lane in range(6):
        ring.meet(lane, to("new"))
    ring.wake(range(6))
    assert claim_all(ring, 40) == 4
    ring.judge(sent(0), answer(200), 1)
    ring.over(0)

    assert [each.lane for each in ring.plan(37, NOW)] == [1, 2]
    ring.wake(range(3, 6))
    assert [each.lane for each in ring.plan(37, NOW)] == [3, 4, 5]
