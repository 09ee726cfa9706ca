"""Rates: how many may go when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import pacing
from service.domain.pacing import GRAIN, Pacing

START = 1_000_000.0
rates = st.one_of(st.floats(0.1, 10_000), st.sampled_from([0.1, 1.0, 3.0, 20.0, 10_000.0]))


def spend(state: Pacing, now: float) -> tuple[Pacing, int]:
    """Send all that may go now."""
    count = pacing.room(state, now)
    return (pacing.sent(state, count, now) if count else state), count


@given(rates, st.lists(st.floats(0, 3), max_size=60))
def test_no_stretch_of_time_has_more_than_its_rate_and_a_burst(
    rate: float, waits: list[float]
) -> None:
    state, now = Pacing(rate), START
    sent: list[tuple[float, int]] = []
    for wait in waits:
        now += wait
        state, count = spend(state, now)
        assert 0 <= count <= state.burst
        sent.append((now, count))
    for first in range(len(sent)):
        total = 0
        for at, count in sent[first:]:
            total += count
            assert total <= (at - sent[first][0]) * rate + state.burst + 1e-3


@given(rates)
def test_who_looks_when_it_is_worth_while_keeps_the_rate(rate: float) -> None:
    state, now, total = Pacing(rate), START, 0
    looks = 0
    while now - START < 20 / rate + 1:
        state, count = spend(state, now)
        total += count
        looks += 1
        assert count >= 1
        until = pacing.opens_at(state)
        assert until > now
        now = until
    seconds = now - START
    assert total == pytest.approx(seconds * rate, abs=2 * state.burst + 1)
    assert looks <= seconds * min(rate, 2 / GRAIN) * 1.5 + 3  # no busy loop


@pytest.mark.parametrize(("rate", "burst"), [(0.1, 1), (1, 1), (39, 1), (40, 2), (10_000, 500)])
def test_slow_ones_go_one_at_a_time(rate: float, burst: int) -> None:
    state, count = spend(Pacing(rate), START)

    assert count == burst
    assert pacing.room(state, START) == 0
    half = (burst + 1) // 2
    assert pacing.room(state, START + half / rate) == half
    assert pacing.room(state, START + (half - 0.5) / rate) == 0


def test_a_pause_saves_up_a_burst_and_no_more() -> None:
    state, _ = spend(Pacing(100), START)

    assert pacing.room(state, START + 3_600) == 5
