"""When an attempt is tried again, and when it no longer is."""

import time
from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from service.domain.outcome import ErrorClass, Failed, Outcome, Responded, Timing
from service.domain.retry import (
    Dead,
    DeadReason,
    Delivered,
    RetryAfter,
    Verdict,
    crashed,
    first_due,
    judge,
    parse_retry_after,
)

NOW = 1_735_689_600_000  # Wed, 01 Jan 2025 00:00:00 GMT
DAY = 86_400_000
SCHEDULE = (0.0, 5.0, 300.0, 1800.0)
TIMING = Timing(12.0)

schedules = st.lists(st.floats(0, 86_400), min_size=1, max_size=12).map(tuple)
dice = st.floats(0, 1, exclude_max=True)
header_texts = st.text(max_size=40) | st.from_regex(r"\A[A-Za-z0-9 ,:.+-]{0,40}\Z")


def responded(status: int, **headers: str) -> Responded:
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Responded(status, pairs, b"", body_cut=False, timing=TIMING)


def failed(error: ErrorClass) -> Failed:
    return Failed(error, "text", TIMING)


statuses = st.integers(100, 599).filter(lambda status: not 200 <= status < 300 and status != 410)
retryable = st.builds(responded, statuses) | st.builds(
    failed, st.sampled_from([error for error in ErrorClass if error is not ErrorClass.BLOCKED])
)


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (responded(200), Delivered()),
        (responded(204), Delivered()),
        (responded(299, retry_after="60"), Delivered()),
        (responded(410), Dead(DeadReason.GONE)),
        (failed(ErrorClass.BLOCKED), Dead(DeadReason.BLOCKED_TARGET)),
        (failed(ErrorClass.TIMEOUT), RetryAfter(5_000)),
        (failed(ErrorClass.DNS), RetryAfter(5_000)),
        (failed(ErrorClass.UNKNOWN), RetryAfter(5_000)),
        (responded(199), RetryAfter(5_000)),
        (responded(301), RetryAfter(5_000)),
        (responded(400), RetryAfter(5_000)),
        (responded(404), RetryAfter(5_000)),
        (responded(500), RetryAfter(5_000)),
        (responded(500, retry_after="60"), RetryAfter(5_000)),
        (responded(429), RetryAfter(5_000)),
        (responded(429, retry_after="60"), RetryAfter(5_000, 60_000)),
        (responded(503, Retry_After="60"), RetryAfter(5_000, 60_000)),
        (responded(503, retry_after="2"), RetryAfter(5_000, 2_000)),
        (responded(503, retry_after="0"), RetryAfter(5_000)),
        (responded(503, retry_after="-60"), RetryAfter(5_000)),
        (responded(503, retry_after="soon"), RetryAfter(5_000)),
        (responded(503, retry_after="9" * 5000), RetryAfter(5_000, DAY)),
        (responded(503, retry_after="Wed, 01 Jan 2025 00:01:00 GMT"), RetryAfter(5_000, 60_000)),
        (responded(503, retry_after="Tue, 31 Dec 2024 00:00:00 GMT"), RetryAfter(5_000)),
        (responded(503, retry_after="Fri, 31 Dec 9999 23:59:59 GMT"), RetryAfter(5_000, DAY)),
    ],
)
def test_what_follows_the_first_attempt(outcome: Outcome, verdict: Verdict) -> None:
    assert judge(outcome, 1, SCHEDULE, 0.5, NOW) == verdict


def test_a_date_counts_from_the_receivers_own_clock() -> None:
    wrong_clock = responded(
        503, retry_after="Thu, 01 Jan 2015 00:02:00 GMT", date="Thu, 01 Jan 2015 00:00:00 GMT"
    )
    assert judge(wrong_clock, 1, SCHEDULE, 0.5, NOW) == RetryAfter(5_000, 120_000)
    no_clock = responded(503, retry_after="Wed, 01 Jan 2025 00:02:00 GMT", date="yesterday")
    assert judge(no_clock, 1, SCHEDULE, 0.5, NOW) == RetryAfter(5_000, 120_000)


