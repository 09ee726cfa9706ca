"""So many in a second, and no more; those kept back are counted once."""

from hypothesis import given
from hypothesis import strategies as st

from service.domain.few import Few

moments = st.lists(st.floats(0, 30), max_size=200).map(sorted)


@given(moments, st.integers(1, 5))
def test_each_second_has_so_many_and_none_is_forgotten(at: list[float], most: int) -> None:
    few = Few(most)
    said = [(int(now), few.through(now)) for now in at]

    for second in {each for each, _ in said}:
        told = [kept for each, kept in said if each == second]
        assert sum(kept is not None for kept in told) == min(most, len(told))
    told_of = sum(1 + kept for _, kept in said if kept is not None)
    last = max((n for n, (_, kept) in enumerate(said) if kept is not None), default=-1)
    assert told_of == last + 1
