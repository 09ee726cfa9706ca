"""Who is relied on: who answers soon, nearly always."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.outcome import ErrorClass, Failed, Outcome, Responded, Timing
from service.domain.reliance import NEUTRAL, is_in_distress, is_relied_on, judged


def answered(status: int = 200, ms: float = 5.0) -> Outcome:
    return Responded(status, (), b"", body_cut=False, timing=Timing(ms))


HUNG: Outcome = Failed(ErrorClass.TIMEOUT, "no answer", Timing(10_000.0))
SLOW = answered(ms=1_001.0)


def after(*outcomes: Outcome) -> int:
    score = NEUTRAL
    for each in outcomes:
        score = judged(score, each)
    return score


@pytest.mark.parametrize(
    ("outcomes", "relied"),
    [
        ((), False),
        ((answered(),), True),
        ((answered(404),), True),
        ((answered(ms=1_000.0),), True),
        ((SLOW,) * 50, False),
        ((answered(), SLOW), False),
        ((SLOW, answered()), True),
        ((answered(503),), False),
        ((answered(), answered(503)), True),
        ((answered(429),), False),
        ((answered(), answered(503, ms=1_001.0)), False),
        ((HUNG, *[answered()] * 2), False),
        ((HUNG, *[answered()] * 3), True),
        ((HUNG, *[SLOW] * 2, answered()), True),
        ((*[HUNG] * 1_000, *[answered()] * 6), False),
        ((*[HUNG] * 1_000, *[answered()] * 7), True),
    ],
)
def test_an_answer_makes_it_and_distress_outweighs_two(
    *, outcomes: tuple[Outcome, ...], relied: bool
) -> None:
    assert is_relied_on(after(*outcomes)) is relied


@given(st.lists(st.sampled_from([answered(), HUNG, SLOW, answered(500)]), max_size=60))
def test_who_hung_is_relied_on_no_sooner_than_after_three_answers(outcomes: list[Outcome]) -> None:
    score = after(*outcomes)
    assert -6 <= score <= 1
    assert is_in_distress(score) == (score < NEUTRAL)
    if HUNG in [each for each in outcomes if each != answered(500)][-3:]:
        assert not is_relied_on(score)
    if len(outcomes) >= 7 and outcomes[-7:] == [answered()] * 7:
        assert is_relied_on(score)
