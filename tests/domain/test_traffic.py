"""Points of time: as many as can be drawn, none left out, and nothing lost in adding them up."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import tallies, traffic
from service.domain.traffic import BUCKETS, HOUR, MINUTE, RANGES, Gauges, Point, Range

ranges = st.sampled_from(list(RANGES.values()))
nows = st.integers(10**12, 2 * 10**12)
few = st.integers(0, 1000)
known = st.none() | few
gauges = st.builds(Gauges, known, known, known, known)


@st.composite
def counted(draw: st.DrawFn) -> tuple[Range, int, list[Point]]:
    """A range, a time, and points of some of its steps, as a store has them."""
    wanted, now = draw(ranges), draw(nows)
    first = traffic.first_of(wanted, now)
    steps = draw(st.sets(st.integers(0, wanted.span // wanted.step - 2), max_size=8))
    points = [
        Point(
            first + step * wanted.step,
            0,
            accepted=draw(few),
            delivered=draw(few),
            failed=draw(few),
            dead=draw(few),
            took=draw(st.lists(few, min_size=BUCKETS, max_size=BUCKETS)),
            gauges=draw(gauges),
        )
        for step in sorted(steps)
    ]
    return wanted, now, points


@given(ranges, nows)
def test_a_range_has_points_enough_to_draw_and_no_more(wanted: Range, now: int) -> None:
    points = traffic.filled([], wanted, now)

    assert 59 <= len(points) <= 300
    assert all(each.is_empty and each.percentile(0.5) is None for each in points)
    assert {later.at - each.at for each, later in pairwise(points)} == {wanted.step}
    assert now - wanted.span < points[0].at <= now - wanted.span + wanted.step
    last = points[-1]
    assert MINUTE <= last.length <= wanted.step
    # what is left out at the end is less than a minute, or than a minute that has just begun
    assert now - (last.at + last.length) < MINUTE + (last.length == wanted.step) * MINUTE


@given(counted())
def test_what_was_counted_is_on_the_points_and_in_the_lines(
    case: tuple[Range, int, list[Point]],
) -> None:
    wanted, now, points = case

    filled = traffic.filled(points, wanted, now)
    lines = traffic.lines(filled, wanted)

    for some in (filled, lines):
        for name in ("accepted", "delivered", "failed", "dead"):
            assert sum(getattr(each, name) for each in some) == sum(
                getattr(each, name) for each in points
            )
        assert sum(sum(each.took) for each in some) == sum(sum(each.took) for each in points)
        assert sum(each.length for each in some) == sum(each.length for each in filled)
        seen = [each.gauges.due for each in some if each.gauges.due is not None]
        assert max(seen, default=None) == max(
            (each.gauges.due for each in points if each.gauges.due is not None), default=None
        )
    assert len(lines) <= 32
    assert len({each.at - each.at % wanted.line for each in lines}) == len(lines)


@given(st.lists(st.floats(1.0, 3e8), min_size=1, max_size=100), st.sampled_from([0.5, 0.95]))
def test_a_percentile_is_between_the_bounds_of_its_bucket(taken: list[float], share: float) -> None:
    took = [0] * BUCKETS
    for each in taken:
        took[traffic.bucket_of(each)] += 1
    exact = sorted(taken)[max(0, -int(-len(taken) * share // 1) - 1)]
    bucket = traffic.bucket_of(exact)

    found = Point(0, MINUTE, took=took).percentile(share)

    assert found is not None
    low = traffic.BOUNDS[bucket - 1] if bucket else 0.5
    high = traffic.BOUNDS[bucket] if bucket < len(traffic.BOUNDS) else 2 * low
    assert low - 0.06 <= found <= high + 0.06


@given(st.floats(1.0, 6e4))
def test_what_was_tallied_by_finer_buckets_keeps_its_bucket(ms: float) -> None:
    finer = tallies.longest(tallies.bucket_of(ms))

    assert finer >= ms * 0.999
    assert traffic.bucket_of(finer) == traffic.bucket_of(ms)


def test_a_rate_is_that_of_the_time_the_point_has() -> None:
    assert Point(0, MINUTE).per_minute(7) == 7
    assert Point(0, 5 * MINUTE).per_minute(7) == 1.4
    now = 10**12 - 10**12 % HOUR + 90_000

    last = traffic.filled([], RANGES["24h"], now)[-1]

    assert (last.at, last.length) == (now - 90_000, 90_000)


@pytest.mark.parametrize("length", traffic.KEPT)
def test_what_is_looked_back_at_is_kept(length: int) -> None:
    longest = max(each.span + each.step for each in RANGES.values() if each.slices == length)

    assert traffic.KEPT[length] >= longest
