"""Counts by duration, and percentiles of them."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import tallies
from service.domain.traffic import HOUR, Range

durations = st.floats(1.0, 3_600_000)


@given(st.lists(durations, min_size=1, max_size=200), st.sampled_from([0.5, 0.95]))
def test_a_percentile_is_within_a_fifth_of_what_it_is(taken: list[float], share: float) -> None:
    counts = Counter(map(tallies.bucket_of, taken))
    ordered = sorted(taken)
    exact = ordered[max(0, -int(-len(ordered) * share // 1) - 1)]

    found = tallies.percentile(counts, share)

    assert found is not None
    assert exact / 1.21 <= found + 0.06
    assert found - 0.06 <= exact * 1.21


def test_of_nothing_there_is_no_percentile() -> None:
    assert tallies.percentile({}, 0.5) is None
    assert tallies.percentile({3: 0}, 0.5) is None


@given(st.floats(0, 1e12), st.floats(0, 1e12))
def test_buckets_keep_the_order(one: float, other: float) -> None:
    if one <= other:
        assert 0 <= tallies.bucket_of(one) <= tallies.bucket_of(other) <= 64


@given(st.integers(0, 2**42), st.sampled_from([tallies.OWN_SLICE, tallies.WHOLE_SLICE]))
def test_a_slice_holds_its_moment(at: int, length: int) -> None:
    begin = tallies.slice_of(at, length)

    assert begin <= at < begin + length
    assert tallies.slice_of(begin, length) == begin


@pytest.mark.parametrize(("gone", "wanted"), [(0, 60.0), (30_000, 40.0), (59_999, 20.0)])
def test_a_minute_is_the_present_slice_and_the_rest_of_the_last(gone: int, wanted: float) -> None:
    present = 0 if gone == 0 else 10 if gone == 30_000 else 20

    assert tallies.per_minute(60, present, 60_000 * 1000 + gone) == wanted


counted = st.builds(
    tallies.Tally,
    st.integers(0, 2 * tallies.KEPT),
    st.integers(0, 9),
    st.integers(0, 9),
    st.dictionaries(st.integers(0, 64), st.integers(1, 9), max_size=3),
)


RANGES = st.sampled_from(list(tallies.RANGES.values()))


@given(
    st.lists(counted, max_size=30),
    st.integers(tallies.KEPT, 3 * tallies.KEPT),
    RANGES,
)
def test_every_step_of_a_range_has_its_own_counts(
    of_before: list[tallies.Tally], now: int, wanted: Range
) -> None:
    found = tallies.every(of_before, wanted, now)

    assert len(found) == wanted.span // wanted.step
    assert [each.at for each in found] == list(
        range(found[0].at, tallies.slice_of(now, wanted.step) + 1, wanted.step)
    )
    for each in found:
        own = [one for one in of_before if each.at <= one.at < each.at + wanted.step]
        assert each.succeeded == sum(one.succeeded for one in own)
        assert each.failed == sum(one.failed for one in own)
        assert each.took == sum((Counter(one.took) for one in own), Counter())


@given(st.lists(counted, max_size=30), st.integers(tallies.KEPT, 3 * tallies.KEPT), RANGES)
def test_the_lines_of_a_table_add_up_to_the_points(
    of_before: list[tallies.Tally], now: int, wanted: Range
) -> None:
    points = tallies.every(of_before, wanted, now)

    lines = tallies.lines(points, wanted)

    assert tallies.added(0, lines) == tallies.added(0, points)
    assert len(lines) <= 32
    assert len({tallies.slice_of(each.at, wanted.line) for each in lines}) == len(lines)
    assert [each.at for each in lines] == sorted(each.at for each in lines)


@pytest.mark.parametrize("wanted", tallies.RANGES.values(), ids=tallies.RANGES)
def test_what_is_looked_back_at_is_kept(wanted: Range) -> None:
    """By slices, or by hours that a step has whole numbers of."""
    assert wanted.step % wanted.slices == wanted.line % wanted.step == 0
    if wanted.slices == tallies.OWN_SLICE:
        assert wanted.span <= tallies.KEPT
    else:
        assert wanted.slices == HOUR
        assert wanted.span + wanted.step <= tallies.HOURS_KEPT
