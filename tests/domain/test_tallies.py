"""Counts by duration, and percentiles of them."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import tallies

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
