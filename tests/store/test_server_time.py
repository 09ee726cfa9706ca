"""The server's time as a process reckons it: never ahead, and hardly behind."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from service.store.postgres.compiling import OFF
from service.store.postgres.server_time import ServerTime

#: ms that the server's clock is ahead of ours since it began.
AHEAD = 1_750_000_000_000


@dataclass
class Own:
    """This machine's clock."""

    seconds: float = 100.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> int:
        raise AssertionError("nobody asks for that")


@given(
    samples=st.lists(
        # seconds until the next, ms that it takes until it is heard
        st.tuples(st.floats(0.001, 5.0), st.floats(0.0, OFF * 0.9)),
        min_size=1,
        max_size=50,
    )
)
def test_it_is_never_ahead_and_behind_by_no_more_than_the_quickest_took(
    samples: list[tuple[float, float]],
) -> None:
    clock = Own()
    time = ServerTime(clock)
    best = float("inf")
    for passed, took in samples:
        clock.seconds += passed
        shown = int(AHEAD + clock.seconds * 1000)
        clock.seconds += took / 1000
        time.heard(shown, clock.seconds)
        best = min(best + (passed + took / 1000) * 1.0, took)  # drifts by a ms a second
        true = AHEAD + clock.seconds * 1000
        assert true - best - 2 <= time.now() <= true + 1


def test_a_clock_that_was_set_is_gone_by_at_once() -> None:
    clock = Own()
    time = ServerTime(clock)
    time.heard(AHEAD, clock.seconds)
    assert time.is_fresh

    time.heard(AHEAD - 10_000, clock.seconds)
    assert time.now() == AHEAD - 10_000
    time.heard(AHEAD + 10_000, clock.seconds)
    assert time.now() == AHEAD + 10_000

    clock.seconds += 1.5
    assert not time.is_fresh
