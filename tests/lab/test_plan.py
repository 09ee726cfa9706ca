"""The plan of the torture: repeatable, in proportion, within the load."""

import pytest

from service.lab.torture.plan import HABITS, Kind, Mode, Plan


@pytest.mark.parametrize("mode", Mode)
def test_the_same_seed_makes_the_same_plan(mode: Mode) -> None:
    plan = Plan(mode, seed=3, events=1_000, kills=20)

    assert plan.faults() == Plan(mode, seed=3, events=1_000, kills=20).faults()
    assert plan.faults() != Plan(mode, seed=4, events=1_000, kills=20).faults()


@pytest.mark.parametrize("mode", Mode)
def test_every_kind_comes_in_proportion_to_kills(mode: Mode) -> None:
    plan = Plan(mode, seed=3, events=50_000, kills=100)
    faults = plan.faults()

    for kind, habit in HABITS[mode].items():
        found = [fault for fault in faults if fault.kind is kind]
        assert len(found) == habit.per_hundred
        assert all(habit.span.shortest <= each.seconds <= habit.span.longest for each in found)


def test_a_quick_plan_has_every_kind_once_at_least() -> None:
    plan = Plan(Mode.DISTRIBUTED, seed=3, events=1_000, kills=6, quick=True)

    assert {fault.kind for fault in plan.faults()} == set(HABITS[Mode.DISTRIBUTED])
    assert max(fault.seconds for fault in plan.faults()) <= 2.0


def test_faults_come_in_order_and_under_load() -> None:
    places = [fault.at for fault in Plan(Mode.EMBEDDED, seed=3, events=1_000, kills=50).faults()]

    assert places == sorted(places)
    assert places[0] >= 50
    assert places[-1] < 950


def test_kinds_can_be_left_out_and_without_kills_there_is_nothing() -> None:
    without = frozenset({Kind.CLOCK, Kind.PAUSE})
    kinds = {f.kind for f in Plan(Mode.EMBEDDED, 3, 1_000, 5, without).faults()}

    assert kinds == set(HABITS[Mode.EMBEDDED]) - without
    assert Plan(Mode.EMBEDDED, 3, 1_000, 0).faults() == []