@freeze_time("2025-06-15T12:00:00Z")
def test_a_date_as_the_standard_library_writes_it_counts_from_now() -> None:
    in_ninety_seconds = formatdate(time.time() + 90, usegmt=True)
    now = int(datetime.now(UTC).timestamp() * 1000)
    assert parse_retry_after(in_ninety_seconds, now) == 90.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 120\t", 120.0),
        ("1.5", 1.5),
        ("86401", 86_400.0),
        ("1000000000000", 86_400.0),
        ("Wed, 01 Jan 2025 00:00:30 GMT", 30.0),
        ("Wednesday, 01-Jan-25 00:00:30 GMT", 30.0),
        ("Wed Jan  1 00:00:30 2025", 30.0),
        ("Tue, 31 Dec 2024 00:00:00 GMT", 0.0),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("NaN", None),
        ("inf", None),
        ("1e12", None),
        ("1,5", None),
        ("0x10", None),
        ("１２０", None),  # noqa: RUF001 - digits that only look like digits
        ("120\n", None),
        ("120, 240", None),
        ("Wed, 32 Jan 2025 00:00:30 GMT", None),
        ("Wed, 01 Jan 2025 25:00:30 GMT", None),
        ("Wed, 01 Jan 0000 00:00:30 GMT", None),
        ("Wed, 01 Jan 1900 00:00:30 GMT", None),
        ("2025-01-01T00:00:30Z", None),
    ],
)
def test_retry_after_values(value: str, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@given(header_texts, header_texts, st.sampled_from([429, 503]), dice)
def test_no_header_raises_or_holds_for_more_than_a_day(
    retry_after: str, date: str, status: int, roll: float
) -> None:
    outcome = responded(status, retry_after=retry_after, date=date)
    verdict = judge(outcome, 1, SCHEDULE, roll, NOW)
    assert isinstance(verdict, RetryAfter)
    assert verdict.hold_ms is None or 0 < verdict.hold_ms <= DAY
    assert 4_000 <= verdict.delay_ms <= DAY


@given(schedules, dice, st.integers(0, 10**12), st.sampled_from([429, 503]))
def test_never_earlier_than_the_receiver_asks_or_80_percent_of_the_schedule(
    schedule: tuple[float, ...], roll: float, asked: int, status: int
) -> None:
    for step in range(1, len(schedule)):
        verdict = judge(responded(status, retry_after=str(asked)), step, schedule, roll, NOW)
        assert isinstance(verdict, RetryAfter)
        assert verdict.delay_ms >= schedule[step] * 800
        # the whole subscription is held for as long as was asked, this delivery with it
        assert (verdict.hold_ms or 0) == min(asked * 1000, DAY)


@given(retryable, schedules, dice)
def test_the_wait_is_the_schedules_within_20_percent(
    outcome: Outcome, schedule: tuple[float, ...], roll: float
) -> None:
    for step in range(1, len(schedule)):
        verdict = judge(outcome, step, schedule, roll, NOW)
        assert isinstance(verdict, RetryAfter)
        assert schedule[step] * 800 <= verdict.delay_ms <= schedule[step] * 1200 + 1


@given(retryable, schedules.map(sorted), dice)
def test_waits_grow_where_the_schedule_grows(
    outcome: Outcome, schedule: list[float], roll: float
) -> None:
    verdicts = [judge(outcome, step, schedule, roll, NOW) for step in range(1, len(schedule))]
    waits = [verdict.delay_ms for verdict in verdicts if isinstance(verdict, RetryAfter)]
    assert waits == sorted(waits)
    assert len(waits) == len(schedule) - 1


@given(retryable, schedules, dice)
def test_a_schedule_of_n_ends_after_exactly_n_attempts(
    outcome: Outcome, schedule: tuple[float, ...], roll: float
) -> None:
    attempts = 1
    while isinstance(verdict := judge(outcome, attempts, schedule, roll, NOW), RetryAfter):
        attempts += 1
    assert verdict == Dead(DeadReason.ATTEMPTS_EXHAUSTED)
    assert attempts == len(schedule)


@given(schedules)
def test_crashes_use_the_schedule_up_too(schedule: tuple[float, ...]) -> None:
    attempts = 1
    while (verdict := crashed(attempts, schedule)) == RetryAfter(0):
        attempts += 1
    assert verdict == Dead(DeadReason.CRASH_LOOP)
    assert attempts == len(schedule)


def test_the_last_attempt_still_holds_the_others_back() -> None:
    verdict = judge(responded(429, retry_after="60"), 4, SCHEDULE, 0.5, NOW)
    assert verdict == Dead(DeadReason.ATTEMPTS_EXHAUSTED, 60_000)


@pytest.mark.parametrize("outcome", [responded(410), failed(ErrorClass.BLOCKED), responded(200)])
def test_what_ends_at_once_does_so_on_the_last_attempt_too(outcome: Outcome) -> None:
    assert judge(outcome, 4, SCHEDULE, 0.5, NOW) == judge(outcome, 1, SCHEDULE, 0.5, NOW)


@given(schedules, dice)
def test_the_first_attempt_waits_for_the_first_entry(
    schedule: tuple[float, ...], roll: float
) -> None:
    wait = first_due(NOW, schedule, roll) - NOW
    assert schedule[0] * 800 <= wait <= schedule[0] * 1200 + 1


def test_a_first_entry_of_zero_is_due_at_once() -> None:
    assert first_due(NOW, SCHEDULE, 0.99) == NOW
