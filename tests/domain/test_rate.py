"""The rate limit of a key, and the patience with who guesses keys."""

from collections.abc import Sequence
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.rate import (
    LOCKOUT,
    MAX_FAILURES,
    WINDOW,
    Failures,
    RateLimit,
    failed,
    shut_out,
)

RATES = st.floats(0.001, 5_000)
#: Seconds between requests; many at once, some after a long silence.
GAPS = st.lists(st.one_of(st.just(0.0), st.floats(0, 2), st.floats(0, 3_000)), max_size=80)


def allowed(limit: RateLimit, gaps: Sequence[float]) -> list[float]:
    """The times of the requests that were let through."""
    now, empty_at, times = 1_000.0, 0.0, []
    for gap in gaps:
        now += gap
        standing = limit.judge(empty_at, now)
        empty_at = standing.empty_at
        if standing.allowed:
            times.append(now)
    return times


@given(RATES, GAPS)
def test_no_span_lets_more_through_than_its_rate_and_a_burst(
    rate: float, gaps: list[float]
) -> None:
    limit = RateLimit(rate)
    times = allowed(limit, gaps)
    for start, begun in enumerate(times):
        for end, ended in enumerate(times[start:], 1):
            assert end <= limit.burst + (ended - begun) * rate + 0.01


@given(RATES, st.integers(1, 60))
def test_who_keeps_to_the_rate_is_never_refused(rate: float, count: int) -> None:
    limit = RateLimit(rate)
    assert len(allowed(limit, [1 / rate] * count)) == count
    assert len(allowed(limit, [limit.window / limit.burst] * count)) == count


@given(RATES, GAPS)
def test_a_refused_request_takes_nothing_and_waits_no_longer_than_it_is_told(
    rate: float, gaps: list[float]
) -> None:
    limit, now, empty_at = RateLimit(rate), 1_000.0, 0.0
    for gap in gaps:
        now += gap
        standing = limit.judge(empty_at, now)
        assert 0 <= standing.remaining <= limit.burst - standing.allowed
        assert (standing.wait == 0) == (standing.remaining > 0)
        if not standing.allowed:
            assert standing.empty_at == pytest.approx(empty_at)
        later = limit.judge(standing.empty_at, now + standing.wait + 1e-6)
        assert later.allowed
        empty_at = standing.empty_at


@pytest.mark.parametrize(
    ("rate", "burst", "window"), [(1, 1, 1), (10, 10, 1), (2.5, 2, 1), (0.5, 1, 2), (0.3, 1, 4)]
)
def test_the_policy_in_whole_numbers(rate: float, burst: int, window: int) -> None:
    limit = RateLimit(rate)
    assert (limit.burst, limit.window) == (burst, window)
    assert burst <= max(floor(rate), 1)
    assert window >= ceil(burst / rate) or rate > 1


def test_an_example() -> None:
    limit = RateLimit(2)
    first = limit.judge(0, 100)
    second = limit.judge(first.empty_at, 100)
    third = limit.judge(second.empty_at, 100)
    assert [each.allowed for each in (first, second, third)] == [True, True, False]
    assert [each.remaining for each in (first, second, third)] == [1, 0, 0]
    assert (second.wait, third.wait) == (0.5, 0.5)
    assert limit.judge(third.empty_at, 100.5).allowed


# --- guesses


@given(st.lists(st.sampled_from((0.0, 0.125, 0.5, 30.0)), min_size=MAX_FAILURES, max_size=250))
def test_an_address_is_shut_out_after_so_many_failures_in_a_window(gaps: list[float]) -> None:
    now, known, counted = 0.0, None, []
    for gap in gaps:
        now += gap
        shut = shut_out(known, now)
        if not shut:
            counted.append(now)
        known = failed(known, now)
        assert shut <= LOCKOUT
        if shut:
            assert len([at for at in counted if at > now - WINDOW - LOCKOUT]) >= MAX_FAILURES
        elif shut_out(known, now):
            assert known.count == MAX_FAILURES
            assert shut_out(known, now) == LOCKOUT


def test_failures_far_apart_shut_nobody_out() -> None:
    known = None
    for number in range(10 * MAX_FAILURES):
        known = failed(known, number * WINDOW / (MAX_FAILURES - 1))
        assert shut_out(known, number * WINDOW / (MAX_FAILURES - 1)) == 0


def test_what_is_tried_meanwhile_does_not_count() -> None:
    known = None
    for _ in range(MAX_FAILURES):
        known = failed(known, 5.0)
    assert known == Failures(5.0, MAX_FAILURES, 5.0 + LOCKOUT)
    assert failed(known, 6.0) == known
    assert shut_out(known, 5.0 + LOCKOUT) == 0
    assert failed(known, 5.0 + LOCKOUT) == Failures(5.0 + LOCKOUT, 1)
