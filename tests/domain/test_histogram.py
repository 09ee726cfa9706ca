"""Buckets: every value is in one, and in the right one."""

import math
from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from service.domain.histogram import BATCHES, DURATIONS, WAITS, Histogram


@given(st.lists(st.floats(0, 1e9), max_size=50), st.sampled_from([BATCHES, DURATIONS, WAITS]))
def test_as_many_values_are_at_most_a_bound_as_were_counted_up_to_it(
    values: list[float], bounds: tuple[int, ...]
) -> None:
    histogram = Histogram(bounds)
    for value in values:
        histogram.observe(value)

    for number, bound in enumerate((*bounds, math.inf), 1):
        assert sum(histogram.counts[:number]) == sum(value <= bound for value in values)
    assert math.isclose(histogram.total, sum(values), abs_tol=1e-6)


def test_bounds_ascend() -> None:
    for bounds in (BATCHES, DURATIONS, WAITS):
        assert [bisect_left(bounds, bound) for bound in bounds] == list(range(len(bounds)))
