"""How much may be in flight: grown by success, shrunk by distress."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.concurrency import (
    START,
    Allowance,
    grown,
    is_distress,
    restarted,
    shrunk,
)
from service.domain.outcome import ErrorClass, Failed, Outcome, Responded, Timing

MOST = 64


def a_round(allowance: Allowance, most: int = MOST) -> Allowance:
    """As many successes as may be in flight."""
    for _ in range(allowance.limit):
        allowance = grown(allowance, most)
    return allowance


def limits(allowance: Allowance, rounds: int) -> list[int]:
    seen = [allowance.limit]
    for _ in range(rounds):
        allowance = a_round(allowance)
        seen.append(allowance.limit)
    return seen


def test_it_doubles_each_round_up_to_what_is_allowed() -> None:
    assert limits(Allowance(), 5) == [START, 8, 16, 32, 64, 64]
    assert limits(restarted(0), 7) == [1, 2, 4, 8, 16, 32, 64, 64]


def test_after_distress_it_halves_and_grows_by_one_a_round() -> None:
    allowance = shrunk(Allowance(limit=64), 10, 20)

    assert limits(allowance, 3) == [32, 33, 34, 35]


def test_a_round_is_judged_once() -> None:
    allowance = Allowance(limit=64)
    for _ in range(64):  # all of them sent at 10, all timed out at 20
        allowance = shrunk(allowance, 10, 20)
    assert allowance.limit == 32

    assert shrunk(allowance, 21, 30).limit == 16


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 100))
def test_it_never_leaves_its_bounds(signs: list[bool], most: int) -> None:
    allowance = Allowance()
    for moment, good in enumerate(signs, 1):
        allowance = grown(allowance, most) if good else shrunk(allowance, moment, moment)
        assert 1 <= allowance.limit <= max(most, START)


def test_whatever_hangs_is_down_to_one_after_a_few_rounds() -> None:
    allowance = Allowance(limit=64)
    for moment in range(6):
        allowance = shrunk(allowance, 2 * moment + 1, 2 * moment + 2)

    assert allowance.limit == 1


@pytest.mark.parametrize(
    ("outcome", "distress"),
    [
        (429, True),
        (408, True),
        (500, True),
        (503, True),
        (200, False),
        (302, False),
        (400, False),
        (ErrorClass.TIMEOUT, True),
        (ErrorClass.CONNECT, True),
        (ErrorClass.BLOCKED, False),
        (ErrorClass.UNKNOWN, False),
    ],
)
def test_what_is_a_sign_of_distress(outcome: int | ErrorClass, distress: bool) -> None:  # noqa: FBT001  a parameter of the table
    came: Outcome = (
        Responded(outcome, (), b"", body_cut=False, timing=Timing(1))
        if isinstance(outcome, int)
        else Failed(outcome, "", Timing(1))
    )

    assert is_distress(came) == distress
