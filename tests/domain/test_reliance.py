"""Who is relied on: who answers soon, nearly always."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.outcome import ErrorClass, Failed, Outcome, Responded, Timing
from service.domain.reliance import NEUTRAL, is_relied_on, judged


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
        ((answered(429),), False),
        ((HUNG, *[answered()] * 4), False),
        ((HUNG, *[answered()] * 5), True),
        ((HUNG, *[SLOW] * 4, answered()), True),
        ((*[HUNG] * 1_000, *[answered()] * 8), False),
        ((*[HUNG] * 1_000, *[answered()] * 9), True),
    ],
)
def test_an_answer_makes_it_and_distress_outweighs_four(
    *, outcomes: tuple[Outcome, ...], relied: bool
) -> None:
    assert is_relied_on(after(*outcomes)) is relied


@given(st.lists(st.sampled_from([answered(), HUNG, SLOW, answered(500)]), max_size=60))
def test_who_fails_one_time_in_five_or_more_is_never_relied_on_for_long(
    outcomes: list[Outcome],
) -> None:
    """Relied on are only those whose last five were answers, or who never failed."""
    score = after(*outcomes)
    bad = [each in (HUNG, answered(500)) for each in outcomes]
    assert -8 <= score <= 1
    if any(bad[-5:]):
        assert not is_relied_on(score)
    if len(outcomes) >= 9 and outcomes[-9:] == [answered()] * 9:
        assert is_relied_on(score)
